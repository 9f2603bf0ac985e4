"""In which form a model is asked for labels; the templates word it."""

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
    """What the answer should look like.

    Attributes:
        strategy: ``json_list`` a JSON list of labels; ``label_tokens`` the code of the best label; ``yes_no`` Yes or No
            about one label.
        label: the label that ``yes_no`` asks about.
    """

    strategy: Literal["json_list", "label_tokens", "yes_no"]
    label: Label | None = None
    none_code: str = NONE_CODE

    def labels_with_codes(self, taxonomy: Taxonomy) -> Iterator[tuple[str, Label]]:
        """Every label that may be answered, with its code; the code is empty where the strategy uses none."""
        for place, label in enumerate(taxonomy.predictable):
            yield CODES[place] if self.strategy == "label_tokens" else "", label


LIST = AnswerFormat("json_list")
LETTERS = AnswerFormat("label_tokens")


@dataclass(frozen=True)
class FewShotExample:
    """A labelled example to show the model."""

    text: Text
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """One example: the user's text and question, and the assistant's answer."""

    text: Text
    question: AnswerFormat
    answer: str


def turns(shots: Sequence[FewShotExample], taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """The examples as turns, in their order.

    An example without a label of the taxonomy is shown only where "none" is an answer. ``yes_no`` asks about one label
    that each example has and one that it has not, whatever label the text is asked about: so all questions about a text
    share the same beginning.
    """
    for place, shot in enumerate(shots):
        labels = [name for name in shot.labels if name in taxonomy.names]
        if labels or taxonomy.allow_none or question.strategy == "yes_no":
            yield from _TURNS[question.strategy](place, replace(shot, labels=tuple(labels)), taxonomy, question)


def _listed(place: int, shot: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    yield Turn(shot.text, question, json.dumps(shot.labels[: taxonomy.max_labels], ensure_ascii=False))


def _coded(place: int, shot: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """The code of the first label, since one label is asked for."""
    codes = {label.name: code for code, label in question.labels_with_codes(taxonomy)}
    yield Turn(shot.text, question, codes[shot.labels[0]] if shot.labels else question.none_code)


def _judged(place: int, shot: FewShotExample, taxonomy: Taxonomy, question: AnswerFormat) -> Iterator[Turn]:
    """One Yes and one No, in turn first, so that neither is the rule."""
    without = [name for name in taxonomy.names if name not in shot.labels]
    sides = [(shot.labels, "Yes"), (without, "No")]
    for names, answer in sides if place % 2 == 0 else sides[::-1]:
        if names:
            name = names[place % len(names)]
            label = next(one for one in taxonomy.predictable if one.name == name)
            yield Turn(shot.text, replace(question, label=label), answer)


_TURNS: Mapping[str, Callable[[int, FewShotExample, Taxonomy, AnswerFormat], Iterator[Turn]]] = {
    "json_list": _listed,
    "label_tokens": _coded,
    "yes_no": _judged,
}
