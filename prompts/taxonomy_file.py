"""The format of a taxonomy's YAML file, and of labels in requests."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prompts.errors import InvalidTaxonomy, fault_of, shown
from prompts.taxonomy import DEFAULT_ATTRIBUTE, Label, Taxonomy
from prompts.yaml_file import read_yaml

# Limits of one label, in characters. A label is encoded, and printed into every prompt: its length is work per text.
NAME_CHARS = 500
DESCRIPTION_CHARS = 4_000
ALIASES = 100


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
_Aliases = Annotated[list[LabelName], _at_most(ALIASES, "aliases"), Field(json_schema_extra={"maxItems": ALIASES})]


class LabelEntry(BaseModel):
    """A label as in a file or request.

    Name and aliases have up to 500 characters, the description up to 4,000; there are up to 100 aliases.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    name: LabelName
    description: LabelDescription = ""
    aliases: _Aliases = []
    predict: bool = True

    def label(self) -> Label:
        """The ``Label`` of this entry."""
        return Label(self.name.strip(), " ".join(self.description.split()), tuple(self.aliases), self.predict)


def as_label(value: Any) -> Any:
    """A string becomes the name of an entry without description."""
    if not isinstance(value, str | Mapping | LabelEntry):
        raise ValueError(f"{shown(value) or 'this'} is no label; give a string, or an object with a name")
    return {"name": value} if isinstance(value, str) else value


LabelOrName = Annotated[LabelEntry, BeforeValidator(as_label, json_schema_input_type=str | LabelEntry)]


class TaxonomyFile(BaseModel):
    """A taxonomy file; unknown keys are errors, because a misspelt key would be ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)
    subject: str = "text"
    attribute: Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^\n]*$")] = DEFAULT_ATTRIBUTE
    multi: bool = True
    max_labels: int = 5
    allow_none: bool = False
    labels: list[LabelOrName]


def load_taxonomy(path: Path) -> Taxonomy:
    """Read one YAML file; the file's name is the taxonomy's.

    Raises:
        InvalidTaxonomy: not YAML, an unknown or missing key, a wrong type, or a rule of ``Taxonomy`` broken.
    """
    data = read_yaml(path, InvalidTaxonomy)
    try:
        entry = TaxonomyFile.model_validate(data)
    except ValidationError as error:
        fault = fault_of(error, TaxonomyFile, data, FOREIGN, whole="the file")
        raise InvalidTaxonomy(f"{path.name}: {fault}") from None
    labels = tuple(label.label() for label in entry.labels)
    return Taxonomy(path.stem, labels, entry.multi, entry.max_labels, entry.subject, entry.allow_none, entry.attribute)


# Keys that other programs use, and the key here or a sentence of advice.
FOREIGN: Mapping[type[BaseModel], Mapping[str, str]] = {
    LabelEntry: {
        **dict.fromkeys(("label", "title", "value", "id", "class", "key"), "name"),
        **dict.fromkeys(("definition", "help", "text", "hypothesis", "about"), "description"),
        **dict.fromkeys(("synonyms", "keywords", "examples", "names"), "aliases"),
    },
    TaxonomyFile: {
        **dict.fromkeys(("categories", "classes", "candidate_labels", "genres", "tags", "options"), "labels"),
        **dict.fromkeys(("multi_label", "multilabel", "multiple"), "multi"),
        **dict.fromkeys(("top_k", "top_n", "max", "limit"), "max_labels"),
        **dict.fromkeys(("none", "allow_empty", "other"), "allow_none"),
        "name": "the file's name is the taxonomy's name",
    },
}
