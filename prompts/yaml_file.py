"""YAML files that a person writes: names stay the words that are written, and errors name the line."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from prompts.errors import MarqueeError
from prompts.files import read_text

_TEXT_KEYS, _LIST_KEYS = ("name", "description", "parent", "subject"), ("labels", "children", "aliases", "descriptions")


class _RepeatedKey(yaml.MarkedYAMLError):
    """A key that a mapping has twice."""


class _WordsAsWritten(yaml.constructor.SafeConstructor):
    """YAML reads ``no`` as false and ``1.0`` as a number; as a label's name they are the words that are written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See ``yaml.SafeLoader``."""
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines and key.value != "<<":
                problem = f"the key {key.value!r} is given twice, first in line {lines[key.value]}; keep one"
                raise _RepeatedKey(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
            _mark_names(key.value, value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


class _Loader(_WordsAsWritten, yaml.SafeLoader):
    """Python's parser: its errors are the ones to show."""


_loaders: list[type[Any]] = [_Loader]
if yaml.__with_libyaml__:  # ten times as fast: 20 ms instead of 0.2 s for the bundled taxonomies

    class _FastLoader(_WordsAsWritten, yaml.CSafeLoader):
        """libyaml's parser."""

    _loaders.insert(0, _FastLoader)


def _mark_names(key: str, value: yaml.Node) -> None:
    """Mark names and descriptions as strings, whatever they look like."""
    words = [value] if key in _TEXT_KEYS else value.value if key in _LIST_KEYS else []
    for word in words:
        if isinstance(word, yaml.ScalarNode) and word.tag != "tag:yaml.org,2002:null":
            word.tag = "tag:yaml.org,2002:str"


def read_yaml(path: Path, kind: type[MarqueeError]) -> Any:
    """The document of a file in UTF-8.

    Raises:
        MarqueeError: of this kind: it cannot be read, is not YAML, or gives a key twice; one line with file and line.
    """
    text = read_text(path, kind)
    for fast in _loaders[:-1]:
        with suppress(yaml.YAMLError, ValueError, RecursionError):  # the other parser finds the error, and names it
            return yaml.load(text, fast)
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        place = f"{path.name}:{error.problem_mark.line + 1}" if error.problem_mark else path.name
        if isinstance(error, _RepeatedKey):
            raise kind(f"{place}: {error.problem}") from None
        why = error.problem or "it cannot be parsed"
        raise kind(f"{place} is not YAML ({why}); check indentation, brackets and quotes") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = getattr(error, "reason", "") or "a value that cannot be read"
        raise kind(f"{path.name} is not YAML ({why}); check the file") from None
