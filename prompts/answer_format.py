"""Answer formats that a prompt can request, and few-shot examples as turns of a conversation in the same format."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

# Single characters are single tokens in every tokenizer in use; label words are not ("Drama" starts as "D" in Qwen's).
CODES = string.ascii_uppercase + string.ascii_lowercase
NONE_CODE = "0"


@dataclass(frozen=True)
class AnswerFormat:
    """The form of the answer.

    Attributes:
        strategy: ``json_list`` a JSON list of labels; ``label_tokens`` the code of the best label; ``yes_no`` Yes or No
            about one label.
        label: the label of a ``yes_no`` question.
        none_code: code of "none of these labels".
    """

    strategy: Literal["json_list", "label_tokens", "yes_no"]
    label: Label | None = None
    none_code: str = NONE_CODE

    def labels_with_codes(self, taxonomy: Taxonomy) -> Iterator[tuple[str, Label]]:
        """The predictable labels with their codes; codes are empty for strategies without codes."""
        for place, label in enumerate(taxonomy.predictable):
            yield CODES[place] if self.strategy == "label_tokens" else "", label


JSON_LIST = AnswerFormat("json_list")
LABEL_TOKENS = AnswerFormat("label_tokens")


@dataclass(frozen=True)
class FewShotExample:
    """A labelled example for the model."""

    text: Text
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """One example: the user's text and question, and the assistant's answer."""

    text: Text
    question: AnswerFormat
    answer: str


def example_turns(examples: Sequence[FewShotExample], taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """The examples as turns, in their order, with answers in the format of the question.

    Examples without a label of the taxonomy are left out where "none" is not an answer. ``yes_no`` has one question
    about a label of each example and one about another label, whatever the label of the question: all questions about
    a text then share the same beginning.
    """
    for place, example in enumerate(examples):
        labels = tuple(name for name in example.labels if name in taxonomy.names)
        if labels or taxonomy.allow_none or question.strategy == "yes_no":
            yield from _TURNS[question.strategy](place, replace(example, labels=labels), taxonomy, question)


def _json_list(place: int, example: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    yield Turn(example.text, question, json.dumps(example.labels[: taxonomy.max_labels], ensure_ascii=False))


def _label_tokens(place: int, example: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """The code of the first label, because the answer is one code."""
    codes = {label.name: code for code, label in question.labels_with_codes(taxonomy)}
    yield Turn(example.text, question, codes[example.labels[0]] if example.labels else question.none_code)


def _yes_no(place: int, example: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """One Yes and one No; their order alternates, so that the model does not learn an order."""
    others = tuple(name for name in taxonomy.names if name not in example.labels)
    pairs = [(example.labels, "Yes"), (others, "No")]
    for names, answer in pairs if place % 2 == 0 else pairs[::-1]:
        if names:
            name = names[place % len(names)]
            label = next(label for label in taxonomy.predictable if label.name == name)
            yield Turn(example.text, replace(question, label=label), answer)


_TURNS: Mapping[str, Callable[[int, FewShotExample, Taxonomy, AnswerFormat], Iterator[Turn]]] = {
    "json_list": _json_list,
    "label_tokens": _label_tokens,
    "yes_no": _yes_no,
}
