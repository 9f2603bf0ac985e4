"""Taxonomies: closed sets of labels, and the spellings that mean each label."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

from prompts.errors import InvalidTaxonomy, quoted
from prompts.files import digest_of
from prompts.text import spelling_key, without_lone_surrogates

OUT_OF_SCOPE: Final = "out_of_scope"
AllowNone = bool | Literal["out_of_scope"]  # see ``Taxonomy.allow_none``

_ATTRIBUTE = re.compile(r"\S(?:.{0,48}\S)?")
DEFAULT_ATTRIBUTE = "category"  # a small model was more accurate with this word than with "label"


@dataclass(frozen=True)
class Label:
    """One label of a taxonomy.

    Attributes:
        name: what is answered, exactly so.
        description: one line that tells a model, and a person, what belongs here.
        aliases: other spellings of the same label.
        predict: False keeps the label out of every answer (IMDb's "Short" says nothing about a plot).

    Lone surrogates become U+FFFD, as in ``Text``.
    """

    name: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    predict: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", without_lone_surrogates(self.name))
        object.__setattr__(self, "description", without_lone_surrogates(self.description))

    @property
    def own_name(self) -> str:
        """The name without the labels above it (``prompts.hierarchy.Node``)."""
        return self.name

    @property
    def phrase(self) -> str:
        """The name as an encoder reads it."""
        return self.name


@dataclass(frozen=True)
class Taxonomy:
    """A closed taxonomy and the shape of an answer from it.

    Attributes:
        name: how requests name it.
        labels: in the order in which prompts list them.
        multi: whether a text may have more than one label.
        max_labels: the most labels of one answer; 1 where ``multi`` is False.
        subject: what kind of thing is labelled (``film``, ``review``, ``text``); chooses the prompt.
        attribute: what the labels say about it, in one or two words for prompts (``genre``, ``topic``).
        allow_none: whether "none of them" is an answer; ``"out_of_scope"``: only where a text is clearly about none of
            the labels, else the best label at least.

    Raises:
        InvalidTaxonomy: no label to predict, an empty or repeated name, a spelling that means two labels, or an
            impossible ``max_labels`` or ``attribute``.
    """

    name: str
    labels: tuple[Label, ...]
    multi: bool = True
    max_labels: int = 5
    subject: str = "text"
    allow_none: AllowNone = False
    attribute: str = DEFAULT_ATTRIBUTE

    def __post_init__(self) -> None:
        if not self.multi:
            object.__setattr__(self, "max_labels", 1)
        if self.max_labels < 1:
            raise InvalidTaxonomy(f"taxonomy {self.name!r}: max_labels is {self.max_labels}; give 1 or more")
        if fault := attribute_fault(self.attribute):
            raise InvalidTaxonomy(f"taxonomy {self.name!r}: attribute {fault}")
        if not any(label.predict for label in self.labels):
            raise InvalidTaxonomy(f"taxonomy {self.name!r} has no label to predict; give at least one")
        self._spellings  # noqa: B018  (built now, so that a broken taxonomy is refused at load and not in use)

    @classmethod
    def of(
        cls,
        labels: Iterable[str | Label] | Mapping[str, str],
        *,
        name: str = "custom",
        multi: bool | None = None,
        max_labels: int | None = None,
        allow_none: AllowNone | None = None,
        attribute: str | None = None,
    ) -> Taxonomy:
        """Make a taxonomy of label names, of ``Label`` objects, or of a dict from names to descriptions.

        Args:
            labels: the labels, in the order in which prompts list them.
            name: of the taxonomy.
            multi: whether a text may have more than one label; by default only where ``max_labels`` is above 1.
            max_labels: maximum number of labels of one text; by default all of them where ``multi`` is True.
            allow_none: whether "none of them" is an answer. By default ``"out_of_scope"`` where ``multi`` is True; else
                only where there is a single label, which a text then has or has not.
            attribute: what the labels say about a text, in one or two words for prompts; see ``Taxonomy``.

        Raises:
            InvalidTaxonomy: ``labels`` is a string, a label is none, or a rule of ``Taxonomy`` is broken.
        """
        entries = tuple(map(_label, _items(labels)))
        if max_labels is not None and max_labels < 1:
            raise InvalidTaxonomy(f"taxonomy {name!r}: max_labels is {max_labels}; give 1 or more")
        taxonomy = cls(name, entries, **own_form(len(entries), multi, max_labels, allow_none))
        return taxonomy.shaped(max_labels=max_labels, attribute=attribute)  # refuses several labels without multi

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the labels that may be answered, in taxonomy order."""
        return tuple(label.name for label in self.predictable)

    @cached_property
    def predictable(self) -> tuple[Label, ...]:
        """The labels that may be answered."""
        return tuple(label for label in self.labels if label.predict)

    @cached_property
    def digest(self) -> str:
        """12 hex digits that change whenever anything in the taxonomy does."""
        parts = asdict(self)
        parts.pop("whole", None)  # of a Variant: the labels alone decide about an answer
        if self.attribute == DEFAULT_ATTRIBUTE:
            del parts["attribute"]  # digests of stored answers are older than this field
        canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False)
        return digest_of(canonical, 12)

    @cached_property
    def labels_digest(self) -> str:
        """12 hex digits of the labels alone; requests for another form of answer do not change it."""
        canonical = json.dumps([asdict(label) for label in self.predictable], sort_keys=True, ensure_ascii=False)
        return digest_of(canonical, 12)

    @property
    def labels_version(self) -> str:
        """Name and digest of the labels."""
        return f"{self.name}@{self.labels_digest}"

    @property
    def exclusive(self) -> bool:
        """Whether the labels are alternatives: one of several is chosen, and their shares sum to 1."""
        return not self.multi and len(self.names) > 1

    @property
    def attributes(self) -> str:
        """The plural of ``attribute`` by the rules of English."""
        stem = self.attribute
        if stem.endswith("y") and stem[-2:-1] not in "aeiou":
            return f"{stem[:-1]}ies"
        return f"{stem}es" if stem.endswith(("s", "x", "z", "ch", "sh")) else f"{stem}s"

    @property
    def versioned_name(self) -> str:
        """Name and digest, such as ``tmdb@0f3a…``."""
        return f"{self.name}@{self.digest}"

    @property
    def none_name(self) -> str:
        """Name of the answer "none of these labels"; no label has it."""
        name = "none of these"
        while self.known(name):
            name += " labels"
        return name

    def resolve(self, spelling: str) -> str | None:
        """The label that a spelling means, or None.

        Case, spaces, most punctuation and known aliases do not matter: ``"sci fi"``, ``"SCI-FI"`` and ``"SF"`` are
        all ``"Science Fiction"``. Labels kept out of prediction resolve to None.
        """
        if spelling in self._answerable:
            return spelling
        name = self.known(spelling)
        return name if name in self._answerable else None

    def known(self, spelling: str) -> str | None:
        """Like ``resolve``, but also finds labels kept out of prediction; for reading data, not answers."""
        return self._spellings.get(spelling_key(spelling))

    def shaped(
        self,
        multi: bool | None = None,
        max_labels: int | None = None,
        allow_none: AllowNone | None = None,
        attribute: str | None = None,
    ) -> Taxonomy:
        """The same labels with another shape of answer, or another attribute; None leaves a part as it is.

        Raises:
            InvalidTaxonomy: several labels per text in a single-label taxonomy; an impossible ``attribute``.
        """
        several = self.multi if multi is None else multi
        if not several and (max_labels or 1) > 1:
            raise InvalidTaxonomy(
                f"taxonomy {self.name!r} gives one label a text, so max_labels cannot be {max_labels}; "
                "leave it out or set multi to true"
            )
        most = max_labels or (self.max_labels if several == self.multi else len(self.names))
        none = self.allow_none if allow_none is None else allow_none
        about = self.attribute if attribute is None else attribute
        if (several, most, none, about) == (self.multi, self.max_labels, self.allow_none, self.attribute):
            return self  # spellings and digest of a new one would cost more than most requests' other preparations
        return _reshaped(self, several, most, none, about)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON takes it, its digest included."""
        return {"name": self.name, "digest": self.digest, **asdict(self)}

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """The given labels, each once, in taxonomy order."""
        chosen = set(names)
        return tuple(name for name in self.names if name in chosen)

    @cached_property
    def _answerable(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _spellings(self) -> Mapping[str, str]:
        spellings: dict[str, str] = {}
        for label in self.labels:
            if owner := self._claim(spellings, label.name, label):
                twice = f"the label {owner!r} occurs twice; keep one"
                alike = f"the labels {owner!r} and {label.name!r} differ only in case or punctuation; rename one"
                raise InvalidTaxonomy(f"taxonomy {self.name!r}: {twice if owner == label.name else alike}")
        for label, alias in [(one, alias) for one in self.labels for alias in one.aliases]:
            if (owner := self._claim(spellings, alias, label)) not in (None, label.name):
                raise InvalidTaxonomy(
                    f"taxonomy {self.name!r}: the alias {alias!r} of {label.name!r} also means {owner!r}; "
                    "give it to one of them"
                )
        return spellings

    def _claim(self, spellings: dict[str, str], spelling: str, label: Label) -> str | None:
        """Enter a spelling; returns the label that has it already, if one does."""
        key = spelling_key(spelling)
        if not key:
            raise InvalidTaxonomy(f"taxonomy {self.name!r}: an empty name or alias; write it out or remove it")
        owner = spellings.get(key)
        spellings.setdefault(key, label.name)
        return owner


def own_form(count: int, multi: bool | None, max_labels: int | None, allow_none: AllowNone | None) -> dict[str, Any]:
    """The form of an answer from ``count`` labels of a caller's own; ``Taxonomy.of`` has the defaults."""
    several = (max_labels or 1) > 1 if multi is None else multi
    none = allow_none
    if none is None:
        none = OUT_OF_SCOPE if several else count == 1
    return {"multi": several, "max_labels": max_labels or max(1, count), "allow_none": none}


@lru_cache(64)
def _reshaped(taxonomy: Taxonomy, multi: bool, max_labels: int, allow_none: AllowNone, attribute: str) -> Taxonomy:
    return replace(taxonomy, multi=multi, max_labels=max_labels, allow_none=allow_none, attribute=attribute)


def attribute_fault(attribute: Any) -> str | None:
    """What is wrong with an attribute, and what to do; None where prompts can name it."""
    fits = isinstance(attribute, str) and _ATTRIBUTE.fullmatch(attribute)
    return None if fits else f"is {quoted(str(attribute))}; give a word or two, such as 'topic', of up to 50 characters"


def _items(labels: Any) -> Iterable[Any]:
    if isinstance(labels, str):
        raise InvalidTaxonomy(f"labels is the string {labels:.40}; give a list: labels=[{labels[:40]!r}]")
    if not isinstance(labels, Iterable):
        raise InvalidTaxonomy(f"labels is a {type(labels).__name__}; give a list of names, or a dict of descriptions")
    return labels.items() if isinstance(labels, Mapping) else labels


def _label(item: Any) -> Label:
    """A label of a name, of a pair of name and description, or of itself."""
    if isinstance(item, Label):
        return item
    pair = item if isinstance(item, tuple) else (item, "")
    if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        raise InvalidTaxonomy(f"the label {item!r:.60} is not a string; give names, or a dict of descriptions")
    return Label(pair[0].strip(), " ".join(pair[1].split()))
