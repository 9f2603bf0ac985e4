"""Encoding and separator of text tables.

The separator is the candidate under which most of the first rows are as wide as the header. ``csv.Sniffer`` is misled
by commas in the texts of a semicolon file, and clevercsv takes seconds per megabyte.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from prompts.errors import InvalidSetting

LARGEST_CELL = 1 << 26
"""Characters of a cell; a longer one is a quote that never closes."""
NO_SEPARATOR = "\x1f"
"""Separator of a table of one column: a character that no text holds."""
_SEPARATORS = ",;\t|"
_SEPARATOR_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "bar": "|"}
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_ROWS = 200
_TYPOGRAPHIC = (
    "\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u20ac\xa0\xa3\xab\xbb\xb0\xa7\xa9\xae\xb7\xbf\xa1\u2122"
)

# What ``charset-normalizer`` may suggest: the encodings that programs still write.
_PROBABLE_ENCODINGS = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "shift_jis", "euc_jp", "gb18030",
    "big5", "euc_kr", "tis_620",
]  # fmt: skip

csv.field_size_limit(LARGEST_CELL)


@dataclass(frozen=True)
class TableDialect:
    """The user's settings for a text table; None is detected.

    Attributes:
        encoding: a name that Python knows. UTF-8, and UTF-16 or UTF-32 with a byte order mark, need none.
        separator: one character between cells, or its name: comma, semicolon, tab, pipe.
    """

    encoding: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.separator is not None and len(self.separator_character or "") != 1:
            raise InvalidSetting(f"separator {self.separator!r} is not one character, nor comma, semicolon, tab, pipe")

    @property
    def separator_character(self) -> str | None:
        """The separator as a character."""
        return None if self.separator is None else _SEPARATOR_NAMES.get(self.separator.casefold(), self.separator)


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
    """How the lines of a CSV file are split into cells.

    Attributes:
        separator: one character.
        skips_spaces: whether spaces after a separator are not part of the cell.
        skipped: lines before the header: blank ones and ``sep=;``.
    """

    separator: str
    skips_spaces: bool = False
    skipped: int = 0

    @property
    def quotes_are_text(self) -> bool:
        """Whether a cell may begin with a literal quote: TSV files are often written without quoting."""
        return self.separator in "\t|"


def detect_layout(head: str, is_complete: bool, separator: str | None, default: str = NO_SEPARATOR) -> Layout:
    """The layout of a table from its first characters.

    Args:
        head: the first characters.
        is_complete: whether they are the whole file.
        separator: the user's; None detects it.
        default: the separator of a table whose header has none.
    """
    lines = list(io.StringIO(head, newline=""))
    if not is_complete and len(lines) > 1:
        lines = lines[:-1]
    skipped = next((n for n, line in enumerate(lines) if line.strip()), 0)
    sep_line = _SEP_LINE.fullmatch(lines[skipped].strip("\r\n ")) if lines else None
    skipped = skipped + 1 if sep_line else skipped
    table = lines[skipped:]
    separator = separator or (sep_line[1] if sep_line else _detected_separator(table) or default)
    return Layout(separator, _has_spaces_after(table, separator), skipped)


def _detected_separator(lines: list[str]) -> str | None:
    """The candidate with the most rows as wide as the header, then with the most columns; None for one column."""
    fits = {separator: _fit(_widths(lines, separator)) for separator in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda separator: fits[separator])
    return best if fits[best][1] > 1 else None


def _fit(widths: list[int]) -> tuple[float, int]:
    """Share of the rows that are as wide as the header, and the header's width; zeros for one column."""
    if not widths or widths[0] == 1:
        return 0.0, 0
    header, *rows = widths
    return (sum(width == header for width in rows) / len(rows) if rows else 1.0), header


def _widths(lines: list[str], separator: str) -> list[int]:
    """Numbers of cells of the first rows that are not empty."""
    sample = lines[: 4 * _ROWS]
    rows = islice(csv.reader(sample, delimiter=separator), _ROWS)
    if separator in "\t|" and not lines[0].startswith('"'):
        rows = iter([line.rstrip("\r\n").split(separator) for line in sample])  # type: ignore[assignment]
    widths = []
    with suppress(csv.Error):
        for cells in rows:
            if any(cells):
                widths.append(len(cells))
    return widths


def _has_spaces_after(lines: list[str], separator: str) -> bool:
    """``id, title, plot``: every name but the first begins with a space."""
    if not lines or separator in "\t ":
        return False
    names = lines[0].split(separator)[1:]
    return bool(names) and all(name.startswith(" ") for name in names)


def decoding_errors(encoding: str) -> str:
    """The ``errors`` argument for an encoding: bytes that are not UTF-8 become lone surrogates; others are strict."""
    return "surrogateescape" if encoding.replace("_", "-").startswith("utf-8") else "strict"


def encoding_advice(raw: bytes) -> str:
    """Advice for bytes that are not UTF-8, with the name of the encoding that they look like."""
    from charset_normalizer import from_bytes

    if _is_western(raw):
        name = "cp1252"
    elif best := from_bytes(raw, cp_isolation=_PROBABLE_ENCODINGS).best():
        name = best.encoding
    else:
        return "say which encoding the file has with --encoding, such as --encoding cp1252"
    return f"it looks like {name}: give --encoding {name} if that is right"


def _is_western(raw: bytes) -> bool:
    """Whether bytes read as English, French or German in cp1252; one line is too short for ``charset-normalizer``."""
    text = raw.decode("cp1252", "replace")
    high = [character for character in text if not character.isascii()]
    return len(high) < len(text) / 5 and all(character.isalpha() or character in _TYPOGRAPHIC for character in high)
