"""The files of this repository that a call enters: how many a reader opens to follow it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

from prompts.text import Text
from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).parents[2]


@contextmanager
def entered_files(receiving: str | None = None) -> Iterator[list[str]]:
    """Files in which a function is called, in the order of their first call; complete after the block.

    Threads that start inside the block count. Imports do not.

    Args:
        receiving: count only functions that receive this text: as a string, a ``Text``, or in a list.
    """
    files: dict[str, None] = {}

    def note(frame: FrameType, event: str, arg: object) -> None:
        file = _own_file(frame.f_code.co_filename) if event == "call" else None
        if file and not _is_import(frame) and (receiving is None or _receives(frame, receiving)):
            files.setdefault(file)

    entered: list[str] = []
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        entered += files


def check_at_most(files: list[str], number: int) -> None:
    """Fail with the list of files if there are more."""
    listed = "\n".join(f"{place:2}. {file}" for place, file in enumerate(files, 1))
    assert len(files) <= number, f"{len(files)} files; at most {number}:\n{listed}"


@cache
def _own_file(name: str) -> str | None:
    path = Path(name)
    own = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in MAY_IMPORT
    return str(path.relative_to(ROOT)) if own else None


def _is_import(frame: FrameType | None) -> bool:
    """Whether the call is part of the body of a module that is being imported."""
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return frame.f_back is not None and "importlib" in frame.f_back.f_code.co_filename
        frame = frame.f_back
    return False


def _receives(frame: FrameType, text: str) -> bool:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return any(_has(frame.f_locals.get(name), text) for name in names)


def _has(value: object, text: str) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(item, str | Text) and _has(item, text) for item in value)
    body = value.body if isinstance(value, Text) else value
    return isinstance(body, str) and text in body
