"""The ``Classifier`` protocol and its result types: texts and a taxonomy in, one prediction per text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from prompts.taxonomy import Taxonomy
from prompts.text import Text

ProblemKind = Literal[
    "empty",
    "too_long",
    "unreachable",
    "busy",
    "misconfigured",
    "rejected",
    "unreadable",
    "timeout",
    "client_disconnected",
]
ScoreType = Literal["probability", "share", "similarity"]
# Kinds that depend on the text or its answer; the others depend on the moment or the settings.
OF_A_TEXT: frozenset[ProblemKind] = frozenset(["empty", "too_long", "rejected", "unreadable"])


@dataclass(frozen=True)
class Problem:
    """Why one text has no labels.

    Attributes:
        kind: ``empty`` no text; ``too_long`` beyond the model's context; ``unreachable`` no connection, or none in
            time; ``busy`` overloaded; ``misconfigured`` wrong key or model name; ``rejected`` the endpoint refused the
            request; ``unreadable`` an answer without labels; ``timeout`` deadline passed; ``client_disconnected``.
        detail: one sentence for people.
        retry_after: seconds to wait before the next try, where known.
    """

    kind: ProblemKind
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens of an answer; zero where no language model was called."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def total_usage(parts: Sequence[Usage]) -> Usage:
    """Tokens of several requests together."""
    return Usage(
        sum(part.prompt_tokens for part in parts),
        sum(part.cached_tokens for part in parts),
        sum(part.completion_tokens for part in parts),
    )


@dataclass(frozen=True)
class AnswerSource:
    """What produced a prediction: names, those of taxonomy and prompt with a digest (``tmdb@0f3a…``).

    The name of an embedded model begins with ``embedded/``; only language models have a prompt and a strategy.
    """

    model: str
    taxonomy: str
    prompt: str | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The labels of one text. No labels and no ``problem`` means that none applies.

    Attributes:
        labels: names from the taxonomy, each once; best first where there are scores, else in taxonomy order.
        scores: score by label, higher is better; labels that were not scored are missing.
        problem: why there are no labels.
        dropped: output of the model that is not in the taxonomy, or beyond ``max_labels``.
        cached: whether the answer comes from the answer cache.
        score_type: ``probability`` of each label by itself; ``share`` of one probability that all labels (and "none",
            where allowed) sum up to; ``similarity`` a cosine. None without scores.
    """

    labels: tuple[str, ...]
    source: AnswerSource
    scores: Mapping[str, float] = field(default_factory=dict)
    problem: Problem | None = None
    dropped: tuple[str, ...] = ()
    usage: Usage = Usage()
    cached: bool = False
    score_type: ScoreType | None = None


class Classifier(Protocol):
    """Labels texts: a language model with a strategy, the embedded classifier, a trained model, or a wrapper."""

    @property
    def name(self) -> str:
        """Name of the model, for people."""

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """One prediction per text, in the order of the texts; a text that fails has a ``problem``.

        Raises:
            InvalidTexts: ``texts`` is a single text, or no sequence of texts (``prompts.text.checked_texts``).
        """


class Fingerprinting(Classifier, Protocol):
    """A classifier whose answers can be cached."""

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Hex digest of everything that the answer depends on."""


def no_text(text: Text) -> Problem:
    """The problem of an empty text."""
    return Problem("empty", text.fault or "there is no text to label")
