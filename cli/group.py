"""The command group of `main.py`: its sections of help, and every expected error as one line."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, cast

import click

from cli.arguments import adjust_parameters
from prompts.errors import MarqueeError
from prompts.installation import missing_extra
from similarity.errors import SimilarityError

_REMEDIES: Mapping[int | None, str] = {
    errno.ENOENT: "check the path",
    errno.EACCES: "give a path that this user may use",
    errno.EPERM: "give a path that this user may use",
    errno.EROFS: "give a path on a file system that can be written",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "a part of the path is a file; give another path",
    errno.EEXIST: "a file has this name; give another path",
    errno.ENOSPC: "free some space, or give another path",
    errno.EDQUOT: "free some space, or give another path",
    errno.ENAMETOOLONG: "give a shorter path",
}


class SectionedGroup(click.Group):
    """A command group that lists its commands under headings.

    Attributes:
        sections: the commands of each heading, in order.
    """

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.sections: dict[str, Sequence[click.Command]] = {}

    def add_section(self, heading: str, *commands: click.Command) -> None:
        """Add the commands of one heading."""
        self.sections[heading] = commands
        for command in commands:
            adjust_parameters(command)
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of help, for completion."""
        return [command.name or "" for commands in self.sections.values() for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings; the descriptions of all headings begin in one column."""
        width = max(map(len, self.commands))
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                rows = [((command.name or "").ljust(width), command.short_help or "") for command in commands]
                formatter.write_dl(rows)


class CommandGroup(SectionedGroup):
    """The program: a command group that reports expected errors in one line."""

    def main(self, *arguments: Any, **fields: Any) -> Any:
        r"""Run the program; a console that cannot show a character gets it as ``\uXXXX``, which JSON readers take."""
        _open_closed_streams()
        sys.modules.setdefault("openvino.tools.ovc", cast(ModuleType, None))  # converters: 0.1 s that no command uses
        codecs.register_error("uescape", _escaped)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
                stream.reconfigure(errors="uescape")
        return super().main(*arguments, **fields)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except ModuleNotFoundError as error:
            command = ctx.invoked_subcommand or ""
            _print_traceback()
            remedy = missing_extra(error, f"`{ctx.command_path} {command}`", command)
            raise click.ClickException(str(remedy)) from error
        except (BrokenPipeError, click.ClickException, click.exceptions.Exit):  # click prints a message or exits
            raise
        except _expected() as error:
            if isinstance(error, OSError):
                _discard_output()
            _print_traceback()
            raise click.ClickException(_in_one_line(error)) from error


def examples(*lines: str) -> str:
    """The epilog of a command: a heading and command lines, which click does not wrap."""
    return "\b\nExamples:\n" + "\n".join(f"  main.py {line}" for line in lines)


def _open_closed_streams() -> None:
    """Replace a stream that the caller closed (``>&-``); else the next opened file would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  (open to the end)


def _print_traceback() -> None:
    """Print the traceback of the error that is handled, where the setting ``debug`` is on."""
    if _is_debugging():
        import traceback

        traceback.print_exc()


def _is_debugging() -> bool:
    """The setting ``debug``; from the environment alone where the settings are wrong."""
    from marquee.settings import read_settings

    try:
        return read_settings().debug
    except MarqueeError:
        return bool(os.environ.get("MARQUEE_DEBUG"))


def _expected() -> tuple[type[Exception], ...]:
    """The errors that are reported in one line; evaluated when an error occurs, because ``sqlite3`` loads slowly."""
    import sqlite3

    return (MarqueeError, SimilarityError, OSError, UnicodeError, sqlite3.Error)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return line_of(error)
    if isinstance(error, UnicodeError):
        return f"{_not_utf8(error)}; give it, or save its file, as UTF-8"
    if isinstance(error, MarqueeError | SimilarityError):
        return str(error)
    return f"a database file cannot be used: {error}"


def _not_utf8(error: UnicodeError) -> str:
    """The bytes around the error, if the error has them."""
    if not isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        return "there is text that is not UTF-8"
    raw = error.object[max(0, error.start - 20) : error.end + 20]
    quoted = os.fsencode(raw) if isinstance(raw, str) and error.encoding == "utf-8" else raw
    return f"{str(quoted).removeprefix('b')} is not UTF-8"


def line_of(error: OSError) -> str:
    """The file, the reason of the operating system, and what to do."""
    why = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno)
    what = f"cannot use {os.fsdecode(error.filename)}: {why}" if isinstance(error.filename, str | bytes) else why
    return f"{what}; {remedy}" if remedy else what


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2)), error.end


def _discard_output() -> None:
    """Redirect standard output that cannot be written, so that Python does not fail again at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
