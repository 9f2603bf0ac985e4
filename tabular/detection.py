"""The format of a file, detected from its first bytes, since names may be wrong."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from prompts.errors import InvalidDataset
from tabular.reading import (
    NO_SEPARATOR,
    FileFormat,
    Kind,
    TableDialect,
    decoding_errors,
    detect_layout,
    encoding_advice,
)

_HEAD = 1 << 16
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
JSONL_SUFFIXES, JSON_SUFFIXES = (".jsonl", ".ndjson"), (".json",)
PARQUET_SUFFIXES = (".parquet", ".pq")
# What counts as a table in a folder; a .json file there is more often metadata.
FOLDER_SUFFIXES = (".csv", ".tsv", *JSONL_SUFFIXES, *PARQUET_SUFFIXES)

# First bytes, what the file is, and what to do about it.
_FOREIGN_FILES: Sequence[tuple[bytes | tuple[bytes, ...], str, str]] = (
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document", "save it as CSV UTF-8"),
    (b"BZh", "a bzip2 archive", "unpack it first: bunzip2 {name}"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it first: unxz {name}"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it first: unzstd {name}"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive", "unpack it first: unlz4 {name}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF document", "give a table"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as Parquet"),
    (b"FEA1", "a Feather file", "save it as Parquet"),
    (b"ORC", "an ORC file", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", "save the table as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "save the table as CSV"),
    (b"\x89PNG", "a PNG image", "give a table"),
    (b"\xff\xd8\xff", "a JPEG image", "give a table"),
    (b"GIF8", "a GIF image", "give a table"),
    (b"PARE", "an encrypted Parquet file", "decrypt it first"),
    (b"\x7fELF", "a program", "give a table"),
    (b"version https://git-lfs.github.com", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex", "fetch the file itself: git annex get {name}"),
    (b"{\\rtf", "a rich text document", "save its table as CSV"),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a Python pickle", "save the table as Parquet"),
)
_PAGES = ("<!doctype html", "<html", "<head", "<body", "<meta", "<script", "<title")
_MARKUP = re.compile(r"<[a-z!?]")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13, 27})


def suffix(path: Path) -> str:
    """The last suffix but ``.gz``, in lower case: ``.csv`` for ``A.CSV.gz``."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return bare.suffix.lower()


def detect_format(path: Path, dialect: TableDialect = TableDialect()) -> FileFormat:
    """The format of a file.

    Raises:
        InvalidDataset: no such file, or not a table; the message says what it is and what to do.
    """
    raw = _first_bytes(path)
    gzipped = raw.startswith(_GZIP)
    head = _unpacked(raw, path) if gzipped else raw
    if head.startswith(_PARQUET):
        return FileFormat("parquet")
    _check_is_table(head, path)
    encoding = _encoding(head, path, dialect)
    is_complete = len(head) < _HEAD and len(raw) < _HEAD
    text = _decoded(head, encoding, path)
    empty: Kind = "empty" if is_complete else "csv"
    kind = _text_kind(text, is_complete, path) if text.strip() else empty
    if kind != "csv":
        return FileFormat(kind, gzipped, encoding, text)
    layout = detect_layout(text, is_complete, dialect.separator, "\t" if suffix(path) == ".tsv" else NO_SEPARATOR)
    if suffix(path) in JSONL_SUFFIXES + JSON_SUFFIXES and layout.separator == NO_SEPARATOR:
        raise InvalidDataset(f"cannot read {path}: not JSON: it begins with {_first_line(text)!r}")
    return FileFormat(kind, gzipped, encoding, text, layout)


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InvalidDataset(f"{path} is a folder; give a file")
    if str(path) == "-" or path.is_fifo() or path.is_char_device():  # would be empty, or block, the second time
        raise InvalidDataset(f"{path} is a pipe, and a table is read more than once; save it as a file and give that")
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        raise InvalidDataset(f"cannot read {path}: No such file or directory{_did_you_mean(path)}") from None
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _did_you_mean(path: Path) -> str:
    with suppress(OSError):
        close = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
        return f"; did you mean {close[0]!r}?" if close else ""
    return ""


def _unpacked(raw: bytes, path: Path) -> bytes:
    """The first bytes of all gzip members; some writers begin with an empty one."""
    head, rest = b"", raw
    try:
        while rest.startswith(_GZIP) and len(head) < _HEAD:
            member = zlib.decompressobj(31)
            head += member.decompress(rest, _HEAD - len(head))
            rest = member.unused_data
    except zlib.error:
        raise InvalidDataset(f"cannot read {path}: the gzip data is damaged; fetch the file again") from None
    if not head and not member.eof:
        raise InvalidDataset(f"cannot read {path}: the gzip data ends too early; fetch the file again")
    if head.startswith(_GZIP):
        raise InvalidDataset(f"{path.name} is gzip inside gzip: unpack it once: gunzip {path.name}")
    if head.startswith(_PARQUET):
        raise InvalidDataset(f"{path.name} is a gzipped Parquet file, which packs by itself: gunzip {path.name}")
    return head


def _check_is_table(head: bytes, path: Path) -> None:
    name = path.name
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise InvalidDataset(f"{name} is {_zip_kind(path)}")
    if head[257:262] == b"ustar":
        raise InvalidDataset(f"{name} is a tar archive: unpack it first: tar -xf {name}")
    for magic, what, remedy in _FOREIGN_FILES:
        if head.startswith(magic):
            raise InvalidDataset(f"{name} is {what}, not a table: {remedy.format(name=name)}")
    start = head[:200].removeprefix(codecs.BOM_UTF8).lstrip().lower().decode("latin-1")
    if start.startswith(_PAGES):
        raise InvalidDataset(f"{name} is a web page (HTML), not a table: download the file itself, not its page")
    if _MARKUP.match(start):
        raise InvalidDataset(f"{name} is XML or HTML, not a table: convert it to CSV or JSON lines")


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except (zipfile.BadZipFile, OSError):
        return "a damaged ZIP archive: fetch the file again"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook: save it as CSV UTF-8"
    if any(name.startswith("word/") for name in names):
        return "a Word document: save its table as CSV"
    if "mimetype" in names and "content.xml" in names:
        return "an OpenDocument file: save it as CSV"
    content = f" of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""
    return f"a ZIP archive{content}: unpack it first: unzip {path.name}"


def _encoding(head: bytes, path: Path, dialect: TableDialect) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    if dialect.encoding:
        return dialect.encoding
    _check_not_utf16(head, path)
    if sum(head.count(byte) for byte in _CONTROLS) > max(4, len(head) / 20):
        raise InvalidDataset(f"{path.name} holds binary data, not a table; give CSV, TSV, JSON lines or Parquet")
    return "utf-8-sig"


def _check_not_utf16(head: bytes, path: Path) -> None:
    """UTF-16 without a byte order mark has a zero byte in every letter of English."""
    if len(head) < 8:
        return
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        high, low = head[place::2], head[1 - place :: 2]
        if high.count(0) > len(high) * 0.4 and low.count(0) < len(low) * 0.1:
            raise InvalidDataset(
                f"{path.name} looks like {name.upper()} without a byte order mark: give --encoding {name}"
            )


def _decoded(head: bytes, encoding: str, path: Path) -> str:
    try:
        return str(codecs.getincrementaldecoder(encoding)(decoding_errors(encoding)).decode(head))
    except (UnicodeError, LookupError):
        if any(head.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS):
            raise InvalidDataset(f"{path.name} is damaged {encoding.upper()}: save it as UTF-8") from None
        raise InvalidDataset(f"{path.name} is not {encoding}: {encoding_advice(head)}") from None


def _text_kind(head: str, is_complete: bool, path: Path) -> Kind:
    """CSV, JSON lines, or JSON (one document, or several in a row)."""
    name, start = suffix(path), head.lstrip("\ufeff \t\r\n")
    if name in PARQUET_SUFFIXES:
        raise InvalidDataset(
            f"cannot read {path} as Parquet: it is text ({_first_line(head)!r}); give it the name of what it is, such "
            "as .csv"
        )
    lines = start.split("\n")
    if start[:1] not in "[{":
        return "jsonl" if name in JSONL_SUFFIXES and any(map(_is_object, lines[:100])) else "csv"
    first, has_first = lines[0], is_complete or len(lines) > 1
    if has_first and _is_json(first):
        has_more = not is_complete or any(line.strip() for line in lines[1:])
        return "jsonl" if has_more or (first[0] == "{" and name not in JSON_SUFFIXES) else "json"
    if not has_first:
        return "jsonl" if first[0] == "{" and name in JSONL_SUFFIXES else "json"
    if start[1:].lstrip()[:1] not in ('"}' if start[0] == "{" else '{["]-0123456789tfn'):
        return "jsonl" if name in JSONL_SUFFIXES + JSON_SUFFIXES else "csv"
    if start[0] == "{" and any(map(_is_object, lines[1:100])):
        return "jsonl"  # its first line is damaged
    return "json"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:40]


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{") and _is_json(line)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
