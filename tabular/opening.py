"""A file's bytes, unpacked where they are gzipped; what goes wrong while reading is one line with the file's name."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from prompts.errors import InvalidDataset
from tabular.content import Content
from tabular.position import Position


@contextmanager
def opened_text(
    path: Path, content: Content, newline: str, position: Position | None, where: Callable[[], str]
) -> Iterator[TextIO]:
    """The file as text.

    Args:
        path: the file.
        content: what it holds. Bytes that are not UTF-8 become lone surrogates; in other encodings they are an error.
        newline: as ``open`` takes it.
        position: is kept up to date.
        where: says after which line the reading stopped.

    Raises:
        InvalidDataset: reading fails at any time.
    """
    with told(path, where), path.open("rb") as raw:
        if position is not None:
            position.tell = raw.tell
        data = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if content.gzipped else raw
        errors = "surrogateescape" if content.encoding.replace("_", "-").startswith("utf-8") else "strict"
        with io.TextIOWrapper(data, content.encoding, errors, newline) as text:
            yield text


@contextmanager
def told(path: Path, where: Callable[[], str]) -> Iterator[None]:
    """Errors of reading as one line that names the file and where the reading stopped.

    Raises:
        InvalidDataset: in place of any of them.
    """
    try:
        yield
    except EOFError:
        raise InvalidDataset(
            f"cannot read {path}{where()}: the gzip data ends too early; fetch the file again"
        ) from None
    except (zlib.error, gzip.BadGzipFile):
        raise InvalidDataset(f"cannot read {path}{where()}: the gzip data is damaged; fetch the file again") from None
    except UnicodeError as error:
        name = getattr(error, "encoding", "its encoding")
        raise InvalidDataset(f"cannot read {path}{where()}: what follows is not {name}") from None
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}{where()}: {error.strerror or error}") from None


def after_line(number: int) -> str:
    """Where the reading of lines stopped."""
    return f" after line {number:,}" if number else ""
