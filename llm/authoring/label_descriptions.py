"""Descriptions of labels by a language model, for ``taxonomies tune``; what a model writes is validated."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm.backends.backend import Backend, Completion, Constraint, Conversation
from llm.backends.reasoning import without_reasoning
from llm.strategies.json_repair import json_values
from prompts.taxonomy import Label, Taxonomy
from prompts.template import neutralise
from prompts.text import spelling_key

WRITTEN = 8
"""Descriptions that are requested for a label."""
_LONGEST = 300  # characters of one description
_FEWEST_LETTERS = 8  # of one description; less is no description
_OTHERS = 60  # other labels that the prompt names, so that a large taxonomy fits
_MAX_TOKENS = 800
_SCHEMA = {
    "type": "object",
    "properties": {"descriptions": {"type": "array", "items": {"type": "string"}, "minItems": WRITTEN}},
    "required": ["descriptions"],
    "additionalProperties": False,
}
_SYSTEM = (
    "You describe one label of a taxonomy, so that a text classifier recognises the texts that belong to it. Answer "
    f"with a JSON object whose member descriptions is a list of {WRITTEN} strings, each of at most 30 words and each "
    "different: two definitions, two lists of typical words and phrases, two situations, and two invented example "
    "texts in the style of the texts. Describe what distinguishes the label from the other labels. Do not name the "
    "other labels."
)


def written(backend: Backend, labels: Sequence[Label], taxonomy: Taxonomy) -> list[tuple[tuple[str, ...], str]]:
    """For each label the valid descriptions that a language model wrote, and why some or all are missing ("" if none).

    A description is valid if it has 8 letters or more, 300 characters at most, is not equal to another one, and is not
    merely the name or an alias of a label.
    """
    completions = backend.generate(
        [_conversation(label, taxonomy) for label in labels], Constraint(_SCHEMA, _MAX_TOKENS)
    )
    return [_valid(completion, taxonomy) for completion in completions]


def _conversation(label: Label, taxonomy: Taxonomy) -> Conversation:
    others = [one.name for one in taxonomy.predictable if one.name != label.name][:_OTHERS]
    lines = [f"Texts: {taxonomy.subject}", f"Label: {label.name}"]
    lines += [f"Description: {label.description}"] if label.description else []
    lines += [f"Also called: {', '.join(label.aliases)}"] if label.aliases else []
    lines += [f"Other labels: {'; '.join(others)}"] if others else []
    return ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": str(neutralise("\n".join(lines)))})


def _valid(completion: Completion, taxonomy: Taxonomy) -> tuple[tuple[str, ...], str]:
    if completion.problem:
        return (), completion.problem.detail
    lines = _lines(completion)
    if not lines:
        return (), "the answer has no list of descriptions"
    kept: dict[str, str] = {}
    for line in lines:
        if len(line) <= _LONGEST and len(re.findall(r"\w", line)) >= _FEWEST_LETTERS and not taxonomy.known(line):
            kept.setdefault(spelling_key(line), line)
    refused = len(lines) - len(kept)
    return tuple(kept.values()), f"{refused} of {len(lines)} are repeated, too short, too long or a name" * bool(
        refused
    )


def _lines(completion: Completion) -> list[str]:
    for found in json_values(without_reasoning(completion.text or "") or ""):
        value = found.value
        if isinstance(value, dict):
            value = value.get("descriptions", value.get("labels"))  # backends wrap the schema for some endpoints
            value = value.get("descriptions") if isinstance(value, dict) else value
        if isinstance(value, list) and any(isinstance(one, str) for one in value):
            return [line for one in value if isinstance(one, str) and (line := " ".join(one.split()))]
    return []
