"""JSON as models write it: strict where it is, else repaired as a whole, else reported as broken.

Repaired are: trailing and missing commas, single, typographic and full-width quotes, unescaped quotes inside strings,
unquoted keys and words, Python literals and sets, comments, full-width punctuation, missing and mixed-up closing
brackets. Nothing inside a value that cannot be repaired is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_STARTS_TRIED = 64  # "[[[[…" would otherwise be parsed from every bracket
_DEPTH = 32
_OPENING = {"[": "]", "\uff3b": "]", "{": "}", "\uff5b": "}"}
_START = re.compile(r"[\[{\uff3b\uff5b]")
_BOX = re.compile(r"\[[ xX\u2713\u2714]\][ \t]*\w")  # "[x] Drama"
_ALIKE = str.maketrans("\uff3b\uff3d\uff5b\uff5d\uff0c\u3001\uff1a;\uff1b", "[]{},,:,,")
_QUOTES = {
    **dict.fromkeys('"\uff02\u201c\u201d\u201e\u201f', '"\uff02\u201c\u201d\u201e\u201f'),
    **dict.fromkeys("'\uff07\u2018\u2019\u201a", "'\uff07\u2018\u2019\u201a"),
    **{"`": "`", "\u00ab": "\u00bb", "\u300c": "\u300d", "\u300e": "\u300f"},
}
_SPACE = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*.*?\*/|\u200b|\ufeff)+", re.DOTALL)
_BARE = re.compile(
    r"[^\s\[\]{},:\uff0c\uff1a\u3001\uff3b\uff3d\uff5b\uff5d\"](?:[^\[\]{},:\n\uff0c\uff1a\u3001\uff3b\uff3d\uff5b\uff5d\"]*)"
)
_BARE_QUOTE = re.compile(r'(?<!\\)"')
_LITERALS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"[-+]?[1-9][0-9]{0,300}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_MEANT = re.compile(r"[\[{\uff3b\uff5b]\s*[\"'\[{\uff02\u201c]")  # what no bracket in prose begins with
# A bracketed text is meant as JSON where something in it is quoted, or named by a key.
_QUOTED_OR_NAMED = re.compile(
    r"[\"\uff02\u201c\u201d\u300c]|(?<!\w)['\u2018`]\w|\w['\u2019`]\s*[,\]}:]|^[{\uff5b][^,]*[:\uff1a]"
)
_NEXT_STRING = re.compile(r"\s+[\"\uff02\u201c\u201e'\uff07\u2018`\u00ab\u300c\u300e]")
_AFTER_STRING = re.compile(r"\s*(?:[,;:\]}\uff0c\uff1a\u3001\uff3d\uff5d]|\Z|//|#|/\*)")


@dataclass(frozen=True)
class ParsedValue:
    """A value in a text."""

    value: Any  # as ``json.loads`` gives it; of a repeated key, a list of all its values
    start: int  # its first character
    end: int  # behind its last character
    cut: str = ""  # the last string or word, where the text ends inside it
    broken: bool = False  # whether it is a value that could not be repaired; ``value`` is then None
    closed: bool = True  # whether it ends by its bracket, and not with the text


def json_values(text: str) -> Iterator[ParsedValue]:
    """Every JSON list and object of a text that is inside no other, in order.

    Brackets around plain words ("[sic]") are no JSON and left out.
    """
    place = 0
    for _ in range(_STARTS_TRIED):
        start = _START.search(text, place)
        if not start:
            return
        if box := _BOX.match(text, start.start()):
            place = box.end() - 1
            continue
        found = _strict(text, start.start()) or _repaired(text, start.start())
        place = found.end
        if found.broken or found.value in ([], {}) or _QUOTED_OR_NAMED.search(text[found.start : found.end]):
            yield found


def _strict(text: str, start: int) -> ParsedValue | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
        return ParsedValue(value, start, end)
    except (ValueError, RecursionError):
        return None


def _pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; the values of a repeated key are all kept, since a model means each of them."""
    found: dict[str, Any] = {}
    repeated: set[str] = set()
    for key, value in members:
        if key in found:
            before = found[key] if key in repeated or isinstance(found[key], list) else [found[key]]
            found[key] = [*before, *(value if isinstance(value, list) else [value])]
            repeated.add(key)
        else:
            found[key] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs)


def _repaired(text: str, start: int) -> ParsedValue:
    parser = _Parser(text, start)
    try:
        value = parser.value()
        return ParsedValue(value, start, parser.place, parser.cut, closed=not (parser.cut or parser.ended))
    except _BeyondRepairError:
        end = _closing(text, start) or (len(text) if _MEANT.match(text, start) else start + 1)
        return ParsedValue(None, start, end, broken=bool(_QUOTED_OR_NAMED.search(text[start:end])))


def _closing(text: str, start: int) -> int:
    """Behind the bracket that closes the one at ``start``; 0 where none does."""
    depth = 0
    for place in range(start, len(text)):
        mark = text[place].translate(_ALIKE)
        depth += (mark in "[{") - (mark in "]}")
        if depth == 0:
            return place + 1
    return 0


class _BeyondRepairError(Exception):
    """The text is no value, however it is read."""


@dataclass
class _Parser:
    """A recursive-descent parser of one value."""

    text: str  # the whole text
    place: int  # the next character
    cut: str = ""  # see ``ParsedValue``
    ended: bool = False  # whether the text ended before the value did
    open: list[str] = field(default_factory=list)  # the closing brackets that are still to come, the innermost last

    def value(self) -> Any:
        mark = self._mark()
        if mark in "[{" and mark:
            return self._container(_OPENING[mark])
        return self._string(_QUOTES[mark]) if mark in _QUOTES and mark else self._bare()

    def _container(self, closing: str) -> Any:
        if len(self.open) >= _DEPTH:
            raise _BeyondRepairError
        self.open.append(closing)
        self.place += 1
        members: list[tuple[str, Any]] = []
        elements: list[Any] = []
        while not self._closed(closing):
            self._element(closing, members, elements)
        self.open.pop()
        if members and elements:
            raise _BeyondRepairError
        return elements if closing == "]" or elements else _pairs(members)

    def _element(self, closing: str, members: list[tuple[str, Any]], elements: list[Any]) -> None:
        """One element of a list or a set, or one member of an object; a part that is cut off is none."""
        item = self.value()
        if self.cut:
            return
        if closing == "}" and self._mark() == ":":
            self.place += 1
            if self._mark() == "" or self._at_closing():
                return  # a key whose value is missing says nothing
            value = self.value()
            if isinstance(value, list | dict) or not self.cut:
                members.append((str(item), value))
        else:
            elements.append(item)
        if self._mark() == ",":
            self.place += 1
        elif (mark := self._mark()) and not self._at_closing() and mark not in _QUOTES and mark not in "[{":
            raise _BeyondRepairError

    def _closed(self, closing: str) -> bool:
        """Whether the container ends here; takes its bracket, but leaves one that closes a container around it."""
        mark = self._mark()
        if mark == closing or (self._at_closing() and mark not in self.open):
            self.place += 1
            return True
        self.ended = self.ended or mark == ""
        return mark == "" or bool(self.cut) or self._at_closing()

    def _at_closing(self) -> bool:
        return self._mark() in ("]", "}")

    def _mark(self) -> str:
        """The next character that is no space and no comment, in ASCII; empty at the end."""
        if space := _SPACE.match(self.text, self.place):
            self.place = space.end()
        return self.text[self.place : self.place + 1].translate(_ALIKE)

    def _string(self, closing: str) -> str:
        start = self.place + 1
        place = start
        while place < len(self.text):
            mark = self.text[place]
            if mark == "\\":
                place += 1
            elif mark in closing and self._ends_string(place + 1):
                self.place = place + 1
                return _unescaped(self.text[start:place])
            place += 1
        self.place, self.cut = len(self.text), self.text[start:].strip() or '"'
        return self.cut

    def _ends_string(self, place: int) -> bool:
        """Whether a quote is the closing one: a structural mark follows, or white space and the next string."""
        return bool(_AFTER_STRING.match(self.text, place) or _NEXT_STRING.match(self.text, place))

    def _bare(self) -> Any:
        word = _BARE.match(self.text, self.place)
        if not word:
            raise _BeyondRepairError
        self.place = word.end()
        bare = word[0].strip()
        if self.place >= len(self.text):
            self.cut = bare
            return bare
        if bare.casefold() in _LITERALS:
            return _LITERALS[bare.casefold()]
        return json.loads(bare.lstrip("+")) if _NUMBER.fullmatch(bare) else bare


def _unescaped(written: str) -> str:
    try:
        return str(json.loads('"' + _BARE_QUOTE.sub(r"\"", written.replace("\\'", "'")) + '"', strict=False))
    except ValueError:
        return written.replace("\\", "")
