"""Labels with parents: their paths, such as ``Electronics > Cameras``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from prompts.errors import InvalidTaxonomy
from prompts.taxonomy import Label
from prompts.text import spelling_key

SEPARATOR = " > "
MOST_LEVELS = 12


@dataclass(frozen=True)
class Node(Label):
    """A label of a hierarchy; ``name`` is its path."""

    @property
    def own_name(self) -> str:
        return own_name(self.name)

    @property
    def phrase(self) -> str:
        """The own name and those above: ``Cameras (Electronics)``."""
        above = parent_of(self.name)
        return f"{self.own_name} ({above})" if above else self.name


@dataclass(frozen=True)
class NestedLabel:
    """A label before its path is known.

    Attributes:
        label: with its own name.
        parent: own name or path of the label above; empty at the top.
        above: place of the label above in the list of branches, where the labels are nested.
    """

    label: Label
    parent: str = ""
    above: int | None = None


def own_name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition(SEPARATOR)[2]


def parent_of(path: str) -> str:
    """The path above; empty at the top."""
    return path.rpartition(SEPARATOR)[0]


def level_of(path: str) -> int:
    """Number of the level, from 1."""
    return path.count(SEPARATOR) + 1


def ancestors(path: str) -> Iterator[str]:
    """The paths above, from the nearest to the top."""
    while path := parent_of(path):
        yield path


def lowest(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths without those above another one, in their order."""
    above = {one for path in paths for one in ancestors(path)}
    return tuple(path for path in paths if path not in above)


def nodes(taxonomy: str, branches: Sequence[NestedLabel]) -> tuple[Node, ...]:
    """The labels with their paths, in the order of the branches.

    Raises:
        InvalidTaxonomy: a parent that is no label, or may be several, or is below itself; too many levels.
    """
    return tuple(_Paths(taxonomy, branches).nodes())


def branches_of(tree: Any, above: int | None = None, before: int = 0) -> list[NestedLabel]:
    """Branches of nested dicts and lists; ``before`` is the number of branches before them."""
    found: list[NestedLabel] = []
    for name, below in tree.items() if isinstance(tree, Mapping) else ((item, "") for item in tree):
        if isinstance(name, Mapping) and not below:  # a dict in a list
            found += branches_of(name, above, before + len(found))
            continue
        label = name if isinstance(name, Label) else Label(name.strip()) if isinstance(name, str) else None
        if label is None or not isinstance(below, str | Mapping | list | tuple | None):
            raise InvalidTaxonomy(f"the label {name!r:.60} is not a string; give names, nested in dicts and lists")
        place = before + len(found)
        described = replace(label, description=" ".join(below.split())) if below and isinstance(below, str) else label
        found.append(NestedLabel(described, "", above))
        if below and not isinstance(below, str):
            found += branches_of(below, place, place + 1)
    return found


class _Paths:
    """Finds the path of every branch."""

    def __init__(self, taxonomy: str, branches: Sequence[NestedLabel]) -> None:
        self._taxonomy, self._branches = taxonomy, branches
        self._places: dict[str, list[int]] = {}
        for place, branch in enumerate(branches):
            self._places.setdefault(spelling_key(branch.label.name), []).append(place)
        self._known: dict[int, str] = {}

    def nodes(self) -> Iterator[Node]:
        """The labels with their paths, in the order of the branches."""
        for place, branch in enumerate(self._branches):
            label = branch.label
            yield Node(self._path(place), label.description, label.aliases, label.predict)

    def _path(self, place: int, below: tuple[int, ...] = ()) -> str:
        if place in self._known:
            return self._known[place]
        name = self._branches[place].label.name
        if SEPARATOR in name:
            raise self._error(
                f"the name {name!r} has {SEPARATOR!r} in it, which separates levels; name the parent apart"
            )
        if place in below:
            raise self._error(f"the label {name!r} is below itself; correct its parent")
        above = self._above(place, (*below, place)) if len(below) < MOST_LEVELS else SEPARATOR * MOST_LEVELS
        self._known[place] = f"{above}{SEPARATOR}{name}" if above else name
        if level_of(self._known[place]) > MOST_LEVELS:
            raise self._error(f"the label {name!r} is below {MOST_LEVELS} others; use {MOST_LEVELS} levels at most")
        return self._known[place]

    def _above(self, place: int, below: tuple[int, ...]) -> str:
        branch = self._branches[place]
        if branch.above is not None:
            return self._path(branch.above, below)
        if not branch.parent.strip():
            return ""
        parent = branch.parent.strip()
        named = self._places.get(spelling_key(own_name(parent)), [])
        if len(named) > 1:  # a child may have the name of its parent
            named = [one for one in named if one not in below]
        paths = [self._path(one, below) for one in named]
        found = [path for path in paths if SEPARATOR not in parent or spelling_key(path) == spelling_key(parent)]
        if len(found) == 1:
            return found[0]
        what = f"the parent {branch.parent!r} of {branch.label.name!r}"
        if found:
            raise self._error(f"{what} may be {' or '.join(map(repr, sorted(found)[:3]))}; write the whole path")
        raise self._error(f"{what} is no label{self._similar(parent)}; add it to the labels, or correct it")

    def _similar(self, parent: str) -> str:
        close = get_close_matches(parent, [branch.label.name for branch in self._branches], n=1)
        return f" (did you mean {close[0]!r}?)" if close else ""

    def _error(self, what: str) -> InvalidTaxonomy:
        return InvalidTaxonomy(f"taxonomy {self._taxonomy!r}: {what}")
