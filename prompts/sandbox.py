"""The Jinja environment of prompts: a template reads its variables and the shared parts, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.meta import find_referenced_templates
from jinja2.sandbox import ImmutableSandboxedEnvironment


def environment(parts: Path, finalize: Callable[[object], object]) -> ImmutableSandboxedEnvironment:
    """The environment; templates may include the files of ``parts``, and ``finalize`` changes every printed value."""
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(parts),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )


def included(source: str) -> list[str]:
    """Names of the parts that a template includes by name, in order of the names.

    Raises:
        TemplateSyntaxError: the template does not parse.
    """
    tree = ImmutableSandboxedEnvironment().parse(source)
    return sorted(set(filter(None, find_referenced_templates(tree))))
