"""Lint of a taxonomy: labels that a model confuses, cannot understand or would not choose, each with a suggestion."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from llm.classifier import Prediction
from llm.embedded.cosine import described
from prompts.label_tree import SEPARATOR
from prompts.taxonomy import Label, Taxonomy
from prompts.text import spelling_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llm.embedded.cosine import TextEncoder

    Array = NDArray[np.float32]

# Similarity from which two labels overlap. On validation texts of 16 sets of labels, MiniLM ranks the true label of a
# pair first in 97% of the texts where their similarity is below .15, 89% at .3, 79% from .6 to .7, 72% from .7 on.
OVERLAP = 0.6
# By this much another label has to be nearer than the own one; below it, the order is chance.
_MARGIN, _ALIAS_MARGIN = 0.1, 0.15
_NEAR = 0.4  # and at least this similar
_COMMON = 3  # names with the same first or last words, at least
_MOST = 12  # findings of a rule; a taxonomy of a thousand labels has many similar pairs
_NAMES = 6  # names in a message
_MOSTLY = 0.5  # share of letters beyond ASCII from which MiniLM, an English model, cannot compare names
_TEXTS_PER_LABEL = 10  # texts from which an unchosen label says something
_CATCH_ALL = re.compile(
    r"(?i)(?:(?:all |any )?others?\b.*|everything else|something else|misc(?:ellaneous)?|general|generic|various"
    r"|none(?: of .*)?|no label|unknown|undefined|unclear|n/?a|not applicable|uncategori[sz]ed|unclassified|default"
    r"|rest|etc)\.?"
)
_CODE = re.compile(r"[A-Za-z]{0,3}[-_. ]?\d[\d._-]*[A-Za-z]?|[A-Za-z]")
_WORD = re.compile(r"\w+(?:['\u2019&+#-]\w*)*")

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class LintFinding:
    """Something to correct in a taxonomy.

    Attributes:
        rule: ``invalid``, ``overlap``, ``ambiguous``, ``alias``, ``no-description``, ``same-description``,
            ``common-words``, ``catch-all``, ``code-name``, ``unchosen`` or ``language``.
        severity: ``error``: the taxonomy cannot be used; ``warning``: labels will be confused or missed; ``note``.
        labels: the labels that it is about.
        message: what is wrong.
        suggestion: what to do.
        similarity: cosine of the two labels, where the rule compares two.
    """

    rule: str
    severity: Severity
    labels: tuple[str, ...]
    message: str
    suggestion: str
    similarity: float | None = None


_OTHER_SCRIPT = LintFinding(
    "language",
    "note",
    (),
    "most names are in a script that the embedded encoder does not know",
    "similar labels are not searched; measure with labelled texts",
)


def check(taxonomy: Taxonomy, encoder: TextEncoder) -> list[LintFinding]:
    """The findings about a taxonomy's predictable labels; warnings first.

    Args:
        taxonomy: any taxonomy.
        encoder: plain MiniLM.
    """
    labels = taxonomy.predictable
    found = [*_descriptions(labels), *_names(labels), *_common_words(labels)]
    if _beyond_ascii(labels) > _MOSTLY:
        found.append(_OTHER_SCRIPT)
    else:
        found += _by_meaning(labels, encoder)
    return sorted(found, key=lambda one: ("error", "warning", "note").index(one.severity))


def unchosen(taxonomy: Taxonomy, predictions: Sequence[Prediction]) -> list[LintFinding]:
    """Labels that no text got, from the predictions for some texts; a warning from ten texts per label on."""
    answered = [prediction for prediction in predictions if prediction.problem is None]
    chosen = Counter(name for prediction in answered for name in prediction.labels)
    missing = tuple(name for name in taxonomy.names if not chosen[name])
    if not missing:
        return []
    enough = len(answered) >= _TEXTS_PER_LABEL * len(taxonomy.names)
    return [
        LintFinding(
            "unchosen", "warning" if enough else "note", missing,
            f"{_listed(missing)}: chosen for none of {len(answered):,} texts",
            "describe it in the words of the texts, or remove it" if enough else "give more texts to be sure",
        )
    ]  # fmt: skip


# --- rules about words ---


def _descriptions(labels: Sequence[Label]) -> Iterator[LintFinding]:
    bare = tuple(
        one.name for one in labels if spelling_key(one.description or one.own_name) == spelling_key(one.own_name)
    )
    if bare:
        yield LintFinding(
            "no-description", "warning", bare, f"{_listed(bare)}: no description",
            "state in one line what belongs to the label, in the words of the texts",
        )  # fmt: skip
    for names in _groups((spelling_key(one.description), one.name) for one in labels if one.description):
        yield LintFinding(
            "same-description", "warning", names, f"{_listed(names)} have the same description",
            "describe what distinguishes them, or merge them",
        )  # fmt: skip


def _names(labels: Sequence[Label]) -> Iterator[LintFinding]:
    for one in labels:
        if _CATCH_ALL.fullmatch(one.own_name.strip()):
            yield LintFinding(
                "catch-all", "warning", (one.name,),
                f"{one.name!r} has no meaning of its own, so a model that compares meanings seldom chooses it",
                "remove it and set allow_none: true; an answer without labels then says the same",
            )  # fmt: skip
    codes = tuple(one.name for one in labels if not one.description and _CODE.fullmatch(one.own_name.strip()))
    if codes:
        yield LintFinding(
            "code-name", "warning", codes, f"{_listed(codes)}: a code says nothing to a model",
            "use the name in words, and keep the code as an alias",
        )  # fmt: skip


def _common_words(labels: Sequence[Label]) -> Iterator[LintFinding]:
    """Groups of names with the same first words, or the same last ones."""
    words = {one.name: _WORD.findall(one.own_name) for one in labels}
    several = {name: found for name, found in words.items() if len(found) > 1}
    for place, verb in ((0, "begin"), (-1, "end")):
        for names in _groups((found[place].casefold(), name) for name, found in several.items()):
            if len(names) < _COMMON:
                continue
            word = several[names[0]][place]
            if len(names) == len(words):
                yield LintFinding(
                    "common-words", "warning", names, f"all names {verb} with {word!r}, which distinguishes none",
                    f"leave {word!r} out of the names, or name it once in the descriptions",
                )  # fmt: skip
            elif place == 0:
                yield LintFinding(
                    "common-words", "note", names, f"{len(names)} names {verb} with {word!r}: {_listed(names)}",
                    f"begin with what distinguishes them, or make {word!r} their parent",
                )  # fmt: skip


# --- rules about meaning ---


def _by_meaning(labels: Sequence[Label], encoder: TextEncoder) -> Iterator[LintFinding]:
    whole, names = encoder.encode(list(map(described, labels))), encoder.encode([one.phrase for one in labels])
    yield from _overlaps(labels, whole)
    yield from _ambiguous(labels, names, encoder)
    yield from _aliases(labels, whole, names, encoder)


def _overlaps(labels: Sequence[Label], whole: Array) -> Iterator[LintFinding]:
    pairs = []
    for place in range(len(labels) - 1):  # a row at a time: five thousand labels have twelve million pairs
        row = whole[place + 1 :] @ whole[place]
        alike = [place + 1 + at for at in np.flatnonzero(row >= OVERLAP).tolist()]
        pairs += [(float(row[at - place - 1]), place, at) for at in alike if not _nested(labels[place], labels[at])]
    pairs.sort(key=lambda one: (-one[0], one[1:]))
    for similarity, a, b in pairs[:_MOST]:
        first, second = labels[a].name, labels[b].name
        more = f" ({len(pairs) - _MOST} more pairs)" if len(pairs) > _MOST and (a, b) == pairs[_MOST - 1][1:] else ""
        yield LintFinding(
            "overlap", "warning", (first, second),
            f"{first!r} and {second!r} are alike to the embedded classifier (similarity {similarity:.2f}){more}",
            "merge them, or say in both descriptions where the line is", round(similarity, 4),
        )  # fmt: skip


def _ambiguous(labels: Sequence[Label], names: Array, encoder: TextEncoder) -> Iterator[LintFinding]:
    """Descriptions that are nearer to the name of another label."""
    with_one = [place for place, label in enumerate(labels) if label.description]
    if not with_one:
        return
    near = encoder.encode([labels[place].description for place in with_one]) @ names.T
    for row, other, similarity in _misplaced(near, with_one, _MARGIN):
        own, rival = labels[with_one[row]].name, labels[other].name
        yield LintFinding(
            "ambiguous", "warning", (own, rival),
            f"the description of {own!r} is nearer to the name {rival!r} (similarity {similarity:.2f})",
            f"describe {own!r} in words that {rival!r} does not fit", round(similarity, 4),
        )  # fmt: skip


def _aliases(labels: Sequence[Label], whole: Array, names: Array, encoder: TextEncoder) -> Iterator[LintFinding]:
    """Aliases that are nearer to another label."""
    given = [(place, alias) for place, label in enumerate(labels) for alias in label.aliases]
    if not given:
        return
    vectors = encoder.encode([alias for _, alias in given])
    near = np.maximum(vectors @ whole.T, vectors @ names.T)
    for row, other, similarity in _misplaced(near, [place for place, _ in given], _ALIAS_MARGIN):
        place, alias = given[row]
        own, rival = labels[place].name, labels[other].name
        yield LintFinding(
            "alias", "note", (own, rival),
            f"the alias {alias!r} of {own!r} is nearer to {rival!r} (similarity {similarity:.2f})",
            f"aliases serve to read answers; remove it unless it means {own!r} alone", round(similarity, 4),
        )  # fmt: skip


def _misplaced(near: Array, owners: Sequence[int], margin: float) -> list[tuple[int, int, float]]:
    """Row, nearest label and similarity where another label than the owner is nearer by the margin; clearest first."""
    own = near[np.arange(len(owners)), owners]
    best = near.argmax(axis=1)
    top = near[np.arange(len(owners)), best]
    wrong = np.flatnonzero((top >= own + margin) & (top >= _NEAR))
    order = wrong[np.argsort(own[wrong] - top[wrong], kind="stable")][:_MOST].tolist()
    return [(row, int(best[row]), float(top[row])) for row in order]


def _nested(one: Label, other: Label) -> bool:
    """Whether one of two labels is above the other."""
    return one.name.startswith(other.name + SEPARATOR) or other.name.startswith(one.name + SEPARATOR)


def _groups(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Names with the same key, where there are several."""
    found: dict[str, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def _beyond_ascii(labels: Sequence[Label]) -> float:
    letters = [mark for one in labels for mark in one.name if mark.isalpha()]
    return sum(not mark.isascii() for mark in letters) / max(1, len(letters))


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(map(repr, names[:_NAMES])) + rest
