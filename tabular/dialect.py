"""How a text file is written: its encoding, the separator of its cells, spaces after it.

The separator is the candidate under which the rows of the head have as many cells as the first line. ``csv.Sniffer``
counts letters and punctuation of all lines alike, so that commas in a text of a semicolon file mislead it; clevercsv
tests every dialect on the whole text, which takes seconds a megabyte. The first line holds names, and four separators
exist in practice: that is enough to decide.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import Any

from prompts.errors import InvalidSetting

LARGEST_CELL = 1 << 26
"""Characters of a cell; a longer one is a quote that never closes."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
NONE = "\x1f"
"""Separator of a table of one column: a character that no text holds."""
_WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "bar": "|"}
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_ROWS = 200
_TYPOGRAPHIC = (
    "\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u20ac\xa0\xa3\xab\xbb\xb0\xa7\xa9\xae\xb7\xbf\xa1\u2122"
)

# What ``charset-normalizer`` may suggest: the encodings that programs still write.
_LIKELY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "shift_jis", "euc_jp", "gb18030",
    "big5", "euc_kr", "tis_620",
]  # fmt: skip


@dataclass(frozen=True)
class TableDialect:
    """What a user says about a text file; None is found out.

    Attributes:
        encoding: a name that Python knows. UTF-8, and UTF-16 or UTF-32 with a byte order mark, need none.
        separator: one character between cells, or its name: comma, semicolon, tab, pipe.
    """

    encoding: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None:
            self._check_encoding(self.encoding)
        if self.separator is not None and len(self.mark or "") != 1:
            raise InvalidSetting(f"separator {self.separator!r} is not one character, nor comma, semicolon, tab, pipe")

    @property
    def mark(self) -> str | None:
        """The separator as a character."""
        return None if self.separator is None else _WORDS.get(self.separator.casefold(), self.separator)

    @staticmethod
    def _check_encoding(name: str) -> None:
        try:
            b"".decode(name)
            codecs.lookup(name)
        except LookupError:
            raise InvalidSetting(
                f"there is no encoding {name!r}; such as utf-8, utf-16, cp1252, latin-1, shift_jis, gb18030"
            ) from None


@dataclass(frozen=True)
class Layout:
    """How the lines of a table of separated values are cut into cells.

    Attributes:
        separator: one character.
        skips_spaces: whether spaces after a separator are no part of a cell.
        skipped: lines before the one that names the columns: ``sep=;``.
    """

    separator: str
    skips_spaces: bool = False
    skipped: int = 0

    @property
    def quotes_are_text(self) -> bool:
        """Whether a quote that opens a cell may be a letter of it: TSV files are often written without quoting."""
        return self.separator in "\t|"


def layout_of(head: str, whole: bool, wanted: str | None, of_one_column: str = NONE) -> Layout:
    """The layout of a table from its first characters.

    Args:
        head: the first characters.
        whole: whether they are all.
        wanted: the separator where the user names it.
        of_one_column: the separator where the first line has none.
    """
    lines = list(io.StringIO(head, newline=""))
    if not whole and len(lines) > 1:
        lines = lines[:-1]
    skipped = next((n for n, line in enumerate(lines) if line.strip()), 0)
    said = _SEP_LINE.fullmatch(lines[skipped].strip("\r\n ")) if lines else None
    skipped = skipped + 1 if said else skipped
    rest = lines[skipped:]
    separator = wanted or (said[1] if said else _separator(rest) or of_one_column)
    return Layout(separator, _skips_spaces(rest, separator), skipped)


def _separator(lines: list[str]) -> str | None:
    """The candidate with the most rows as wide as the first, of equals the one of most columns; None for one column."""
    fits = {mark: _fit(lines, mark) for mark in SEPARATORS}
    best = max(SEPARATORS, key=lambda mark: fits[mark])
    return best if fits[best][1] > 1 else None


def _fit(lines: list[str], mark: str) -> tuple[float, int]:
    """Share of the rows that are as wide as the first line, and its width; nothing where it is one cell."""
    widths = [len(cells) for cells in _cells(lines, mark) if any(cells)]
    if not widths or widths[0] == 1:
        return 0.0, 0
    same = sum(width == widths[0] for width in widths[1:]) / (len(widths) - 1) if len(widths) > 1 else 1.0
    return same, widths[0]


def _cells(lines: list[str], mark: str) -> list[list[str]]:
    some = lines[: 4 * _ROWS]
    if mark in "\t|" and not lines[0].startswith('"'):
        return [line.rstrip("\r\n").split(mark) for line in some]
    return _some(csv.reader(some, delimiter=mark))


def _some(reader: Any) -> list[list[str]]:
    found: list[list[str]] = []
    try:
        for cells in reader:
            found.append(cells)
            if len(found) == _ROWS:
                break
    except csv.Error:
        pass
    return found


def _skips_spaces(lines: list[str], separator: str) -> bool:
    """``id, title, plot``: every name but the first has a space before it."""
    if not lines or separator in "\t ":
        return False
    names = lines[0].split(separator)[1:]
    return bool(names) and all(name.startswith(" ") for name in names)


def suggestion(raw: bytes) -> str:
    """Advice for bytes that are not UTF-8, with the name of the encoding that they look like."""
    from charset_normalizer import from_bytes

    if _is_western(raw):
        return _try("cp1252")
    found = from_bytes(raw, cp_isolation=_LIKELY).best()
    if found is None:
        return "say which encoding the file has with --encoding, such as --encoding cp1252"
    return _try(found.encoding)


def _try(name: str) -> str:
    return f"it looks like {name}: give --encoding {name} if that is right"


def _is_western(raw: bytes) -> bool:
    """Whether bytes read as English, French or German in Windows' encoding; of a line or two no library can tell."""
    words = raw.decode("cp1252", "replace")
    high = [mark for mark in words if not mark.isascii()]
    return len(high) < len(words) / 5 and all(mark.isalpha() or mark in _TYPOGRAPHIC for mark in high)


csv.field_size_limit(LARGEST_CELL)
