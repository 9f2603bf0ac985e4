"""The Large Movie Review Dataset (Maas et al., 2011, ACL) in its own layout, as a folder or as its tarball.

https://ai.stanford.edu/~amaas/data/sentiment/
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from eval.datasets.fields import Fields
from eval.datasets.grouping import normal
from eval.datasets.record import Record, Records
from prompts.errors import InvalidDataset
from prompts.text import Text

_SIDES = ("train", "test")
_LABELS = {"pos": "positive", "neg": "negative"}
_BREAK = re.compile(r"(?:\s*<br\s*/?>)+\s*", re.IGNORECASE)


def fits(path: Path) -> bool:
    """Whether it is a folder with ``train`` and ``test`` of ``pos`` and ``neg``, or a tarball."""
    if path.is_dir():
        return _root(path) is not None
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar")) and path.is_file()


def read(path: Path, fields: Fields) -> Records:
    """Reviews with the labels ``positive`` and ``negative``; ids are ``train/pos/0_9``; line breaks are spaces.

    A training review whose text also stands in the test half (123 texts of the published set do) is left out.

    Raises:
        InvalidDataset: no such layout, or a file that is not UTF-8.
    """
    if any((fields.text, fields.labels, fields.id, fields.title)):
        raise InvalidDataset(f"{path.name} has no columns to choose from: it is one file a review")
    reviews = [_review(path, name, data) for name, data in (_folder(path) if path.is_dir() else _tarball(path))]
    if not reviews:
        raise InvalidDataset(f"{path.name} holds no reviews; they stand in train/pos, train/neg, test/pos and test/neg")
    reported = {normal(review.text.body) for review in reviews if review.split == "test"}
    kept = tuple(row for row in reviews if row.split == "test" or normal(row.text.body) not in reported)
    return Records(kept, Counter({"of train whose text stands in test too": len(reviews) - len(kept)}))


def _review(path: Path, name: str, data: bytes) -> Record:
    side, half, _ = name.split("/")
    try:
        body = _BREAK.sub(" ", data.decode("utf-8")).strip()
    except UnicodeDecodeError:
        raise InvalidDataset(f"{path.name}, {name}.txt: not UTF-8") from None
    return Record(f"{path.name}, {name}.txt", name, Text(body), (_LABELS[half],), split=side)


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    root = _root(path) or path
    for side in _SIDES:
        for half in _LABELS:
            for file in sorted((root / side / half).glob("*.txt")):
                yield f"{side}/{half}/{file.stem}", file.read_bytes()


def _root(path: Path) -> Path | None:
    """The folder that holds the halves: the one given, or its ``aclImdb``."""
    layout = [Path(side) / half for side in _SIDES for half in _LABELS]
    return next((root for root in (path, path / "aclImdb") if all((root / part).is_dir() for part in layout)), None)


def _tarball(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts[-3:]
                if _is_review(member, parts) and (file := archive.extractfile(member)):
                    yield "/".join(parts).removesuffix(".txt"), file.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError):
        raise InvalidDataset(f"cannot read {path.name}: the archive is damaged or cut off; fetch it again") from None
    except OSError as error:
        why = error.strerror or "the archive is damaged; fetch it again"
        raise InvalidDataset(f"cannot read {path.name}: {why}") from None


def _is_review(member: tarfile.TarInfo, parts: tuple[str, ...]) -> bool:
    if len(parts) != 3 or not member.isfile() or not parts[2].endswith(".txt"):
        return False
    return parts[0] in _SIDES and parts[1] in _LABELS
