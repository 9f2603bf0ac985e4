"""What a file holds, by its first bytes. A name may be wrong; bytes are not."""

from __future__ import annotations

import codecs
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from prompts.errors import InvalidDataset
from tabular.dialect import NONE, TableDialect, layout_of, suggestion

Kind = Literal["empty", "separated", "jsonl", "json", "parquet"]

HEAD = 1 << 16
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
LINES, JSON = (".jsonl", ".ndjson"), (".json",)
SEPARATED = (".csv", ".tsv")
PARQUETS = (".parquet", ".pq")
# What counts as a table in a folder, where a .json file is more often about the tables than one of them.
FOLDER_SUFFIXES = (*SEPARATED, *LINES, *PARQUETS)

# First bytes, what they are, and what to do about it.
_OTHERS: Sequence[tuple[bytes, str, str]] = (
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
    (b"\x80\x02", "a Python pickle", "save the table as Parquet"),
    (b"\x80\x03", "a Python pickle", "save the table as Parquet"),
    (b"\x80\x04", "a Python pickle", "save the table as Parquet"),
    (b"\x80\x05", "a Python pickle", "save the table as Parquet"),
)
_PAGES = ("<!doctype html", "<html", "<head", "<body", "<meta", "<script", "<title")
_MARKUP = re.compile(r"<[a-z!?]")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13, 27})


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        kind: how it is read.
        gzipped: whether it is packed.
        encoding: of a text.
        head: first characters of a text; bytes that do not fit the encoding are lone surrogates.
        whole: whether the head is all of it.
    """

    kind: Kind
    gzipped: bool = False
    encoding: str = "utf-8-sig"
    head: str = ""
    whole: bool = True


def suffix(path: Path) -> str:
    """The last suffix but ``.gz``, in lower case: ``.csv`` for ``A.CSV.gz``."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return bare.suffix.lower()


def content_of(path: Path, dialect: TableDialect = TableDialect()) -> Content:
    """What a file holds.

    Raises:
        InvalidDataset: no such file, or one that is no table; the message says what it is and what to do.
    """
    raw = _first_bytes(path)
    gzipped = raw.startswith(GZIP)
    head = _unpacked(raw, path) if gzipped else raw
    if gzipped:
        _check_unpacked(head, path)
    if head.startswith(PARQUET):
        return Content("parquet")
    _check_table(head, path)
    encoding = _encoding(head, path, dialect)
    whole = len(head) < HEAD if not gzipped else len(head) < HEAD and len(raw) < HEAD
    text = _decoded(head, encoding, path)
    if not text.strip():
        return Content("empty" if whole else "separated", gzipped, encoding, text, whole)
    return Content(_text_kind(text, whole, path), gzipped, encoding, text, whole)


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise InvalidDataset(f"{path} is a folder; give a file")
    if str(path) == "-" or path.is_fifo() or path.is_char_device():  # would be empty, or block, the second time
        raise InvalidDataset(f"{path} is a pipe, and a table is read more than once; save it as a file and give that")
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        raise InvalidDataset(f"cannot read {path}: No such file or directory{_close_to(path)}") from None
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _close_to(path: Path) -> str:
    with suppress(OSError):
        close = get_close_matches(path.name, [one.name for one in path.parent.iterdir()], n=1)
        return f"; did you mean {close[0]!r}?" if close else ""
    return ""


def _unpacked(raw: bytes, path: Path) -> bytes:
    """The first bytes of all members; some writers begin with an empty one."""
    found, rest = b"", raw
    try:
        while rest.startswith(GZIP) and len(found) < HEAD:
            member = zlib.decompressobj(31)
            found += member.decompress(rest, HEAD - len(found))
            rest = member.unused_data
    except zlib.error:
        raise InvalidDataset(f"cannot read {path}: the gzip data is damaged; fetch the file again") from None
    if not found and not member.eof:
        raise InvalidDataset(f"cannot read {path}: the gzip data ends too early; fetch the file again")
    return found


def _check_unpacked(head: bytes, path: Path) -> None:
    """What one gunzip does not make a table of."""
    if head.startswith(GZIP):
        raise InvalidDataset(f"{path.name} is gzip inside gzip: unpack it once: gunzip {path.name}")
    if head.startswith(PARQUET):
        raise InvalidDataset(f"{path.name} is a gzipped Parquet file, which packs by itself: gunzip {path.name}")


def _check_table(head: bytes, path: Path) -> None:
    name = path.name
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        raise InvalidDataset(f"{name} is {_zip_kind(path)}")
    if head[257:262] == b"ustar":
        raise InvalidDataset(f"{name} is a tar archive: unpack it first: tar -xf {name}")
    if found := next((one for one in _OTHERS if head.startswith(one[0])), None):
        raise InvalidDataset(f"{name} is {found[1]}, not a table: {found[2].format(name=name)}")
    start = head[:200].removeprefix(codecs.BOM_UTF8).lstrip().lower().decode("latin-1")
    if start.startswith(_PAGES):
        raise InvalidDataset(f"{name} is a web page (HTML), not a table: download the file itself, not its page")
    if _MARKUP.match(start):
        raise InvalidDataset(f"{name} is XML or HTML, not a table: convert it to CSV or JSON lines")


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [one for one in archive.namelist() if not one.endswith("/")]
    except (zipfile.BadZipFile, OSError):
        return "a damaged ZIP archive: fetch the file again"
    if any(one.startswith("xl/") for one in names):
        return "an Excel workbook: save it as CSV UTF-8"
    if any(one.startswith("word/") for one in names):
        return "a Word document: save its table as CSV"
    if "mimetype" in names and "content.xml" in names:
        return "an OpenDocument file: save it as CSV"
    more = f" of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""
    return f"a ZIP archive{more}: unpack it first: unzip {path.name}"


# --- encoding ---


def _encoding(head: bytes, path: Path, dialect: TableDialect) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if dialect.encoding:
        return dialect.encoding
    _check_no_utf16(head, path)
    if sum(head.count(byte) for byte in _CONTROLS) > max(4, len(head) / 20):
        raise InvalidDataset(f"{path.name} holds binary data, not a table; give CSV, TSV, JSON lines or Parquet")
    return "utf-8-sig"


def _check_no_utf16(head: bytes, path: Path) -> None:
    """UTF-16 without a mark has a zero byte in every letter of English."""
    few = len(head) < 8
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        here, there = head[place::2], head[1 - place :: 2]
        if not few and here.count(0) > len(here) * 0.4 and there.count(0) < len(there) * 0.1:
            raise InvalidDataset(
                f"{path.name} looks like {name.upper()} without a byte order mark: give --encoding {name}"
            )


def _decoded(head: bytes, encoding: str, path: Path) -> str:
    try:
        errors = "surrogateescape" if encoding.replace("_", "-").startswith("utf-8") else "strict"
        return str(codecs.getincrementaldecoder(encoding)(errors).decode(head))
    except (UnicodeError, LookupError):
        if any(head.startswith(mark) for mark, _ in _MARKS):
            raise InvalidDataset(f"{path.name} is damaged {encoding.upper()}: save it as UTF-8") from None
        raise InvalidDataset(f"{path.name} is not {encoding}: {suggestion(head)}") from None


# --- kinds of text ---


def _text_kind(head: str, whole: bool, path: Path) -> Kind:
    named = suffix(path)
    if named in PARQUETS:
        first = head.lstrip().splitlines()[0][:40]
        raise InvalidDataset(
            f"cannot read {path} as Parquet: it is text ({first!r}); give it the name of what it is, such as .csv"
        )
    found = _json_kind(head.lstrip("\ufeff \t\r\n"), whole, named)
    if found is None and named in LINES + JSON and layout_of(head, whole, None).separator == NONE:
        raise InvalidDataset(f"cannot read {path}: not JSON: it begins with {head.strip().splitlines()[0][:40]!r}")
    return found or "separated"


def _json_kind(start: str, whole: bool, named: str) -> Kind | None:
    """JSON lines, or one JSON document (also several after each other); None where it is neither."""
    lines = start.split("\n")
    if start[:1] not in "[{":
        return "jsonl" if named in LINES and any(_is_object(line) for line in lines[:100]) else None
    first, complete = lines[0], whole or len(lines) > 1
    if complete and _is_json(first):
        more = not whole or any(line.strip() for line in lines[1:])
        return "jsonl" if more or (first[0] == "{" and named not in JSON) else "json"
    if not complete:
        return "jsonl" if first[0] == "{" and named in LINES else "json"
    if start[1:].lstrip()[:1] not in ('"}' if start[0] == "{" else '{["]-0123456789tfn'):
        return "jsonl" if named in LINES + JSON else None
    if start[0] == "{" and any(_is_object(line) for line in lines[1:100]):
        return "jsonl"  # its first line is damaged
    return "json"


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{") and _is_json(line)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
