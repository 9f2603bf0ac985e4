"""The ``list`` reading: the model writes a JSON list of labels, held to the vocabulary by a schema.

Order: a JSON list's order says what the model decoded first, which schema decoding biases towards the front of the
vocabulary, so it is no ranking; labels come back in vocabulary order. Source: arXiv 2505.17510.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.answer import Answer, read_answer
from llm.classifier import Usage
from llm.engines.engine import Constraint, Engine
from prompts.taxonomy import Taxonomy
from prompts.template import Message


class ListReading:
    """One constrained JSON object ``{"labels": [...]}`` per text; no scores."""

    name = "list"

    def constraint(self, taxonomy: Taxonomy) -> Constraint:
        """What the model may write: up to ``max_labels`` names of the vocabulary.

        ``uniqueItems`` is left out: no server enforces it and vLLM refuses it; the reader removes repeats.
        """
        labels: dict[str, Any] = {
            "type": "array",
            "items": {"type": "string", "enum": list(taxonomy.names)},
            "minItems": 0 if taxonomy.allow_none else 1,
            "maxItems": min(taxonomy.max_labels, len(taxonomy.names)),
        }
        schema = {
            "type": "object",
            "properties": {"labels": labels},
            "required": ["labels"],
            "additionalProperties": False,
        }
        return Constraint(schema, self._longest_answer(taxonomy))

    def ask(self, engine: Engine, messages: Sequence[Message], taxonomy: Taxonomy) -> tuple[Answer, Usage]:
        """Let the engine write and read what it wrote.

        Raises:
            EngineFailure: the engine gave nothing to read.
        """
        completion = engine.write(messages, self.constraint(taxonomy))
        return read_answer(completion.text, taxonomy), completion.usage

    def _longest_answer(self, taxonomy: Taxonomy) -> int:
        """Tokens that no well-formed answer exceeds: at worst every byte is a token of its own."""
        sizes = sorted((len(name.encode()) + 4 for name in taxonomy.names), reverse=True)
        return 16 + sum(sizes[: taxonomy.max_labels])
