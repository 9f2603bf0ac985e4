"""The ``json_list`` strategy: the model writes a JSON list of labels, held to the taxonomy by a schema.

Order: a JSON list's order says what the model decoded first, which schema decoding biases towards the front of the
taxonomy, so it is no ranking: labels come back by their scores, or in taxonomy order where there are none. Source:
arXiv 2505.17510.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, Completion, Constraint
from llm.strategies.answer_parser import read_answer
from llm.strategies.strategy import Render, StrategyAnswer
from prompts.answer_format import LIST, AnswerFormat
from prompts.taxonomy import Taxonomy


class JSONList:
    """One constrained JSON list per text; the backend may wrap it into an object where its endpoint wants one.

    Where the backend tells the probabilities of the tokens it wrote, each label given is scored by the probability of
    its words, and labels come best first. A label that was not written has no score.
    """

    name = "json_list"
    returns_labels = True

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``."""
        return False

    def question(self) -> AnswerFormat:
        """See ``Strategy.question``."""
        return LIST

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        constraint = self.constraint(taxonomy)
        return [constraint.schema, constraint.max_tokens]

    def constraint(self, taxonomy: Taxonomy) -> Constraint:
        """What the model may write: up to ``max_labels`` names of the taxonomy.

        ``uniqueItems`` is left out: no server enforces it and vLLM refuses it; the reader removes repeats.
        """
        labels: dict[str, Any] = {
            "type": "array",
            "items": {"type": "string", "enum": list(taxonomy.names)},
            "minItems": 0 if taxonomy.allow_none else 1,
            "maxItems": min(taxonomy.max_labels, len(taxonomy.names)),
        }
        return Constraint(labels, self._longest_answer(taxonomy))

    def ask(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        completions = backend.generate([render(taxonomy, LIST) for render in texts], self.constraint(taxonomy))
        return [self._read(completion, taxonomy) for completion in completions]

    def _read(self, completion: Completion, taxonomy: Taxonomy) -> StrategyAnswer:
        if completion.problem:
            return StrategyAnswer(usage=completion.usage, problem=completion.problem)
        answer = read_answer(completion.text, taxonomy, completion.truncated)
        scores = _scores(completion, answer.labels)
        # A label whose words were not found comes last: its spelling was not the taxonomy's.
        labels = tuple(sorted(answer.labels, key=lambda name: -scores.get(name, 0.0)))
        return replace(answer, labels=labels, scores=scores, usage=completion.usage)

    def _longest_answer(self, taxonomy: Taxonomy) -> int:
        """Tokens that no well-formed answer exceeds: at worst every byte is a token of its own."""
        sizes = sorted((len(name.encode()) + 4 for name in taxonomy.names), reverse=True)
        return 16 + sum(sizes[: taxonomy.max_labels])


def _scores(completion: Completion, labels: Sequence[str]) -> Mapping[str, float]:
    """The probability of each given label's words, where they can be found in the text."""
    text = "".join(token.text for token in completion.tokens)
    scores = {}
    for label in labels:
        written = json.dumps(label, ensure_ascii=False)
        start = text.rfind(written)  # words before the answer may name labels too
        if start >= 0:
            scores[label] = math.exp(min(0.0, _logprob_between(completion, start + 1, start + len(written) - 1)))
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def _logprob_between(completion: Completion, start: int, end: int) -> float:
    """Sum over the tokens that overlap a stretch of the text."""
    total, place = 0.0, 0
    for token in completion.tokens:
        if place < end and place + len(token.text) > start:
            total += token.logprob
        place += len(token.text)
    return total
