"""Feedback as labelled texts: the newest per text, checked against the taxonomy of today, and its three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import Example
from llm.classifier import AnswerSource, Prediction, no_text
from marquee.feedback.entries import FeedbackEntry, InvalidFeedback, RecordedAnswer, right_labels
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

LEAST_TEXTS = 20
"""Number of texts with feedback below which nothing is learned."""
_LEAST_OF_PART = 3
_SELECTION = 0.25  # of the texts that are not held out


@dataclass(frozen=True)
class JudgedText:
    """A text with its right labels.

    Attributes:
        digest: SHA-256 of the text.
        labels: the right labels, in today's spelling.
        corrected: whether they differ from those of an answer.
        answer: the recorded answer; None without one.
        text: None where only its digest is stored.
    """

    digest: str
    labels: tuple[str, ...]
    corrected: bool
    answer: RecordedAnswer | None
    text: Text | None

    def example(self) -> Example:
        """The text as an example for training and evaluation; without a text, its digest is in the text's place."""
        return Example(self.digest, self.text or Text(self.digest), self.labels, self.digest)


@dataclass(frozen=True)
class JudgedTexts:
    """Feedback on a taxonomy, in three parts by the digests of the texts, so that a text never changes its part.

    Attributes:
        fit: for learning.
        selection: for the choice among what was learned.
        held_out: for the comparison and the gate.
        with_texts: whether the texts are known; otherwise learning uses recorded scores.
        skipped: number of entries that are not used, by reason.
    """

    fit: tuple[JudgedText, ...]
    selection: tuple[JudgedText, ...]
    held_out: tuple[JudgedText, ...]
    with_texts: bool
    skipped: Mapping[str, int]

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of texts by part."""
        return {name: len(getattr(self, name)) for name in ("fit", "selection", "held_out")}


def judged_texts(entries: Iterable[FeedbackEntry], taxonomy: Taxonomy, held_out: float) -> JudgedTexts:
    """The feedback on a taxonomy: that under its name, and that under exactly its labels.

    Of several entries for a text, the newest is used. With too few texts, the entries with recorded answers are used.

    Args:
        entries: stored feedback, the oldest first.
        taxonomy: the labels of today.
        held_out: share of the texts to hold out.

    Raises:
        InvalidDataset: there is too little feedback.
    """
    skipped: Counter[str] = Counter()
    newest: dict[str, JudgedText] = {}
    for entry in entries:
        if entry.taxonomy.name != taxonomy.name and set(entry.taxonomy.names) != set(taxonomy.names):
            continue
        try:
            right = right_labels(entry.labels, taxonomy)
        except InvalidFeedback:
            skipped["labels that do not fit the taxonomy of today"] += 1
            continue
        newest[entry.digest] = JudgedText(entry.digest, right, entry.kind == "corrected", entry.answer, entry.text)
    texts = [one for one in newest.values() if one.text]
    with_texts = len(texts) >= LEAST_TEXTS
    chosen = texts if with_texts else _scored(list(newest.values()), taxonomy)
    if unused := len(newest) - len(chosen):
        reason = "no stored text" if with_texts else "no recorded scores of the model as it is without feedback"
        skipped[reason] += unused
    return _parted(chosen, taxonomy, held_out, with_texts, skipped)


def _scored(judged: Sequence[JudgedText], taxonomy: Taxonomy) -> list[JudgedText]:
    """Those whose recorded scores are of every label, by the model that has most, before anything was learned."""
    complete = [one for one in judged if _complete(one.answer, taxonomy)]
    sources = Counter(_source(one) for one in complete)
    most = sources.most_common(1)[0][0] if sources else None
    return [one for one in complete if _source(one) == most]


def _complete(answer: RecordedAnswer | None, taxonomy: Taxonomy) -> bool:
    return answer is not None and not answer.version and set(answer.scores) == set(taxonomy.names)


def _source(judged: JudgedText) -> tuple[str, str | None, str | None]:
    assert judged.answer is not None
    return judged.answer.source.model, judged.answer.source.strategy, judged.answer.score_type


def _parted(
    judged: Sequence[JudgedText], taxonomy: Taxonomy, held_out: float, with_texts: bool, skipped: Mapping[str, int]
) -> JudgedTexts:
    rest = [one for one in judged if _share(one, 0) >= held_out]
    parts = {
        "fit": [one for one in rest if _share(one, 1) >= _SELECTION],
        "selection": [one for one in rest if _share(one, 1) < _SELECTION],
        "held_out": [one for one in judged if _share(one, 0) < held_out],
    }
    if len(judged) < LEAST_TEXTS or min(map(len, parts.values())) < _LEAST_OF_PART:
        reasons = "".join(f"; {count} with {reason}" for reason, count in skipped.items())
        sizes = ", ".join(f"{len(part)} {name.replace('_', ' ')}" for name, part in parts.items())
        raise InvalidDataset(
            f"{taxonomy.name} has usable feedback on {len(judged)} text{'s' * (len(judged) != 1)} ({sizes}){reasons}; "
            f"learn needs {LEAST_TEXTS}, and {_LEAST_OF_PART} of each part"
        )
    fit, selection, last = (tuple(sorted(part, key=lambda one: one.digest)) for part in parts.values())
    return JudgedTexts(fit, selection, last, with_texts, dict(skipped))


def _share(judged: JudgedText, draw: int) -> float:
    """A number from 0 to 1 by the digest of the text; two draws are independent."""
    return int(judged.digest[8 * draw : 8 * draw + 8], 16) / 2**32


@dataclass(frozen=True)
class RecordedAnswers:
    """A classifier that repeats recorded answers; its texts are the digests of the texts."""

    answers: Mapping[str, RecordedAnswer]

    @property
    def name(self) -> str:
        return next((one.source.model for one in self.answers.values()), "recorded")

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; raises ``KeyError`` for a text without a recorded answer."""
        source = AnswerSource(self.name, taxonomy.versioned_name)
        return [
            Prediction((), source, problem=no_text(text)) if text.empty
            else _prediction(self.answers[text.body], taxonomy)
            for text in checked_texts(texts)
        ]  # fmt: skip


def _prediction(answer: RecordedAnswer, taxonomy: Taxonomy) -> Prediction:
    source = replace(answer.source, taxonomy=taxonomy.versioned_name)
    names = {label: taxonomy.resolve(label) for label in answer.labels}
    labels = tuple(name for name in names.values() if name)
    return Prediction(labels, source, dict(answer.scores), score_type=answer.score_type)  # type: ignore[arg-type]
