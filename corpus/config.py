"""Configuration of a corpus (one YAML file; unknown keys are errors), and the context that each step receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lookup.lookup import Lookup
from prompts.errors import InvalidSetting, fault_of
from prompts.yaml_file import read_yaml
from tabular import strict_rows
from tabular.writing import write_table


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSection(_Section):
    """Path and format of the source files."""

    path: Path
    format: str | None = Field(None, description="a name in eval.datasets.registry; detected from the path by default")


class CleanSection(_Section):
    """Rules for valid texts and genres."""

    taxonomy: str | None = Field(None, description="genres outside this taxonomy are dropped; all stay without one")
    shortest: int = Field(20, ge=0, description="minimum length of a text in characters")
    repeats: int = Field(5, ge=1, description="a text of more films than this is boilerplate")
    genres_needed: bool = Field(True, description="drop films without a genre")


class EnrichSection(_Section):
    """Whether and how missing texts are looked up."""

    lookup: bool = True
    truncated: bool = Field(False, description="also look up texts that are cut off")
    ambiguous: Literal["none", "best-known"] = "none"
    patience: float = Field(120.0, gt=0, description="maximum seconds per title")


class AnnotateSection(_Section):
    """Lemmatiser and language."""

    lemmatiser: str = Field("auto", pattern=r"^(auto|simplemma|spacy:.+)$")
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")


class Config(_Section):
    """The whole configuration. ``out`` is the output folder; paths are relative to the working directory."""

    source: SourceSection
    out: Path
    clean: CleanSection = CleanSection()
    enrich: EnrichSection = EnrichSection()
    annotate: AnnotateSection = AnnotateSection()


def read_config(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        InvalidSetting: the file is missing, is not YAML or breaks a rule; the message names the key.
    """
    data = read_yaml(path, InvalidSetting)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise InvalidSetting(f"{path.name}: {fault_of(error, Config, data, whole='the file')}") from None


Row = Mapping[str, Any]

MERGED, CLEANED, ENRICHED = "merged.jsonl", "cleaned.jsonl", "enriched.jsonl"
PLOTS, FIGURES, TABLE, SENTENCES = "explore.html", "explore.json", "clean.csv", "corpus.conllu"


@dataclass(frozen=True)
class StepContext:
    """What a step receives; ``on_progress`` is called with the numbers of rows done and of all rows."""

    config: Config
    lookup: Lookup
    on_progress: Callable[[int, int], object] = lambda done, total: None

    def path(self, name: str) -> Path:
        """Path of a file of the corpus."""
        return self.config.out / name

    def read(self, name: str) -> list[dict[str, Any]]:
        """Rows of a file of the corpus."""
        return [dict(row.cells) for row in strict_rows(self.path(name))]

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """Write a file of the corpus atomically; the columns are those of the rows."""
        write_table(self.path(name), rows)


@dataclass(frozen=True)
class StepResult:
    """Result of a step: counts by description, and the number of rows that a repeated step may still complete."""

    counts: Mapping[str, int]
    unfinished: int = 0
