"""The words of a command line, whatever the locale that Python decodes them by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.types import StringParamType


class Utf8Words(StringParamType):
    """Text of the command line.

    In a locale without UTF-8, Python holds the bytes of other letters as lone surrogates. They are decoded as UTF-8
    where they are UTF-8. Names of existing files stay, since the file system is asked by the bytes.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The words."""
        words = super().convert(value, param, ctx)
        return words if words.isascii() or _is_file(words) else decoded(words)


def decoded(words: str) -> str:
    """The words as UTF-8, unless they are none: ``Text`` replaces such bytes, and other uses report them."""
    try:
        return os.fsencode(words).decode("utf-8")
    except UnicodeError:
        return words


def take_utf8(command: click.Command) -> None:
    """Let all arguments and options of a command, and of its subcommands, that take text take UTF-8."""
    for parameter in command.params:
        if isinstance(parameter.type, StringParamType):
            parameter.type = Utf8Words()
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        take_utf8(one)


def _is_file(words: str) -> bool:
    try:
        return Path(words).exists()
    except (OSError, ValueError):
        return False
