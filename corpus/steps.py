"""The steps of a corpus in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpus.annotate import annotate, annotator
from corpus.config import CLEANED, ENRICHED, FIGURES, MERGED, PLOTS, SENTENCES, TABLE, StepContext, StepResult
from corpus.explore import explore
from corpus.prepare import clean, fill, merge
from prompts import registry

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A step of a corpus.

    Attributes:
        about: short description.
        run: runs the step.
        reads: input files by their names in messages.
        writes: output files, each written atomically.
        settings: settings of the step; a change makes it stale.
        versions: versions of the libraries that the outputs depend on.
    """

    about: str
    run: Callable[[StepContext], StepResult]
    reads: Callable[[StepContext], Mapping[str, Path]]
    writes: Sequence[str]
    settings: Callable[[StepContext], Settings] = lambda work: {}
    versions: Callable[[StepContext], Mapping[str, str]] = lambda work: {}


def _files(*names: str) -> Callable[[StepContext], Mapping[str, Path]]:
    return lambda work: {name: work.path(name) for name in names}


def _clean_settings(work: StepContext) -> Settings:
    options = work.config.clean
    digest = registry.taxonomy_at(options.taxonomy).digest if options.taxonomy else None
    return {**options.model_dump(), "digest": digest}


def _enrich_settings(work: StepContext) -> Settings:
    options = work.config.enrich
    return {**options.model_dump(), "providers": list(work.lookup.providers) if options.lookup else []}


def _annotate_versions(work: StepContext) -> Mapping[str, str]:
    options = work.config.annotate
    return {**annotator(options.lemmatiser, options.language).versions, "conllu": version("conllu")}


STEPS: Mapping[str, Step] = {
    "merge": Step(
        "one row per film from all source files",
        merge,
        lambda work: {"the source": work.config.source.path},
        (MERGED,),
        lambda work: {"path": str(work.config.source.path), "format": work.config.source.format},
    ),
    "clean": Step("normalised texts and genres", clean, _files(MERGED), (CLEANED,), _clean_settings),
    "enrich": Step("missing texts looked up", fill, _files(CLEANED), (ENRICHED,), _enrich_settings),
    "explore": Step("plots before and after", explore, _files(MERGED, ENRICHED), (PLOTS, FIGURES)),
    "annotate": Step(
        "tokens and lemmas, as CoNLL-U and in clean.csv",
        annotate,
        _files(ENRICHED),
        (SENTENCES, TABLE),
        lambda work: work.config.annotate.model_dump(),
        _annotate_versions,
    ),
}
