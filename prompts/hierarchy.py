"""Hierarchical taxonomies: the name of a label is its path from the top, such as ``Electronics > Cameras``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, cast

from prompts.errors import InvalidTaxonomy
from prompts.label_tree import (
    MOST_LEVELS,
    SEPARATOR,
    NestedLabel,
    ancestors,
    branches_of,
    level_of,
    nodes,
    own_name,
    parent_of,
)
from prompts.taxonomy import AllowNone, Label, Taxonomy, own_form
from prompts.text import spelling_key
from prompts.variants import Candidates

_DIGITS = 6  # of sums of scores


@dataclass(frozen=True)
class Hierarchy(Taxonomy):
    """A taxonomy whose labels form trees. ``labels`` has the inner labels, too.

    Answers are labels without children or, with ``level``, labels of this level and shorter branches. A label with
    ``predict`` = False is out of every answer with all labels below it. So is a label whose children are all out of
    it, unless ``leaves_only`` is False.

    Attributes:
        level: the deepest level of an answer, from 1; None: the leaves.
        leaves_only: False: an answer may also be an inner label, where none of its children fits.

    Raises:
        InvalidTaxonomy: as ``Taxonomy``; also a label without its parent, an impossible level, or no answer.
    """

    level: int | None = None
    leaves_only: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        names = {label.name for label in self.labels}
        if orphan := next((name for name in names if parent_of(name) and parent_of(name) not in names), None):
            raise InvalidTaxonomy(
                f"taxonomy {self.name!r}: {orphan!r} has no label {parent_of(orphan)!r} above; add it"
            )
        if self.level is not None and not 1 <= self.level <= self.depth:
            raise InvalidTaxonomy(
                f"taxonomy {self.name!r} has {self.depth} levels; level cannot be {self.level}; give 1 to {self.depth}"
            )
        if not self.predictable:
            raise InvalidTaxonomy(
                f"taxonomy {self.name!r} has no label to predict: each leaf, or a label above it, has predict: false; "
                "remove it from one"
            )

    @classmethod
    def of(
        cls,
        labels: Any,
        *,
        name: str = "custom",
        multi: bool | None = None,
        max_labels: int | None = None,
        allow_none: AllowNone | None = None,
        attribute: str | None = None,
    ) -> Hierarchy:
        """Make a hierarchy of nested dicts and lists; the arguments are those of ``Taxonomy.of``.

        The value of a dict is what is below the label, or its description:
        ``{"Electronics": ["Cameras", "Phones"], "Clothing": {"Shoes": "for the feet", "Hats": ""}}``.
        """
        branches = branches_of(labels)
        found = cls.of_branches(name, branches, **own_form(len(branches), multi, max_labels, allow_none))
        return cast(Hierarchy, found.shaped(max_labels=max_labels, attribute=attribute))

    @classmethod
    def of_branches(cls, name: str, branches: Sequence[NestedLabel], **shape: Any) -> Hierarchy:
        """The hierarchy of labels whose parents are named; ``shape`` has the other fields.

        Raises:
            InvalidTaxonomy: a parent that is no label, or is several, or is below itself; too many levels.
        """
        return cls(name, nodes(name, branches), **shape)

    @cached_property
    def depth(self) -> int:
        """Number of levels."""
        return max(level_of(label.name) for label in self.labels)

    @cached_property
    def size(self) -> int:
        """Number of labels that a descent may score: those down to the deepest level of an answer."""
        return sum(level_of(label.name) <= self._deepest for label in self._included)

    @cached_property
    def children(self) -> Mapping[str, tuple[Label, ...]]:
        """The labels right below each path, in taxonomy order; those at the top under the empty path."""
        found: dict[str, list[Label]] = {}
        for label in self._included:
            found.setdefault(parent_of(label.name), []).append(label)
        return {path: tuple(labels) for path, labels in found.items()}

    @cached_property
    def predictable(self) -> tuple[Label, ...]:
        """The labels that may be answered."""
        return tuple(
            label
            for label in self._included
            if level_of(label.name) <= self._deepest and (not self.leaves_only or self.ends(label.name))
        )

    @cached_property
    def flat(self) -> Taxonomy:
        """What is scored in one step: the leaves or, without ``leaves_only``, all labels; ``level`` does not matter."""
        labels = tuple(one for one in self._included if not self.leaves_only or one.name not in self.children)
        return Taxonomy(**{**self._shape, "labels": labels})

    def step(self, path: str) -> Taxonomy:
        """The labels right below a path as a taxonomy; "none" is an answer where the descent may end at the path."""
        if path not in self._steps:
            kind, none = (Candidates, not self.leaves_only) if path else (Taxonomy, self.allow_none)
            name = f"{self.name}{SEPARATOR}{path}"  # few-shot examples of the whole taxonomy have other labels
            shape = {**self._shape, "name": name, "labels": self.children[path], "allow_none": none}
            self._steps[path] = kind(**shape)
        return self._steps[path]

    def ends(self, path: str) -> bool:
        """Whether no answer is below a path."""
        return path not in self.children or level_of(path) == self.level

    def lifted(self, path: str) -> str:
        """The path, cut to the deepest level of an answer."""
        return SEPARATOR.join(path.split(SEPARATOR)[: self.level])

    def known(self, spelling: str) -> str | None:
        """As in ``Taxonomy``; an own name that only one answer has means this label, and paths are cut to the level."""
        name = super().known(spelling)
        if name is None or self.lifted(name) not in self._answerable:
            name = self._own_names.get(spelling_key(spelling), name)
        return name and self.lifted(name)

    def with_inner(self, scores: Mapping[str, float], shares: bool) -> dict[str, float]:
        """The scores with those of the inner labels, best first, parents before their children.

        A share becomes that of a label and all labels below it; any other score is at least the highest one below.
        """
        found = dict(scores)
        for name, score in scores.items():
            for above in ancestors(name):
                known = found.get(above)
                found[above] = score if known is None else min(1.0, known + score) if shares else max(known, score)
        return self.ranked(found)

    def ranked(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores down to the deepest level of an answer, rounded, best first, parents before their children."""
        kept = {name: round(score, _DIGITS) for name, score in scores.items() if level_of(name) <= self._deepest}
        return dict(sorted(kept.items(), key=lambda pair: (-pair[1], level_of(pair[0]))))

    def entries(self) -> list[dict[str, Any]]:
        """The labels as in a file or request: own name and path of the parent."""
        return [
            {**asdict(label), "name": own_name(label.name), "parent": parent_of(label.name)} for label in self.labels
        ]

    @property
    def _shape(self) -> dict[str, Any]:
        """The fields of a flat taxonomy."""
        return {field.name: getattr(self, field.name) for field in fields(Taxonomy)}

    @property
    def _deepest(self) -> int:
        return self.level or MOST_LEVELS

    @cached_property
    def _included(self) -> tuple[Label, ...]:
        out = {label.name for label in self.labels if not label.predict}
        kept = [one for one in self.labels if out.isdisjoint((one.name, *ancestors(one.name)))]
        if not self.leaves_only:
            return tuple(kept)
        parents = {parent_of(label.name) for label in self.labels}
        leaves = [one.name for one in kept if one.name not in parents]
        lead = {path for leaf in leaves for path in (leaf, *ancestors(leaf))}
        return tuple(one for one in kept if one.name in lead)

    @cached_property
    def _steps(self) -> dict[str, Taxonomy]:
        return {}

    @cached_property
    def _own_names(self) -> Mapping[str, str]:
        owners: dict[str, set[str]] = {}
        for label in self.predictable:
            owners.setdefault(spelling_key(own_name(label.name)), set()).add(label.name)
        for label in self.labels:  # below the level of the answers
            if (name := self.lifted(label.name)) != label.name and name in self._answerable:
                owners.setdefault(spelling_key(own_name(label.name)), set()).add(name)
        return {key: min(names) for key, names in owners.items() if len(names) == 1}


def cut(taxonomy: Taxonomy, level: int | None = None, leaves_only: bool | None = None) -> Taxonomy:
    """The same labels with other answers; None leaves a part as it is.

    Raises:
        InvalidTaxonomy: the taxonomy is flat, or has no such level.
    """
    if level is None and leaves_only is None:
        return taxonomy
    if not isinstance(taxonomy, Hierarchy):
        raise InvalidTaxonomy(f"taxonomy {taxonomy.name!r} has no label with a parent; leave level and leaves_only out")
    return replace(
        taxonomy,
        level=taxonomy.level if level is None else level,
        leaves_only=taxonomy.leaves_only if leaves_only is None else leaves_only,
    )


def uncut(taxonomy: Taxonomy) -> Taxonomy:
    """The taxonomy without its level: prompts list the leaves, so few-shot examples have labels of leaves."""
    return replace(taxonomy, level=None) if isinstance(taxonomy, Hierarchy) and taxonomy.level else taxonomy
