"""Step 4: statistics before cleaning and after enriching, as JSON and as an HTML page with plots."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from corpus.config import ENRICHED, FIGURES, MERGED, PLOTS, Row, StepContext, StepResult
from eval.report import charts
from eval.report.data_card import QUANTILES, Lengths, lengths_of
from lookup.enrich import TEXT_FROM
from prompts.files import replacing

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Snapshot:
    """Statistics of the films at one stage.

    Attributes:
        films: number of films.
        missing: films without a text.
        truncated: films with a text that is cut off.
        words: text lengths in words; None without texts.
        genres: number of films per genre, most frequent first.
        missing_of: films without a text per genre.
        per_film: number of films by their number of genres.
        sources: number of texts by source; empty before the look-up.
    """

    films: int
    missing: int
    truncated: int
    words: Lengths | None
    genres: dict[str, int]
    missing_of: dict[str, int]
    per_film: dict[int, int]
    sources: dict[str, int]


def explore(work: StepContext) -> StepResult:
    """Write the statistics and the page."""
    before, after = work.read(MERGED), work.read(ENRICHED)
    first = snapshot(before)
    last = snapshot(after, first.words.edges if first.words else None)
    _write(work.path(FIGURES), json.dumps({"before": asdict(first), "after": asdict(last)}, indent=1) + "\n")
    _write(work.path(PLOTS), page(work.config.out.name, first, last))
    return StepResult({"films before": first.films, "films after": last.films, "without a text before": first.missing,
                 "without a text after": last.missing})  # fmt: skip


def snapshot(rows: Sequence[Row], edges: Sequence[int] | None = None) -> Snapshot:
    """Statistics of the films; ``edges`` are the length bins of another snapshot."""
    lengths = [len(row["description"].split()) for row in rows if row["description"]]
    genres = Counter(name for row in rows for name in row["genres"])
    missing_of = Counter(name for row in rows if not row["description"] for name in row["genres"])
    order = sorted(genres, key=lambda name: (-genres[name], name))
    return Snapshot(
        films=len(rows),
        missing=len(rows) - len(lengths),
        truncated=sum(bool(row["truncated"]) for row in rows),
        words=lengths_of("words", lengths, edges) if lengths else None,
        genres={name: genres[name] for name in order},
        missing_of={name: missing_of[name] for name in order},
        per_film=dict(sorted(Counter(len(row["genres"]) for row in rows).items())),
        sources=dict(Counter(row.get(TEXT_FROM) or "" for row in rows if TEXT_FROM in row).most_common()),
    )


def page(name: str, before: Snapshot, after: Snapshot) -> str:
    """All plots as one self-contained HTML page."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = list(dict.fromkeys([*after.genres, *before.genres]))
    return environment.get_template("explore.html.jinja").render(
        name=name, before=before, after=after, charts=charts,
        heads=["shortest" if share == 0 else "longest" if share == 1 else f"{share:.0%}" for share in QUANTILES],
        genres=[(one, before.genres.get(one, 0), after.genres.get(one, 0)) for one in names],
        missing=[(one, _share(before, one), _share(after, one)) for one in after.genres],
        per_film=[(_many(count), before.per_film.get(count, 0), after.per_film.get(count, 0))
                  for count in sorted({*before.per_film, *after.per_film})],
    )  # fmt: skip


def _share(films: Snapshot, genre: str) -> float:
    return films.missing_of.get(genre, 0) / max(1, films.genres.get(genre, 0))


def _many(count: int) -> str:
    return f"{count} genre{'s' * (count != 1)}"


def _write(path: Path, content: str) -> None:
    with replacing(path) as new:
        new.write_text(content, encoding="utf-8")
