"""The one file that says how a corpus is made; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prompts.errors import InvalidSetting
from prompts.faults import fault_of
from prompts.yaml_file import read_yaml


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSection(_Section):
    """Where the films are."""

    path: Path
    format: str | None = Field(None, description="a name in eval.datasets.registry; told from the path by default")


class CleanSection(_Section):
    """What is a text, and what is a genre."""

    taxonomy: str | None = Field(None, description="genres outside this taxonomy are dropped; all stay without one")
    shortest: int = Field(20, ge=0, description="characters; less tells nothing")
    repeats: int = Field(5, ge=1, description="a text of more films than this is boilerplate")
    genres_needed: bool = Field(True, description="leave films without a genre out")


class EnrichSection(_Section):
    """Whether and how missing texts are looked up."""

    lookup: bool = True
    truncated: bool = Field(False, description="look texts that break off up too")
    ambiguous: Literal["none", "best-known"] = "none"
    patience: float = Field(120.0, gt=0, description="seconds that one title may take")


class AnnotateSection(_Section):
    """Who tells lemmas."""

    lemmatiser: str = Field("auto", pattern=r"^(auto|simplemma|spacy:.+)$")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")


class Config(_Section):
    """How a corpus is made.

    Attributes:
        source: where the films are.
        out: folder of all that is written; relative paths are taken from the working folder.
    """

    source: SourceSection
    out: Path
    clean: CleanSection = CleanSection()
    enrich: EnrichSection = EnrichSection()
    annotate: AnnotateSection = AnnotateSection()


def read_config(path: Path) -> Config:
    """The configuration in a YAML file.

    Raises:
        InvalidSetting: no such file, not YAML, or a rule broken; in one line that names the key.
    """
    data = read_yaml(path, InvalidSetting)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise InvalidSetting(f"{path.name}: {fault_of(error, Config, data, whole='the file')}") from None
