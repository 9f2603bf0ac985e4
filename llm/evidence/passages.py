"""Passages of a text: its sentences, and where a quote or a part of ``Text.joined`` is in the text as it was sent.

Offsets count characters (code points) of the text or the title as the client sent them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

from prompts.text import Text

_LONGEST = 300  # characters of a sentence; longer ones are divided
_MOST = 200  # passages of a text; neighbours are joined beyond that
_MARKS, _CLOSING = ".!?\u2026\u0964\u061f\u06d4", "\"'\u201d\u2019\u00bb)\\]"
# Possessive, and from the first of several marks on: a text of dots alone takes linear time.
_END = re.compile(
    rf"(?<![{_MARKS}])(?P<marks>[{_MARKS}]++)[{_CLOSING}]*+(?=\s)"
    r"|[\u3002\uff01\uff1f\uff61]++[\"'\u201d\u2019\u300d\u300f\u3011]*+"
    r"|\n++"
)
_ABBREVIATION = re.compile(r"(?:^|[\s(.])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|No|e\.g|i\.e|etc|approx|z\.B|bzw)$")
_PAUSE = re.compile(r"[,;:\u2014\u3001\uff0c]\s*|\s+")
# Chinese characters and Japanese ones, which have no spaces between words, are words by themselves.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_LEAST_LETTERS = 2  # of a quote: a single letter is in every text


class Passage(NamedTuple):
    """A part of the text or of its title, and its first character and the one behind its last."""

    field: Literal["text", "title"]
    start: int
    end: int

    def of(self, text: Text) -> str:
        """The words of the passage."""
        return (text.title if self.field == "title" else text.body)[self.start : self.end]

    def removed(self, text: Text) -> Text:
        """The text without the passage."""
        if self.field == "title":
            return Text(text.body, text.title[: self.start] + text.title[self.end :])
        return Text(text.body[: self.start] + text.body[self.end :], text.title)


def sentences(text: Text) -> list[Passage]:
    """The title and the sentences of a text, at most 200; sentences beyond 300 characters are divided.

    Line breaks end a sentence. A sentence without a letter or a digit is left out.
    """
    found = [Passage("text", *span) for span in _spans(text.body)]
    size = -(-len(found) // _MOST)
    if size > 1:
        found = [Passage("text", part[0].start, part[-1].end) for part in _groups(found, size)]
    title = _trimmed(text.title, 0, len(text.title))
    return [*([Passage("title", *title)] if title else []), *found]


def words_of(text: Text, most: int) -> list[Passage]:
    """The words of the title and the text, without marks around them; of more than ``most``, neighbours are joined."""
    fields: tuple[tuple[Literal["text", "title"], str], ...] = ("title", text.title), ("text", text.body)
    found = [
        Passage(field, *span)
        for field, whole in fields
        for match in _WORD.finditer(whole)
        if (span := _without_marks(whole, *match.span()))
    ]
    size = -(-len(found) // most)
    if size <= 1:
        return found
    parts = (group for field, _ in fields for group in _groups([one for one in found if one.field == field], size))
    return [part[0]._replace(end=part[-1].end) for part in parts]


def in_joined(text: Text, start: int, end: int) -> Passage | None:
    """The passage of a part of ``text.joined``; None for the full stop that joins title and body."""
    title = text.title.strip()
    if not title:
        return Passage("text", start, end)
    if end <= len(title):
        lead = len(text.title) - len(text.title.lstrip())
        return Passage("title", start + lead, end + lead)
    shift = len(text.body) - len(text.body.lstrip()) - len(title) - len(". ")
    return Passage("text", start + shift, end + shift) if start >= len(title) + len(". ") else None


def located(quote: str, text: Text) -> Passage | None:
    """Where a quote is in the body or the title; None where it is in neither.

    A quote that is not found as it is, is searched by its letters and digits alone, without case and accents: models
    change spaces and quotation marks. It must not begin or end inside a word, and needs two letters or digits.
    """
    quote = quote.strip()
    if not quote:
        return None
    fields: tuple[tuple[Literal["text", "title"], str], ...] = ("text", text.body), ("title", text.title)
    for field, words in fields:
        for start in _starts(quote, words):
            if _is_whole(words, start, start + len(quote)):
                return Passage(field, start, start + len(quote))
    wanted, _ = _folded(quote)
    for field, words in fields:
        letters, places = _folded(words)
        for at in _starts(wanted, letters):
            start, end = places[at], _with_marks(words, places[at + len(wanted) - 1] + 1)
            if _is_whole(words, start, end):
                return Passage(field, start, end)
    return None


def with_marks(text: Text, passage: Passage) -> Passage:
    """The passage with the accents that follow its last letter as characters of their own."""
    words = text.title if passage.field == "title" else text.body
    return passage._replace(end=_with_marks(words, passage.end))


def _spans(words: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end in [*(found.end() for found in _END.finditer(words) if _ends(words, found)), len(words)]:
        if span := _trimmed(words, start, end):
            yield from _divided(words, *span)
        start = end


def _ends(words: str, found: re.Match[str]) -> bool:
    """Whether a match ends a sentence: not the full stop of an abbreviation, nor one before a small letter."""
    if found["marks"] != ".":
        return True
    behind = words[found.end() : found.end() + 20].lstrip()
    return not behind[:1].islower() and not _ABBREVIATION.search(words[max(0, found.start() - 10) : found.start()])


def _divided(words: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > _LONGEST:
        pauses = [one.end() for one in _PAUSE.finditer(words, start + _LONGEST // 2, start + _LONGEST)]
        cut = pauses[-1] if pauses else start + _LONGEST
        while cut < min(end, start + 2 * _LONGEST) and _is_mark(words[cut]):
            cut += 1
        if span := _trimmed(words, start, cut):
            yield span
        start = cut
    if span := _trimmed(words, start, end):
        yield span


def _trimmed(words: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without white space around it; None without a letter or a digit."""
    part = words[start:end]
    if not any(map(str.isalnum, part)):
        return None
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _without_marks(words: str, start: int, end: int) -> tuple[int, int] | None:
    """The span from its first letter or digit to its last, with the accents of that; None without any."""
    letters = [at for at in range(start, end) if words[at].isalnum()]
    return (letters[0], _with_marks(words, letters[-1] + 1)) if letters else None


def _groups(found: list[Passage], size: int) -> Iterator[list[Passage]]:
    return (found[at : at + size] for at in range(0, len(found), size))


def _starts(wanted: str, words: str) -> Iterator[int]:
    if sum(map(str.isalnum, wanted)) < _LEAST_LETTERS:
        return
    at = words.find(wanted)
    while at >= 0:
        yield at
        at = words.find(wanted, at + 1)


def _folded(words: str) -> tuple[str, list[int]]:
    """Letters and digits without case and accents, and the place of each in the words."""
    letters, places = [], []
    for place, character in enumerate(words):
        for one in unicodedata.normalize("NFKD", character).casefold():
            if one.isalnum():
                letters.append(one)
                places.append(place)
    return "".join(letters), places


def _with_marks(words: str, end: int) -> int:
    while end < len(words) and _is_mark(words[end]):
        end += 1
    return end


def _is_mark(character: str) -> bool:
    """Whether it is an accent or a vowel sign of the letter before it (Unicode categories Mn, Mc, Me)."""
    return unicodedata.category(character).startswith("M")


def _is_whole(words: str, start: int, end: int) -> bool:
    """Whether a span begins and ends between words, in scripts that have spaces between them."""
    return not any(
        0 < edge < len(words) and _in_word(words[edge - 1]) and _in_word(words[edge]) for edge in (start, end)
    )


def _in_word(character: str) -> bool:
    return character.isdigit() or character.lower() != character.upper()
