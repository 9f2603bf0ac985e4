"""Parameter types, shared options and progress output of the commands."""

from __future__ import annotations

import functools
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.types import FloatParamType, IntParamType, StringParamType

if TYPE_CHECKING:
    from marquee.settings import Settings

PATH = click.Path(path_type=Path)
Function = TypeVar("Function", bound=Callable[..., Any])
Item = TypeVar("Item")
_PROGRESS_SECONDS = 10.0


class Utf8Text(StringParamType):
    """Text of the command line, decoded as UTF-8 in every locale.

    In a locale without UTF-8, Python decodes other bytes to lone surrogates. The name of an existing file stays as it
    is, because the file system needs the original bytes.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text."""
        text = super().convert(value, param, ctx)
        return text if text.isascii() or _is_file(text) else _decoded(text)


class OutputPath(click.Path):
    """A file or a folder to write, checked before the command does any work.

    Args:
        folder: whether it is a folder.
    """

    def __init__(self, folder: bool = False) -> None:
        super().__init__(path_type=Path)
        self.folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path.

        Raises:
            OSError: nothing can be written there.
        """
        from prompts.files import check_output

        return check_output(Path(os.fsdecode(super().convert(value, param, ctx))), self.folder)


def refuse_input(out: Path | None, *inputs: Path | None) -> None:
    """Refuse an output that would replace an input.

    Raises:
        UsageError: the output is one of the inputs.
    """
    if out is not None and any(path is not None and path.resolve() == out.resolve() for path in inputs):
        raise click.UsageError(f"--out {out} would replace the input; give another path")


def adjust_parameters(command: click.Command) -> None:
    """Decode all text parameters of a command and of its subcommands as UTF-8; in help, N is a number."""
    for parameter in command.params:
        if type(parameter.type) is StringParamType:
            parameter.type = Utf8Text()
        elif isinstance(parameter.type, IntParamType | FloatParamType):
            parameter.metavar = "N"
    for subcommand in command.commands.values() if isinstance(command, click.Group) else ():
        adjust_parameters(subcommand)


def decorated(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """One decorator of several options; help lists them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def collected(
    kind: type, name: str, *options: Callable[[Function], Function]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add options to a command, which receives their values as one dataclass.

    Args:
        kind: the dataclass; its fields are the names of the parameters.
        name: the command's parameter for it.
        options: the decorators of the options.
    """
    names = {field.name for field in fields(kind)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            own = {key: values.pop(key) for key in names & values.keys()}
            return function(**values, **{name: kind(**own)})

        added: Callable[..., Any] = decorated(*options)(command)  # type: ignore[arg-type]
        return added

    return decorate


dialect_options = decorated(
    click.option("--encoding", help="Of text files, such as cp1252.  [default: UTF-8, or by the byte order mark]"),
    click.option("--separator", help="A character, or comma, semicolon, tab, pipe.  [default: by the first line]"),
)


@dataclass(frozen=True)
class EndpointOptions:
    """The options that replace the settings of the endpoint; None takes the setting."""

    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None

    def settings(self, **overrides: Any) -> Settings:
        """The settings with these options and ``overrides`` in place of their own.

        Raises:
            UsageError: a model for which no endpoint is set, or no variable has the key.
            InvalidSetting: a setting that cannot work.
        """
        from marquee.settings import read_settings

        settings = read_settings(**overrides, **self.overrides())
        if self.model and not settings.uses_language_model:
            raise click.UsageError("--model names a model at an endpoint; give --base-url, or set OPENAI_BASE_URL")
        return settings

    def overrides(self) -> dict[str, Any]:
        """The settings that the given options replace; the key of the settings is not sent to another endpoint."""
        other = "" if self.base_url else None
        key = other if self.api_key_env is None else _key_in(self.api_key_env)
        named: dict[str, Any] = {"model": self.model, "openai_base_url": self.base_url, "openai_api_key": key}
        if self.base_url or key:
            named |= {"classifier": "openai", "local_model": "", "adapter": ""}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def given(self) -> str:
        """The options that are given, for messages; empty if none is."""
        return ", ".join(f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None)


def _key_in(variable: str) -> str:
    """The API key in an environment variable; a message never repeats the argument, which may be a key by mistake."""
    if key := os.environ.get(variable, "").strip():
        return key
    raise click.UsageError(
        "--api-key-env: there is no such environment variable; give the name of the variable that has the key, "
        "not the key itself"
    )


endpoint_options = collected(
    EndpointOptions,
    "endpoint",
    click.option("--model", help="Model at the endpoint.  [default: MARQUEE_MODEL]"),
    click.option("--base-url", help="Endpoint of a language model, such as http://127.0.0.1:8000/v1."),
    click.option(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the API key; --base-url alone sends none.",
    ),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON.")


def model_settings(**overrides: float) -> Settings:
    """The settings of a command that needs a language model.

    Raises:
        ClickException: no endpoint is set.
    """
    from marquee.settings import read_settings

    settings = read_settings(**overrides)
    if not settings.uses_language_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    return settings


def command_line() -> str:
    """The command line of this process, without logins in URLs."""
    from prompts.network import without_login

    return without_login(shlex.join(["main.py", *sys.argv[1:]]))


def say(line: str) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)


def print_json(value: Any) -> None:
    """Print a result as one line of JSON; a number that is not finite is null, and a path is a string."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns under a header; numbers are right-aligned."""
    lines = [header, *rows]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*lines, strict=True)]
    signs = [">" if isinstance(cell, int) and not isinstance(cell, bool) else "<" for cell in lines[-1]]
    for line in lines:
        cells = (f"{cell!s:{sign}{width}}" for cell, sign, width in zip(line, signs, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


class ProgressLine:
    """Prints the progress of a long task on standard error: every 10 seconds, and at the end.

    Args:
        label: the start of the line.
        total: number of items; None: unknown.
        unit: what is counted, in the plural.
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "texts") -> None:
        self.label, self.total, self.unit = label, total, unit
        self._restart()

    def _restart(self) -> None:
        self._done, self._start, self._printed_at = 0, time.monotonic(), float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Set the number of finished items and of all items; a smaller number than before starts a new task."""
        if done < self._done:
            self._restart()
        self.total = total
        self.reach(done)

    def advance(self, count: int) -> None:
        """Count more finished items."""
        self.reach(self._done + count)

    def reach(self, done: int, note: str = "") -> None:
        """Set the number of finished items, with a note for the end of the line."""
        self._done, now = done, time.monotonic()
        if now - self._printed_at >= _PROGRESS_SECONDS or done == self.total:
            self._printed_at = now
            of_total = "" if self.total is None else f" of {self.total:,}"
            rate = done / max(1e-9, now - self._start)
            say(f"{self.label} {done:,}{of_total} {self.unit}, {rate:,.1f} {self.unit}/s{note}".lstrip())


def tracked(items: Collection[Item], label: str) -> Iterator[Item]:
    """Yield the items and print the progress; the label says in the plural what they are."""
    progress = ProgressLine("", len(items), label)
    for item in items:
        yield item
        progress.advance(1)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _decoded(text: str) -> str:
    """The text as UTF-8; unchanged where it is not UTF-8, which the use of the text reports."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        return text


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
