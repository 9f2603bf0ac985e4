"""What the environment and ``.env`` set: read, checked and trimmed, before any of it is used."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from prompts.errors import InvalidSetting
from prompts.files import read_text
from prompts.network import trimmed

PREFIX = "MARQUEE_"
_OF_TESTS = f"{PREFIX}TEST_"  # settings of the test suite, such as the folder of real models
_ENV_FILE = Path(".env")
# Kubernetes gives each container variables for every Service; those of a Service "marquee" begin like a setting.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_KUBERNETES = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def given(known: Iterable[str], kept_quotes: Iterable[str] = ()) -> Mapping[str, str]:
    """What is set, by the names of environment variables; the environment goes before ``.env`` (``env_file``).

    In ``.env``, ``${NAME}`` is the value of another variable. A path may begin with ``~/``. Spaces, line ends,
    invisible characters and a pair of quotes around a value are removed. Empty values are left out.

    Args:
        known: the names of all settings.
        kept_quotes: those whose quotes belong to the value.

    Raises:
        InvalidSetting: an unknown name, a control character inside a value, or a ``.env`` that cannot be read.
    """
    known, kept_quotes = set(known), set(kept_quotes)
    found = {}
    for name, value in {**_of_file(env_file()), **os.environ}.items():
        if name.upper() in known and not _is_of_kubernetes(name, value):
            found[name.upper()] = value.strip() if name.upper() in kept_quotes else trimmed(value)
        elif name.startswith(PREFIX) and not (name.startswith(_OF_TESTS) or _is_of_kubernetes(name, value)):
            raise InvalidSetting(_unknown(name, known))
    for name, value in found.items():
        if _CONTROL.search(value):
            raise InvalidSetting(f"{name}: a line end or another control character is inside the value; remove it")
    return {name: _with_home(value) for name, value in found.items() if value}


def env_file() -> Path | None:
    """The nearest ``.env`` of the working directory and the folders above it; None if there is none.

    Above the working directory, files of other users are skipped: ``/tmp/.env`` could send a key to a foreign endpoint.
    """
    if _is_file(_ENV_FILE):
        return _ENV_FILE
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return None
    owners = {os.geteuid(), here.stat().st_uid}
    above = (folder / _ENV_FILE for folder in here.parents)
    return next((path for path in above if _is_file(path) and path.lstat().st_uid in owners), None)


def _is_file(path: Path) -> bool:
    """Whether there is a file, a pipe, or a link that leads nowhere; a folder is an environment of Python's."""
    try:
        return not path.is_dir() and (path.exists() or path.is_symlink())
    except OSError:
        return True  # reading it raises the error


def _with_home(value: str) -> str:
    """A path that begins with ``~/``, as a shell would have passed it on."""
    if value.startswith("~/"):
        with suppress(RuntimeError):  # no home is known
            return str(Path(value).expanduser())
    return value


def _is_of_kubernetes(name: str, value: str) -> bool:
    return bool(_OF_KUBERNETES.fullmatch(name)) or (name.endswith("_PORT") and bool(_ADDRESS.match(value)))


def _unknown(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
    return f"{name} is no setting; {hint}"


def _of_file(path: Path | None) -> Mapping[str, str]:
    if path is None:
        return {}
    from dotenv.main import resolve_variables
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(read_text(path, InvalidSetting))):
        line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
        if binding.error or (binding.key and binding.value is None):
            raise InvalidSetting(f"{path}:{line} cannot be read; write NAME=value, with quotes around spaces")
        if binding.key and binding.value is not None:
            if found.get(binding.key, binding.value) != binding.value:
                first = lines[binding.key]
                raise InvalidSetting(f"{path}:{line} sets {binding.key} again, first in line {first}; keep one")
            found[binding.key], lines[binding.key] = binding.value, line
    resolved = resolve_variables(found.items(), override=False)
    return {name: value or "" for name, value in resolved.items()}
