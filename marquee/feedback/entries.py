"""What is stored of an answer and of feedback on it, and the check of the right labels.

A taxonomy is stored with its answers, so that feedback is checked against the labels that the client saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

from llm.classifier import AnswerSource, Prediction
from prompts.errors import MarqueeError, quoted
from prompts.files import digest_of
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

FeedbackKind = Literal["confirmed", "corrected", "labelled"]
_DIGITS = 6  # of stored scores
_MOST_LISTED = 10  # labels in a message


class InvalidFeedback(MarqueeError):
    """Feedback that does not fit its taxonomy; ``field`` is the wrong field of a request."""

    def __init__(self, message: str, field: str = "labels") -> None:
        super().__init__(message)
        self.field = field


class UnknownAnswer(MarqueeError):
    """Feedback on an answer that is not recorded: never given to this key, or expired."""


class FeedbackFull(MarqueeError):
    """The file of feedback has reached its limit, or the disk is full."""


class FeedbackUnusable(MarqueeError):
    """The file of feedback cannot be read or written: locked, damaged, or without permission."""


@dataclass(frozen=True)
class RecordedAnswer:
    """The answer for one text.

    Attributes:
        digest: SHA-256 of the text; see ``text_digest``.
        taxonomy: the labels that the answer could have.
        labels: the labels of the answer.
        scores: score by label; empty without scores.
        score_type: see ``llm.classifier.Prediction``.
        source: what produced the answer.
        version: what was in force from ``main.py learn``; empty for nothing.
        set: its prediction set; None without one.
        text: the text, where texts are stored.
    """

    digest: str
    taxonomy: Taxonomy
    labels: tuple[str, ...]
    scores: Mapping[str, float]
    score_type: str | None
    source: AnswerSource
    version: str = ""
    text: Text | None = None
    set: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, text: Text, taxonomy: Taxonomy, prediction: Prediction, version: str, with_text: bool
    ) -> RecordedAnswer:
        """The record of a prediction; without its text unless ``with_text``."""
        scores = {name: round(score, _DIGITS) for name, score in prediction.scores.items()}
        return cls(
            text_digest(text), taxonomy, prediction.labels, scores, prediction.score_type, prediction.source, version,
            Text(text.body, text.title) if with_text else None, prediction.set,
        )  # fmt: skip


@dataclass(frozen=True)
class FeedbackEntry:
    """Stored feedback on one text.

    Attributes:
        id: 32 hex digits.
        made: ISO 8601 time in UTC.
        key: name of the API key that sent it; empty without a key.
        digest: SHA-256 of the text.
        taxonomy: labels in which it was given.
        kind: ``confirmed`` or ``corrected`` an answer, or ``labelled``: no answer for the text is recorded.
        labels: the right labels.
        answer: the answer, where one is recorded.
        request_id: the request of the answer; empty without one.
        text: the text, where texts are stored.
    """

    id: str
    made: str
    key: str
    digest: str
    taxonomy: Taxonomy
    kind: FeedbackKind
    labels: tuple[str, ...]
    answer: RecordedAnswer | None = None
    request_id: str = ""
    text: Text | None = None

    @property
    def set_coverage(self) -> tuple[int, int] | None:
        """How many right labels are in the prediction set of the answer, and how many are not; None without a set."""
        if self.answer is None or self.answer.set is None:
            return None
        covered = len(set(self.labels) & set(self.answer.set))
        return covered, len(self.labels) - covered

    def row(self) -> Mapping[str, Any]:
        """The cells of an exported table."""
        answer, text = self.answer, self.text
        return {
            "id": self.id,
            "made": self.made,
            "key": self.key,
            "taxonomy": self.taxonomy.versioned_name,
            "kind": self.kind,
            "labels": list(self.labels),
            "answered": list(answer.labels) if answer else None,
            "scores": dict(answer.scores) if answer else None,
            "model": answer.source.model if answer else None,
            "request_id": self.request_id,
            "text_digest": self.digest,
            "title": text.title if text else None,
            "text": text.body if text else None,
        }


def text_digest(text: Text) -> str:
    """SHA-256 of title, line break and body, each without blanks around it, in 64 hex digits.

    A short or frequent text can be guessed from its digest.
    """
    return digest_of(f"{text.title.strip()}\n{text.body.strip()}")


def right_labels(labels: Sequence[str], taxonomy: Taxonomy) -> tuple[str, ...]:
    """The right labels in the taxonomy's spelling and order.

    Raises:
        InvalidFeedback: a label is not in the taxonomy, or the number of labels is not allowed.
    """
    names = dict(zip(labels, map(taxonomy.resolve, labels), strict=True))
    if unknown := next((label for label, name in names.items() if name is None), None):
        close = get_close_matches(unknown, taxonomy.names, n=1)
        listed = ", ".join(taxonomy.names[:_MOST_LISTED])
        hint = f"did you mean {close[0]!r}?" if close else f"labels: {listed}"
        raise InvalidFeedback(f"there is no label {quoted(unknown)} in {taxonomy.name}; {hint}")
    found = taxonomy.in_order(name for name in names.values() if name)
    if not found and not taxonomy.allow_none:
        raise InvalidFeedback(f"labels is empty, and {taxonomy.name} has no answer without labels; give a label")
    if len(found) > taxonomy.max_labels:
        raise InvalidFeedback(f"{len(found)} labels; a text has {taxonomy.max_labels} at most under {taxonomy.name}")
    return found


def kind_of_feedback(labels: Sequence[str], answer: RecordedAnswer | None) -> FeedbackKind:
    """Whether the right labels are those of the answer, whatever their order."""
    if answer is None:
        return "labelled"
    return "confirmed" if set(labels) == set(answer.labels) else "corrected"


def taxonomy_as_stored(taxonomy: Taxonomy) -> str:
    """The answerable labels and the form of an answer as JSON; descriptions and levels are left out."""
    nested = isinstance(taxonomy, Hierarchy)
    labels = [[one.name, [] if nested else list(one.aliases)] for one in taxonomy.predictable]
    form = taxonomy.multi, taxonomy.max_labels, taxonomy.allow_none
    return json.dumps([taxonomy.name, labels, *form, taxonomy.versioned_name])


@dataclass(frozen=True)
class StoredTaxonomy(Taxonomy):
    """A taxonomy as it was when a text was answered; its labels have no descriptions."""

    known_as: str = ""
    stored: str = ""  # as ``taxonomy_as_stored`` wrote it

    @property
    def versioned_name(self) -> str:
        """Name and digest of the taxonomy that was stored."""
        return self.known_as


def taxonomy_from_store(stored: str) -> StoredTaxonomy:
    """The taxonomy of ``taxonomy_as_stored``."""
    name, labels, multi, most, none, known_as = json.loads(stored)
    found = tuple(Label(label, aliases=tuple(aliases)) for label, aliases in labels)
    return StoredTaxonomy(name, found, multi, most, allow_none=none, known_as=known_as, stored=stored)


def answer_as_stored(answer: RecordedAnswer) -> str:
    """Labels, scores and source of an answer as JSON."""
    parts = [answer.labels, answer.scores, answer.score_type, asdict(answer.source), answer.version]
    return json.dumps(parts if answer.set is None else [*parts, answer.set])


def answer_from_store(stored: str, digest: str, taxonomy: Taxonomy, text: Text | None) -> RecordedAnswer:
    """The answer of ``answer_as_stored``."""
    labels, scores, score_type, source, version, *more = json.loads(stored)
    found = tuple(more[0]) if more else None
    made = AnswerSource(**source)
    return RecordedAnswer(digest, taxonomy, tuple(labels), scores, score_type, made, version, text, found)
