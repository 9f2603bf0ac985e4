"""The format of a taxonomy's YAML file, and of labels in requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prompts import taxonomy_places
from prompts.errors import InvalidTaxonomy, fault_of, shown
from prompts.files import digest_of
from prompts.hierarchy import Hierarchy, cut
from prompts.label_tree import NestedLabel
from prompts.taxonomy import DEFAULT_ATTRIBUTE, AllowNone, Label, Taxonomy, attribute_fault
from prompts.taxonomy_places import Place
from prompts.text import without_lone_surrogates
from prompts.yaml_file import read_yaml

_BUNDLED = Path(__file__).parent / "taxonomies"  # these are not tuned
# Limits of one label, in characters. A label is encoded, and printed into every prompt: its length is work per text.
NAME_CHARS = 500
DESCRIPTION_CHARS = 4_000
ALIASES = 100
DESCRIPTIONS = 100


def _at_most(limit: int, unit: str = "characters") -> AfterValidator:
    """A check of a length; its error gives the length and the limit."""

    def check(value: Sized) -> Sized:
        if len(value) > limit:
            raise ValueError(f"has {len(value):,} {unit}; at most {limit:,} are accepted")
        return value

    return AfterValidator(check)


LabelName = Annotated[str, _at_most(NAME_CHARS), Field(json_schema_extra={"maxLength": NAME_CHARS})]
LabelDescription = Annotated[
    str, _at_most(DESCRIPTION_CHARS), Field(json_schema_extra={"maxLength": DESCRIPTION_CHARS})
]


def _attribute(value: str) -> str:
    if fault := attribute_fault(value):
        raise ValueError(fault)
    return value


LabelAttribute = Annotated[str, AfterValidator(_attribute), Field(json_schema_extra={"minLength": 1, "maxLength": 50})]
_Aliases = Annotated[list[LabelName], _at_most(ALIASES, "aliases"), Field(json_schema_extra={"maxItems": ALIASES})]


class LabelEntry(BaseModel):
    """A label as in a file or request.

    Name and aliases have up to 500 characters, the description up to 4,000; there are up to 100 aliases. Labels with a
    parent or children form a hierarchy: ``parent`` is the name of a label, or its path where several have the name;
    ``children`` are nested entries.
    """

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)  # its children are entries
    name: LabelName
    description: LabelDescription = ""
    aliases: _Aliases = []
    predict: bool = True
    parent: LabelName = ""
    children: list[LabelOrName] = []

    @property
    def count(self) -> int:
        """Number of labels, those below it included."""
        return 1 + sum(child.count for child in self.children)

    def label(self) -> Label:
        """The ``Label`` of this entry."""
        return Label(self.name.strip(), " ".join(self.description.split()), tuple(self.aliases), self.predict)


def as_label(value: Any) -> Any:
    """A string becomes the name of an entry without description."""
    if not isinstance(value, str | Mapping | LabelEntry):
        raise ValueError(f"{shown(value) or 'this'} is no label; give a string, or an object with a name")
    return {"name": value} if isinstance(value, str) else value


LabelOrName = Annotated[LabelEntry, BeforeValidator(as_label, json_schema_input_type=str | LabelEntry)]


class FileLabelEntry(LabelEntry):
    """A label of a file; ``descriptions`` are further ones, for ``taxonomies tune`` alone (``descriptions_in``)."""

    descriptions: Annotated[list[LabelDescription], _at_most(DESCRIPTIONS, "descriptions")] = []
    children: list[FileLabelOrName] = []  # type: ignore[assignment]  # pydantic allows a subclass


FileLabelOrName = Annotated[FileLabelEntry, BeforeValidator(as_label)]


class TaxonomyFile(BaseModel):
    """A taxonomy file; unknown keys are errors, because a misspelt key would be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)
    subject: str = "text"
    attribute: LabelAttribute = DEFAULT_ATTRIBUTE
    multi: bool = True
    max_labels: int = 5
    allow_none: AllowNone = False
    level: int | None = None
    leaves_only: bool | None = None
    labels: list[FileLabelOrName]


def load_taxonomy(path: Path) -> Taxonomy:
    """Read one YAML file; the file's name is the taxonomy's.

    Raises:
        InvalidTaxonomy: not YAML, an unknown or missing key, a wrong type, or a rule of ``Taxonomy`` broken.
    """
    entry = _file(path)
    shape = {name: getattr(entry, name) for name in ("multi", "max_labels", "subject", "allow_none", "attribute")}
    found = taxonomy_of(path.stem, entry.labels, **shape)
    if not (entry.level is None and entry.leaves_only is None):
        found = cut(found, entry.level, entry.leaves_only)
    if path.parent != _BUNDLED:
        taxonomy_places.note(found, Place(path.absolute(), _digest(entry)))
    return found


def descriptions_in(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Every description of each label of a file, by the label's name, ``description`` first; each once.

    Raises:
        InvalidTaxonomy: as in ``load_taxonomy``.
    """
    return {entry.name.strip(): _descriptions(entry) for entry in _file(path).labels}


def _descriptions(entry: FileLabelEntry) -> tuple[str, ...]:
    lines = (" ".join(one.split()) for one in (entry.description, *entry.descriptions))
    return tuple(dict.fromkeys(without_lone_surrogates(line) for line in lines if line))


def _digest(file: TaxonomyFile) -> str:
    return digest_of(json.dumps([[entry.name, *_descriptions(entry)] for entry in file.labels]), 12)


def _file(path: Path) -> TaxonomyFile:
    data = read_yaml(path, InvalidTaxonomy)
    try:
        return TaxonomyFile.model_validate(data)
    except ValidationError as error:
        fault = fault_of(error, TaxonomyFile, data, FOREIGN, whole="the file")
        raise InvalidTaxonomy(f"{path.name}: {fault}") from None


def taxonomy_of(name: str, entries: Sequence[LabelEntry], **shape: Any) -> Taxonomy:
    """The taxonomy of label entries, hierarchical where one has a parent or children; ``shape`` has its other fields.

    Raises:
        InvalidTaxonomy: a rule of ``Taxonomy`` or ``Hierarchy`` is broken.
    """
    if any(entry.parent or entry.children for entry in entries):
        return Hierarchy.of_branches(name, list(_nested(entries)), **shape)
    return Taxonomy(name, tuple(entry.label() for entry in entries), **shape)


def _nested(entries: Sequence[LabelEntry], above: int | None = None, before: int = 0) -> Iterator[NestedLabel]:
    """The entries and those nested in them; ``before`` is the number of labels before them."""
    for entry in entries:
        if above is not None and entry.parent:
            raise InvalidTaxonomy(f"the label {entry.name!r} is among the children of a label; leave its parent out")
        yield NestedLabel(entry.label(), entry.parent, above)
        place, before = before, before + 1
        for below in _nested(entry.children, place, before):
            yield below
            before += 1


def as_yaml(taxonomy: Taxonomy) -> str:
    """The taxonomy as a YAML file that ``load_taxonomy`` reads; members with their default are left out."""
    shape = {"subject": taxonomy.subject, "multi": taxonomy.multi}
    shape |= {"max_labels": taxonomy.max_labels} if taxonomy.multi else {}
    shape |= {"attribute": taxonomy.attribute} if taxonomy.attribute != DEFAULT_ATTRIBUTE else {}
    entries = [asdict(label) for label in taxonomy.labels]
    if isinstance(taxonomy, Hierarchy):
        entries = taxonomy.entries()
        shape |= {"level": taxonomy.level} if taxonomy.level else {}
        shape |= {} if taxonomy.leaves_only else {"leaves_only": False}
    document = {**shape, "allow_none": taxonomy.allow_none, "labels": list(map(_entry, entries))}
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))


def _entry(label: Mapping[str, Any]) -> str | Mapping[str, Any]:
    """The name alone, where the label has nothing else."""
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in label.items()}
    kept = {key: value for key, value in given.items() if value not in ("", []) and (key, value) != ("predict", True)}
    return kept if len(kept) > 1 else str(label["name"])


# Keys that other programs use, and the key here or a sentence of advice.
_OF_LABELS = {
    **dict.fromkeys(("label", "title", "value", "id", "class", "key"), "name"),
    **dict.fromkeys(("definition", "help", "text", "hypothesis", "about"), "description"),
    **dict.fromkeys(("synonyms", "keywords", "examples", "names"), "aliases"),
    **dict.fromkeys(("labels", "sublabels", "subcategories", "subclasses", "nodes"), "children"),
    **dict.fromkeys(("parents", "parent_name", "parent_id", "category", "group"), "parent"),
}
FOREIGN: Mapping[type[BaseModel], Mapping[str, str]] = {
    LabelEntry: _OF_LABELS,
    FileLabelEntry: _OF_LABELS,
    TaxonomyFile: {
        **dict.fromkeys(("categories", "classes", "candidate_labels", "genres", "tags", "options"), "labels"),
        **dict.fromkeys(("multi_label", "multilabel", "multiple"), "multi"),
        **dict.fromkeys(("top_k", "top_n", "max", "limit"), "max_labels"),
        **dict.fromkeys(("none", "allow_empty", "other"), "allow_none"),
        **dict.fromkeys(("depth", "max_depth"), "level"),
        "name": "the file's name is the taxonomy's name",
    },
}
