"""Few-shot examples as turns of the conversation: the question about each, and its answer in the form asked for.

Examples in another form than the answer teach the wrong form ("Labels: Drama" where a JSON list is asked for). Each
question has its own: a JSON list, the code of one label, or Yes and No.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from prompts.answer_format import AnswerFormat, FewShotExample
from prompts.taxonomy import Taxonomy
from prompts.text import Text


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
