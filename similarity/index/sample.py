"""The film index of a folder, or that of the sample films, which is built at its first use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prompts import installation
from prompts.files import digest_of
from similarity.encoders.minilm import MiniLM
from similarity.errors import InvalidIndex
from similarity.film import Film
from similarity.index.builder import FilmSource, IndexEncoder, build
from similarity.index.reloading import ReloadingIndex

SAMPLE = installation.SAMPLE / "films.jsonl"
SAMPLE_INDEX = Path("var/index/sample")


def live(folder: Path | None, encoder: IndexEncoder) -> ReloadingIndex:
    """The index in a folder; None is the index of the sample films, built on first use."""
    if folder is not None:
        return ReloadingIndex(folder, encoder.name, encoder.dimension)
    own = _sample_index(encoder)
    return ReloadingIndex(own, encoder.name, encoder.dimension, partial(_make_sample, own, encoder))


def _sample_index(encoder: IndexEncoder) -> Path:
    """One folder per encoder."""
    if encoder.name == MiniLM().name:
        return SAMPLE_INDEX
    return SAMPLE_INDEX.with_name(f"sample-{digest_of(encoder.name, 12)}")


def _make_sample(folder: Path, encoder: IndexEncoder) -> None:
    try:
        origin = digest_of(SAMPLE)
        build(folder, FilmSource(_sample(), origin), encoder, overwrite=True, wait=True)
    except OSError as error:
        raise InvalidIndex(f"the sample films cannot be indexed in {folder}: {error}; set MARQUEE_INDEX") from None


def _sample() -> Iterator[Film]:
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Film(row["id"], row["title"], row["year"], tuple(row["tmdb_genres"]), row["plot"])
