"""Registry of the bundled taxonomies and prompts, and the format of their files."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sized
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prompts.errors import InvalidPrompt, InvalidTaxonomy, MarqueeError, UnknownName, fault_of, shown
from prompts.files import read_text
from prompts.taxonomy import Label, Taxonomy
from prompts.template import TEMPLATES, Prompt
from prompts.text import Text

log = logging.getLogger(__name__)
Entry = TypeVar("Entry")

TAXONOMIES = Path(__file__).parent / "taxonomies"
_PROMPT_FILE = re.compile(r"[a-z][a-z0-9_]*\.v[1-9][0-9]*\.jinja")

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
    return Taxonomy(path.stem, labels, entry.multi, entry.max_labels, entry.subject, entry.allow_none)


def load_prompt(path: Path) -> Prompt:
    """Read one template; the file's name, ``KIND.vN.jinja``, is the prompt's.

    Raises:
        InvalidPrompt: a name of another form, or a template that ``Prompt`` refuses.
    """
    if not _PROMPT_FILE.fullmatch(path.name):
        raise InvalidPrompt(f"{path.name}: name a prompt KIND.vN.jinja, such as plot.v2.jinja")
    return Prompt(path.name.removesuffix(".jinja"), read_text(path, InvalidPrompt))


class LoadedFolder(dict[str, Entry]):
    """The entries of a folder's files, by name.

    Attributes:
        faulty: the errors of invalid files, by name; these files are logged and skipped.
    """

    def __init__(self, paths: Iterable[Path], load: Callable[[Path], Entry]) -> None:
        super().__init__()
        self.faulty: dict[str, MarqueeError] = {}
        for path in sorted(paths):
            try:
                self[path.stem] = load(path)
            except MarqueeError as error:
                self.faulty[path.stem] = error
                log.warning("left out: %s", error)


@cache
def taxonomies() -> LoadedFolder[Taxonomy]:
    """Every taxonomy of the folder."""
    return LoadedFolder(TAXONOMIES.glob("*.yaml"), load_taxonomy)


@cache
def prompts() -> LoadedFolder[Prompt]:
    """Every prompt version of the folder."""
    return LoadedFolder(TEMPLATES.glob("*.jinja"), load_prompt)


def taxonomy(name: str) -> Taxonomy:
    """The taxonomy of that name.

    Raises:
        UnknownName: there is none.
        InvalidTaxonomy: its file cannot be used.
    """
    found = taxonomies()
    if name in found.faulty:
        raise found.faulty[name]
    if name not in found:
        raise UnknownName("taxonomy", name, found)
    return found[name]


def taxonomy_at(place: str) -> Taxonomy:
    """The taxonomy of that name, or of a YAML file at that path; only for callers that may read local files.

    Raises:
        UnknownName: there is no such name.
        InvalidTaxonomy: there is no such file, or as in ``load_taxonomy``.
    """
    if not place.endswith((".yaml", ".yml")):
        return taxonomy(place)
    if not Path(place).is_file():
        raise InvalidTaxonomy(
            f"there is no file {place}; give a taxonomy's YAML file, or a name: {', '.join(taxonomies())}"
        )
    return load_taxonomy(Path(place))


def taxonomy_from(value: str | Path | Taxonomy | Iterable[str | Label] | Mapping[str, str]) -> Taxonomy:
    """The taxonomy that a Python caller means: its name, a YAML file, itself, or labels as in ``Taxonomy.of``.

    Raises:
        UnknownName: no taxonomy has this name.
        InvalidTaxonomy: the file or the labels cannot be used.
    """
    if isinstance(value, Taxonomy):
        return value
    return taxonomy_at(str(value)) if isinstance(value, str | Path) else Taxonomy.of(value)


def registered(place: str) -> Taxonomy:
    """As ``taxonomy_at``; registers the taxonomy of a file in this process under the file's name."""
    found = taxonomy_at(place)
    taxonomies()[found.name] = found
    return found


def prompt(name: str) -> Prompt:
    """The prompt of that name, or of a kind (``"plot"``): its ``DEFAULT_VERSION``, else its newest version.

    Raises:
        UnknownName: there is none.
    """
    found = prompts()
    versions = [prompt for prompt in found.values() if name in (prompt.name, prompt.kind)]
    if not versions:
        wrong = next((error for stem, error in found.faulty.items() if name in (stem, stem.rpartition(".v")[0])), None)
        raise wrong or UnknownName("prompt", name, {*found, *(prompt.kind for prompt in found.values())})
    return max(versions, key=lambda prompt: (prompt.version == DEFAULT_VERSION.get(prompt.kind), prompt.version))


def prompt_at(place: str) -> Prompt:
    """As ``prompt``, or as ``load_prompt`` of a path; only for callers that may read local files."""
    return load_prompt(Path(place)) if place.endswith(".jinja") else prompt(place)


def prompt_for(text: Text, taxonomy: Taxonomy) -> Prompt:
    """The prompt for a text without a named one: by the taxonomy's subject, and whether the text has a body."""
    kinds = KIND_BY_SUBJECT.get(taxonomy.subject, ("text", "text"))
    return prompt(kinds[0] if text.body.strip() else kinds[1])


# Version of a kind that is named without one. Version 2 becomes the default once it is measured to be no worse.
DEFAULT_VERSION: Mapping[str, int] = dict.fromkeys(("auto", "company", "plot", "review", "text", "title"), 1)

# subject of the taxonomy -> kind of prompt for (a text, a bare title)
KIND_BY_SUBJECT: Mapping[str, tuple[str, str]] = {
    "film": ("plot", "title"),
    "review": ("review", "review"),
    "company": ("company", "company"),
}

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


# --- YAML ---

_TEXT_KEYS, _LIST_KEYS = ("name", "description", "subject"), ("labels", "aliases")


class _RepeatedKey(yaml.MarkedYAMLError):
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
                problem = f"the key {key.value!r} is given twice, first in line {lines[key.value]}; keep one"
                raise _RepeatedKey(problem=problem, problem_mark=key.start_mark)
            lines[key.value] = key.start_mark.line + 1
            _mark_names(key.value, value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


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
    try:
        return yaml.load(read_text(path, kind), _Loader)
    except yaml.MarkedYAMLError as error:
        place = f"{path.name}:{error.problem_mark.line + 1}" if error.problem_mark else path.name
        if isinstance(error, _RepeatedKey):
            raise kind(f"{place}: {error.problem}") from None
        why = error.problem or "it cannot be parsed"
        raise kind(f"{place} is not YAML ({why}); check indentation, brackets and quotes") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = getattr(error, "reason", "") or "a value that cannot be read"
        raise kind(f"{path.name} is not YAML ({why}); check the file") from None
