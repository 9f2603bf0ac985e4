"""Names under which models put labels: keys of JSON objects and headings of plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from llm.strategies.label_words import (
    BULLET,
    flag,
    holds_labels,
    known,
    means_nothing,
    negates,
    refuses,
    said_with_more,
    split,
)
from prompts.taxonomy import Taxonomy

_LEAD = re.compile(r"^(?P<lead>[^:\uff1a\[{]{0,60})[:\uff1a]\s*(?P<rest>\S.*)$", re.DOTALL)
_CHECKED = re.compile(
    r"^\s*(?:[-*+]\s+)?(?:\[(?P<box>[ xX\u2713\u2714])\]|"
    r"(?P<mark>[\u2705\u2714\u2713\u2611\u274c\u2717\u2718\u2716\u2610])\ufe0f?)\s*"
)
_VERDICT = re.compile(
    r"^(?P<label>.+?)\s*(?:[:=|\u2192\uff1a]|=>|->|\s[-\u2013\u2014]\s|\()+\s*(?P<flag>[^\s|()]{1,8})[\s|.)]*$"
)
_GRADE = re.compile(r"[\d.,]+\s*%?|\d+\s*/\s*\d+")
_RULE = re.compile(r"^[\s|:*_=~-]*$")  # a line that draws a line


@dataclass(frozen=True)
class _Line:
    """What a line gives: labels; nothing but a heading; or prose, which ends a list.

    Attributes:
        said: the labels and other items.
        heading: whether it is a heading of what follows, or only draws a line.
        against: whether it turns what follows into its opposite.
        lead: the words in front of a colon: "Genres" of "Genres: Drama".
        bullet: whether it is an item of a list.
    """

    said: tuple[str, ...] | None = None
    heading: bool = False
    against: bool = False
    lead: str = ""
    bullet: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it is no prose."""
        return self.said is not None or self.heading


def listed(words: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels that plain words list, with the other items of the list; None where they list none.

    Lists with prose between them that differ are none: which one is the answer cannot be known. Nor are lists of which
    an item cannot be read.
    """
    lines = [line for line in words.splitlines() if line.strip()]
    whole = split(words, taxonomy)
    judged = any(_verdict(line, taxonomy) == [] for line in lines)  # "[ ] Horror" is no Horror
    if whole and not judged and all(known(piece, taxonomy) for piece in whole):
        return whole
    read = [_line(line, taxonomy) for line in lines]
    if any(one.bullet and next_one.bullet and one.is_read != next_one.is_read for one, next_one in pairwise(read)):
        return None
    blocks = [block for block in _blocks(_answering(read)) if block]
    given = [[word for said in block for word in said] for block in blocks]
    alike = {frozenset(known(word, taxonomy) or word for word in block) for block in given}
    prose = [line for line, one in zip(lines, read, strict=True) if not one.is_read and not negates(line)]
    explained = {label for line in prose if (label := said_with_more(line, taxonomy))}
    return given[-1] if len(alike) == 1 and explained <= next(iter(alike)) else None


def _answering(lines: Iterable[_Line]) -> list[_Line]:
    """The lines without labels under headings that negate, or are another's than the answer's ("Reasoning: Horror").

    Where several headings differ and none is an answer's, no labels are left.
    """
    kept: list[_Line] = []
    above = _Line()
    for line in lines:
        if line.said is None:
            above = line if line.lead or not line.heading else above  # a drawn line is no heading of its own
            kept.append(line)
        elif not above.against:
            kept.append(replace(line, lead=line.lead or above.lead))
    if len({line.lead for line in kept if line.said is not None}) < 2:
        return kept
    return [line for line in kept if line.said is None or holds_labels(line.lead)]


def _blocks(lines: Iterable[_Line]) -> list[list[tuple[str, ...]]]:
    """Lists with nothing but headings between their lines."""
    blocks: list[list[tuple[str, ...]]] = [[]]
    for line in lines:
        if line.said is not None:
            blocks[-1].append(line.said)
        elif not line.heading:
            blocks.append([])
    return blocks


def _line(line: str, taxonomy: Taxonomy) -> _Line:
    if _RULE.match(line):
        return _Line(heading=True)
    if (said := _listed(line, taxonomy)) is not None:
        lead = None if known(line, taxonomy) or _verdict(line, taxonomy) is not None else _LEAD.match(line)
        return _Line(tuple(said), lead=lead["lead"].strip("*#_- ") if lead else "", bullet=bool(BULLET.match(line)))
    bare = line.strip().strip("*#_ ")
    heading = bare.endswith((":", "\uff1a"))
    return _Line(None, heading, heading and negates(bare), bare if heading else "", bool(BULLET.match(line)))


def _listed(line: str, taxonomy: Taxonomy) -> list[str] | None:
    """The pieces of a line, if at least half of them are labels and none is a phrase; else None."""
    if (verdict := _verdict(line, taxonomy)) is not None:
        return verdict
    if label := known(line, taxonomy):
        return [label]
    if _graded(line, taxonomy):
        return None
    line = BULLET.sub("", line).strip().strip("|").strip()
    lead = _LEAD.match(line)
    if lead and known(line, taxonomy) is None:
        if negates(lead["lead"]) or refuses(line):
            return None
        line = lead["rest"]
    if known(line, taxonomy) is None and means_nothing(line):
        return [] if taxonomy.allow_none else None
    pieces = split(line, taxonomy)
    found = [known(piece, taxonomy) for piece in pieces]
    strange = [piece for piece, label in zip(pieces, found, strict=True) if label is None]
    if any(len(piece.split()) > 2 or negates(piece) or refuses(piece) for piece in strange):
        return None
    if any(label and _GRADE.fullmatch(piece) for label, piece in zip(found, pieces[1:], strict=False)):
        return None
    count = len(pieces) - len(strange)
    if line[:1] in "[{" and strange:
        return None  # what starts like JSON is whole or nothing
    return (
        [label or piece for piece, label in zip(pieces, found, strict=True)]
        if count and 2 * count >= len(pieces)
        else None
    )


def _verdict(line: str, taxonomy: Taxonomy) -> list[str] | None:
    """The label of a line such as ``Drama: yes``, ``| Drama | no |`` or ``[x] Drama``, if it is given; else None."""
    if line.strip() in taxonomy.names:
        return [line.strip()]
    if checked := _CHECKED.match(line):
        label = known(line[checked.end() :], taxonomy)
        given = flag(checked["mark"]) if checked["mark"] else bool(checked["box"].strip())
        return None if label is None else [label] if given else []
    found = _judged(line)
    if not found or (given_flag := flag(found["flag"])) is None or not (label := known(found["label"], taxonomy)):
        return None
    return [label] if given_flag else []


def _judged(line: str) -> re.Match[str] | None:
    return _VERDICT.match(BULLET.sub("", line).strip().strip("|").replace("*", ""))


def _graded(line: str, taxonomy: Taxonomy) -> bool:
    """Whether a line says how well a label fits ("Drama: 0.2", "| Drama | low |"), which is no yes and no no."""
    found = _judged(line)
    return bool(found and known(found["label"], taxonomy) and not known(found["flag"], taxonomy))
