"""The ``Classifier`` protocol and its results: texts and a taxonomy in, one prediction and its source per text out.

The last part compares the sources of a run with those of the system that would continue it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from prompts.errors import InvalidSetting
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
EvidenceKind = Literal["sentence", "word", "occlusion", "quote"]
MOST_EXPLAINED = 5
"""Labels of a text that get evidence, at most."""
_ENDPOINT = ("endpoint", "extra_body")
_LONGEST = 80  # characters of a value in a message
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
class LabelsOffered:
    """The language model chose from ``offered`` of the ``total`` labels; a shortlist left the others out."""

    offered: int
    total: int


@dataclass(frozen=True)
class Evidence:
    """A passage of the text that supports a label; ``quote`` is exactly the characters from ``start`` to ``end``.

    Attributes:
        label: the label.
        kind: ``sentence`` that raises the score most; ``word`` of the word features; ``occlusion``: a word without
            which the score falls; ``quote`` by a language model.
        quote: the passage, as it is in the text.
        start: place of its first character (code point) in the field, as the text was sent.
        end: place behind its last character.
        contribution: log-odds that a sentence or a word adds to the score of the label; None for a quote.
        field: whether the places are those of the text or of its title.
    """

    label: str
    kind: EvidenceKind
    quote: str
    start: int
    end: int
    contribution: float | None = None
    field: Literal["text", "title"] = "text"


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
        shortlist: how many labels the language model chose from, where it did not see all of them.
        evidence: passages that support the labels, in their order; None where none was requested.
        unexplained: why there is no evidence, by label, where some was requested.
        warnings: why the labels may be wrong, such as a language that the model does not read; a sentence each.
        set: labels that have the right ones with the calibrated coverage; None without a calibration.
        abstain: whether the set is no answer; None without a set.
        learned: what answered of ``main.py learn``, such as ``tmdb/000002``; empty for nothing.
    """

    labels: tuple[str, ...]
    source: AnswerSource
    scores: Mapping[str, float] = field(default_factory=dict)
    problem: Problem | None = None
    dropped: tuple[str, ...] = ()
    usage: Usage = Usage()
    cached: bool = False
    score_type: ScoreType | None = None
    shortlist: LabelsOffered | None = None
    evidence: tuple[Evidence, ...] | None = None
    unexplained: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    set: tuple[str, ...] | None = None
    abstain: bool | None = None
    learned: str = ""


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


def recorded_in_both(kept: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The setups of a run's manifest and of the system that would continue it, without what cannot be compared.

    Manifests of earlier versions have no ``endpoint`` and no ``extra_body``. ``model`` is missing where the endpoint's
    list chooses it; the names in the answers are compared then (``ServedModels``).
    """
    skipped = set() if "endpoint" in kept else {*_ENDPOINT}
    if "endpoint" in now and not ("model" in kept and "model" in now):
        skipped.add("model")
    before, after = ({name: value for name, value in one.items() if name not in skipped} for one in (kept, now))
    return before, after


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, str]:
    """What differs between two mappings, in words, by dotted name."""
    before, after = _flat(kept), _flat(now)
    differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return {name: f"{name} {_short(before.get(name))}, now {_short(after.get(name))}" for name in differing}


class ServedModels:
    """The names that a run's answers give the model; a resumed run refuses those of another model.

    Where a fallback or a cascade answers too, or several models have answered before (a router), any name is accepted.
    So it is where the manifest has no endpoint: answers of earlier versions carry the configured name. ``setup`` is
    that of the manifest, ``names`` are those in the run's answers.
    """

    def __init__(self, setup: Mapping[str, Any], names: Collection[str], folder: Path) -> None:
        self._endpoint, self._folder = setup.get("endpoint"), folder
        several = setup.get("fallback") or setup.get("cascade") or len(names) != 1
        self._expected = "" if several or not self._endpoint else next(iter(names))

    def check(self, names: Iterable[str]) -> None:
        """Compare the names in the first new answers; another one than the run's raises InvalidSetting."""
        found = set(names)
        if self._expected and (strange := sorted(found - {self._expected})):
            raise InvalidSetting(
                f"{self._folder} has answers of the model {self._expected!r}, and {self._endpoint} now answers as "
                f"{', '.join(map(repr, strange))}; serve {self._expected!r} there, give another --out, or "
                "--overwrite to start over"
            )
        if found:
            self._expected = ""


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in value.items():
        found |= _flat(one, f"{above}{name}.") if isinstance(one, Mapping) else {f"{above}{name}": one}
    return found


def _short(value: Any) -> str:
    words = json.dumps(value, ensure_ascii=False)
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."
