"""The steps, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpus.annotate import annotate
from corpus.annotators import annotator
from corpus.clean import clean
from corpus.context import CLEANED, ENRICHED, FIGURES, MERGED, PLOTS, SENTENCES, TABLE, StepContext, StepResult
from corpus.enrich import fill
from corpus.explore import explore
from corpus.merge import merge
from prompts import registry

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A step of a corpus.

    Attributes:
        about: what it does, in a few words.
        run: does it.
        reads: files that it reads, by what they are called in messages.
        writes: files of the corpus that it writes, the old ones or the new ones, never a part.
        settings: what is set for it; where that changes, it is stale.
        versions: of the libraries that its outputs depend on.
    """

    about: str
    run: Callable[[StepContext], StepResult]
    reads: Callable[[StepContext], Mapping[str, Path]]
    writes: Sequence[str]
    settings: Callable[[StepContext], Settings] = lambda work: {}
    versions: Callable[[StepContext], Mapping[str, str]] = lambda work: {}


def _of_the_corpus(*names: str) -> Callable[[StepContext], Mapping[str, Path]]:
    return lambda work: {name: work.path(name) for name in names}


def _cleaning(work: StepContext) -> Settings:
    options = work.config.clean
    digest = registry.taxonomy_at(options.taxonomy).digest if options.taxonomy else None
    return {**options.model_dump(), "digest": digest}


def _filling(work: StepContext) -> Settings:
    options = work.config.enrich
    return {**options.model_dump(), "providers": list(work.lookup.providers) if options.lookup else []}


def _annotating(work: StepContext) -> Mapping[str, str]:
    options = work.config.annotate
    return {**annotator(options.lemmatiser, options.language).versions, "conllu": version("conllu")}


STEPS: Mapping[str, Step] = {
    "merge": Step(
        "one row a film from all files of the source",
        merge,
        lambda work: {"the source": work.config.source.path},
        (MERGED,),
        lambda work: {"path": str(work.config.source.path), "format": work.config.source.format},
    ),
    "clean": Step("one form for texts and genres", clean, _of_the_corpus(MERGED), (CLEANED,), _cleaning),
    "enrich": Step("missing texts looked up", fill, _of_the_corpus(CLEANED), (ENRICHED,), _filling),
    "explore": Step("plots before and after", explore, _of_the_corpus(MERGED, ENRICHED), (PLOTS, FIGURES)),
    "annotate": Step(
        "tokens and lemmas, as CoNLL-U and in clean.csv",
        annotate,
        _of_the_corpus(ENRICHED),
        (SENTENCES, TABLE),
        lambda work: work.config.annotate.model_dump(),
        _annotating,
    ),
}
