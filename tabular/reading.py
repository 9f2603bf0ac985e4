"""What the readers of all formats share: rows, the reading position, and encoding, layout and lines of text files.

The separator is the candidate under which most of the first rows are as wide as the header. ``csv.Sniffer`` is misled
by commas in the texts of a semicolon file, and clevercsv takes seconds per megabyte.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, cast

from prompts.errors import InvalidDataset, InvalidSetting

Kind = Literal["empty", "csv", "jsonl", "json", "parquet"]

INVALID_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8, as ``surrogateescape`` decodes them."""
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
class Row:
    """A row of a table.

    Attributes:
        where: file and line (the first of the row), or file and row of Parquet; for messages.
        cells: value by column, in the order of the file. Parquet converts a column when it is first read.
        problem: why the row cannot be used; empty where it can.
    """

    where: str
    cells: Mapping[str, Any]
    problem: str = ""


@dataclass
class ReadPosition:
    """How much of some files has been read: ``before`` bytes of finished ones, and those that ``tell`` returns."""

    total: int
    before: int = 0
    tell: Callable[[], int] = field(default=lambda: 0)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, (self.before + self.tell()) / max(1, self.total))


def check_unique(names: Sequence[str], file: str) -> None:
    """Raise ``InvalidDataset`` where two columns have one name."""
    if double := next((name for name in names if names.count(name) > 1), None):
        places = [str(place) for place, name in enumerate(names, 1) if name == double]
        raise InvalidDataset(f"{file} has two columns {double!r} (columns {' and '.join(places)}); rename one")


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
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            raise InvalidSetting(
                f"there is no encoding {self.encoding!r}; such as utf-8, utf-16, cp1252, latin-1, shift_jis, gb18030"
            ) from None
        if self.separator is not None:
            character = _SEPARATOR_NAMES.get(self.separator.casefold(), self.separator)
            if len(character) != 1:
                raise InvalidSetting(
                    f"separator {self.separator!r} is not one character, nor comma, semicolon, tab, pipe"
                )
            object.__setattr__(self, "separator", character)


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


@dataclass(frozen=True)
class FileFormat:
    """The reader of a file, and what a text file needs: its encoding, first characters, and the layout of CSV.

    Bytes of ``head`` that do not fit UTF-8 are lone surrogates.
    """

    kind: Kind
    gzipped: bool = False
    encoding: str = "utf-8-sig"
    head: str = ""
    layout: Layout = Layout(",")


def detect_layout(head: str, is_complete: bool, separator: str | None, default: str) -> Layout:
    """The layout of a table from its first characters, which may be the whole file.

    ``separator`` is the user's; None detects it. ``default`` is that of a table whose header has none.
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
    fits = {separator: _fit(lines, separator) for separator in _SEPARATORS}
    best = max(_SEPARATORS, key=fits.__getitem__)
    return best if fits[best][1] > 1 else None


def _fit(lines: list[str], separator: str) -> tuple[float, int]:
    """Share of the first rows that are as wide as the header, and the header's width; zeros for one column."""
    sample = lines[: 4 * _ROWS]
    rows: Iterable[list[str]] = islice(csv.reader(sample, delimiter=separator), _ROWS)
    if separator in "\t|" and not lines[0].startswith('"'):
        rows = [line.rstrip("\r\n").split(separator) for line in sample]
    widths = []
    with suppress(csv.Error):
        for cells in rows:
            if any(cells):
                widths.append(len(cells))
    header, *others = widths or [1]
    if header == 1:
        return 0.0, 0
    return (sum(width == header for width in others) / len(others) if others else 1.0), header


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


@contextmanager
def open_text(
    path: Path, format: FileFormat, newline: str, position: ReadPosition | None, line: Callable[[], int]
) -> Iterator[TextIO]:
    """The file as text, unpacked where it is gzipped; an error of reading becomes an ``InvalidDataset`` with the line.

    Bytes that are not UTF-8 become lone surrogates; in other encodings they are an error. ``newline`` is as ``open``
    takes it, ``position`` is kept up to date, and ``line`` returns the number of the last line that was read.
    """
    try:
        with path.open("rb") as raw:
            if position is not None:
                position.tell = raw.tell
            data = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if format.gzipped else raw
            with io.TextIOWrapper(data, format.encoding, decoding_errors(format.encoding), newline) as text:
                yield text
    except (EOFError, zlib.error, OSError, UnicodeError) as error:
        after = f" after line {line():,}" if line() else ""
        raise InvalidDataset(f"cannot read {path}{after}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip data ends too early; fetch the file again"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return "the gzip data is damaged; fetch the file again"
    if isinstance(error, UnicodeError):
        return f"what follows is not {getattr(error, 'encoding', 'its encoding')}"
    return str(getattr(error, "strerror", None) or error)


class PushbackLines:
    """The lines of a text, which can be pushed back.

    Attributes:
        source: the text.
        number: lines that were read.
        exhausted: whether a line was wanted when there was none.
        record: lines that were read since the caller emptied it.
    """

    def __init__(self) -> None:
        self.source: Iterator[str] = iter(())
        self.number, self.exhausted = 0, False
        self.record: list[str] = []
        self._pushed_back: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        pushed_back, source = self._pushed_back, self.source
        while line := pushed_back.popleft() if pushed_back else next(source, ""):
            self.number += 1
            self.record.append(line)
            yield line
        self.exhausted = True

    def push_back(self, lines: Sequence[str]) -> None:
        """Return lines that were read too early."""
        self._pushed_back.extendleft(reversed(lines))
        self.number -= len(lines)
        self.exhausted = False
