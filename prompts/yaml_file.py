"""YAML files that a person writes: names stay as written, repeated keys are errors, and errors name the line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from prompts.errors import MarqueeError
from prompts.files import read_text

_TEXTS = frozenset({"name", "description", "subject"})
_TEXT_LISTS = frozenset({"labels", "aliases"})
_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"


class _Repeated(yaml.MarkedYAMLError):
    """A key that a mapping has twice."""


class _Loader(yaml.SafeLoader):
    """YAML reads ``no`` as false and ``1.0`` as a number; as a label's name they are the words that are written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See ``yaml.SafeLoader``."""
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines and key.value != "<<":
                words = f"the key {key.value!r} is given twice, first in line {lines[key.value]}; keep one"
                raise _Repeated(problem=words, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
            _keep_words(key.value, value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def read_yaml(path: Path, kind: type[MarqueeError]) -> Any:
    """The document of a file.

    Args:
        path: the file, in UTF-8.
        kind: the error to raise.

    Raises:
        MarqueeError: it cannot be read, is not YAML, or gives a key twice; one line with file and line.
    """
    try:
        return yaml.load(read_text(path, kind), _Loader)
    except _Repeated as error:
        raise kind(f"{_place(path, error)}: {error.problem}") from None
    except yaml.MarkedYAMLError as error:
        why = error.problem or "it cannot be parsed"
        raise kind(f"{_place(path, error)} is not YAML ({why}); check indentation, brackets and quotes") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = getattr(error, "reason", "") or "a value that cannot be read"
        raise kind(f"{path.name} is not YAML ({why}); check the file") from None


def _keep_words(key: str, value: yaml.Node) -> None:
    """Mark what is a name or a text as text, whatever it looks like."""
    words = [value] if key in _TEXTS else value.value if key in _TEXT_LISTS else []
    for word in words if isinstance(words, list) else []:
        if isinstance(word, yaml.ScalarNode) and word.tag != _NULL:
            word.tag = _TEXT


def _place(path: Path, error: yaml.MarkedYAMLError) -> str:
    return f"{path.name}:{error.problem_mark.line + 1}" if error.problem_mark else path.name
