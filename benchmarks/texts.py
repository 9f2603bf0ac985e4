"""The plots that benchmarks label."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from eval.datasets import Fields, load, sample
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text

SAMPLE = Path(__file__).parent.parent / "data" / "sample" / "films.jsonl"
_COLLECTION = "tmdb_genres.jsonl.gz"


@dataclass(frozen=True)
class Plots:
    """Plots of films, the true labels of each, and in words where they come from."""

    texts: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    origin: str

    def marked(self, mark: str, count: int | None = None) -> list[Text]:
        """The plots, each behind a mark and a number of its own, so that no server has its words in a cache."""
        chosen = self.texts[:count]
        return [Text(f"{mark}.{number} {plot}") for number, plot in enumerate(chosen)]

    def answers(self) -> list[str]:
        """What ``json_list`` would write if it were always right, at most ``max_labels`` labels."""
        most = vocabulary().max_labels
        return [json.dumps(labels[:most], ensure_ascii=False, separators=(",", ":")) for labels in self.labels]


def vocabulary() -> Taxonomy:
    """TMDB's genres, all 20 of them open to prediction."""
    genres = registry.taxonomy("tmdb")
    return replace(genres, labels=tuple(replace(label, predict=True) for label in genres.labels))


def plots(data: Path | None, count: int) -> Plots:
    """So many plots, always the same ones; repeated where the file has fewer.

    Args:
        data: a file of examples, or a folder that holds ``tmdb_genres.jsonl.gz``; by default the folder in the
            environment variable ``BENCH_DATA``, or else the sample that comes with the program.
        count: how many.
    """
    path = _file(data)
    fields = Fields("plot", "tmdb_genres") if path.resolve() == SAMPLE.resolve() else Fields()
    examples = sample(load(path, vocabulary(), fields).examples, count)
    chosen = list(islice(cycle(examples), count))
    texts, labels = tuple(one.text.body for one in chosen), tuple(one.labels for one in chosen)
    return Plots(texts, labels, _origin(path, len(examples), count))


def _file(data: Path | None) -> Path:
    named = data or (Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else SAMPLE)
    return named / _COLLECTION if named.is_dir() else named


def _origin(path: Path, different: int, count: int) -> str:
    repeats = f"{different} plots, repeated to {count}" if different < count else f"{count} plots"
    return f"{repeats} of {path.name}"
