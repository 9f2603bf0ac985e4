"""The Large Movie Review Dataset (Maas et al., 2011, ACL) as a folder or tarball in its original layout.

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

from eval.datasets.grouping import normal
from eval.datasets.record import Fields, Record, Records
from prompts.errors import InvalidDataset
from prompts.text import Text

_LABELS = {"pos": "positive", "neg": "negative"}
_PARTS = [f"{split}/{polarity}" for split in ("train", "test") for polarity in _LABELS]
_BREAK = re.compile(r"(?:\s*<br\s*/?>)+\s*", re.IGNORECASE)


def fits(path: Path) -> bool:
    """Whether it is a folder with ``pos`` and ``neg`` in ``train`` and ``test``, or a tarball."""
    if path.is_dir():
        return _root(path) is not None
    return path.name.lower().endswith((".tar.gz", ".tgz", ".tar")) and path.is_file()


def read(path: Path, fields: Fields) -> Records:
    """Reviews with the labels ``positive`` and ``negative``; ids are ``train/pos/0_9``; line breaks are spaces.

    A training review whose text is also in the test split (123 texts of the published set) is skipped.

    Raises:
        InvalidDataset: no such layout, or a file that is not UTF-8.
    """
    if any((fields.text, fields.labels, fields.id, fields.title)):
        raise InvalidDataset(f"{path.name} has no columns to choose from: each review is a file")
    reviews = [_review(path, name, data) for name, data in (_folder(path) if path.is_dir() else _tarball(path))]
    if not reviews:
        raise InvalidDataset(f"{path.name} has no reviews; expected folders: {', '.join(_PARTS)}")
    test_texts = {normal(review.text.body) for review in reviews if review.split == "test"}
    kept = tuple(row for row in reviews if row.split == "test" or normal(row.text.body) not in test_texts)
    return Records(kept, Counter({"of train with a text of test": len(reviews) - len(kept)}))


def _review(path: Path, name: str, data: bytes) -> Record:
    split, polarity, _ = name.split("/")
    try:
        body = _BREAK.sub(" ", data.decode("utf-8")).strip()
    except UnicodeDecodeError:
        raise InvalidDataset(f"{path.name}, {name}.txt: not UTF-8") from None
    return Record(f"{path.name}, {name}.txt", name, Text(body), (_LABELS[polarity],), split=split)


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    root = _root(path) or path
    for part in _PARTS:
        for file in sorted((root / part).glob("*.txt")):
            yield f"{part}/{file.stem}", file.read_bytes()


def _root(path: Path) -> Path | None:
    """The folder of the splits: the path itself, or its ``aclImdb``."""
    return next((root for root in (path, path / "aclImdb") if all((root / part).is_dir() for part in _PARTS)), None)


def _tarball(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                is_review = member.isfile() and name.suffix == ".txt" and "/".join(name.parts[-3:-1]) in _PARTS
                if is_review and (file := archive.extractfile(member)):
                    yield "/".join(name.parts[-3:]).removesuffix(".txt"), file.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError):
        raise InvalidDataset(
            f"cannot read {path.name}: the archive is damaged or incomplete; download it again"
        ) from None
    except OSError as error:
        reason = error.strerror or "the archive is damaged; download it again"
        raise InvalidDataset(f"cannot read {path.name}: {reason}") from None
