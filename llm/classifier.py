"""The one seam of the house: texts and a taxonomy in, one prediction per text out."""

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
# Kinds that say something about the text or its answer; the others are about the moment or the settings.
OF_A_TEXT: frozenset[ProblemKind] = frozenset(["empty", "too_long", "rejected", "unreadable"])


@dataclass(frozen=True)
class Problem:
    """Why one text got no answer.

    Attributes:
        kind: ``empty`` nothing to read; ``too_long`` beyond the model's context; ``unreachable`` no connection, or
            none in time; ``busy`` the endpoint is overloaded; ``misconfigured`` wrong key or model name;
            ``rejected`` the endpoint refused this request; ``unreadable`` it answered, but not with labels; ``timeout``
            the asker's time was over; ``client_disconnected`` the client has closed the connection.
        detail: one sentence for people.
        retry_after: seconds after which trying again makes sense, where that is known.
    """

    kind: ProblemKind
    detail: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens that an answer took; zero where no language model was asked."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class AnswerSource:
    """Who answered.

    Attributes:
        model: name of the model; the embedded one calls itself ``embedded/…``.
        taxonomy: name and digest of the taxonomy, ``tmdb@0f3a…``.
        prompt: name and digest of the prompt, where one was used.
        strategy: how the language model's words became labels, where one was asked.
    """

    model: str
    taxonomy: str
    prompt: str | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one text.

    ``labels == ()`` without a ``problem`` means that none applies.

    Attributes:
        labels: names from the taxonomy, none twice; best first where there are scores, else in taxonomy order.
        source: who answered.
        scores: numbers by label, where the classifier has them; a label without a number was not scored. Higher is
            likelier.
        problem: why there is no answer.
        dropped: what the model said that is not in the taxonomy, or beyond ``max_labels``.
        usage: tokens taken.
        cached: whether the answer was remembered rather than asked for.
        score_type: ``probability`` each label's own, from 0 to 1; ``share`` of one probability that all labels (and
            "none", where the taxonomy allows it) compete for; ``similarity`` a cosine. None where there are no scores.
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
    """Anything that labels texts: a language model under a strategy, MiniLM, a trained baseline, a wrapper."""

    @property
    def name(self) -> str:
        """Who answers, in one word or two, for people."""

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """One prediction per text, in the order of the texts. A text that fails carries its ``problem``.

        Raises:
            InvalidTexts: ``texts`` is a single text, or no sequence of texts (``prompts.text.checked_texts``).
        """


class Fingerprinting(Classifier, Protocol):
    """A classifier whose answers may be remembered."""

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Hex digest of everything that the answer depends on."""


def no_text(text: Text) -> Problem:
    """The problem of an empty text."""
    return Problem("empty", text.fault or "there is no text to label")
