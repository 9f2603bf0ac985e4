"""`main.py index`: an index of films, made or added to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.films import encoder_option, film_columns, films_of, named_encoder, tell
from cli.group import examples
from cli.output import OutputPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from similarity.index.builder import Built

_TOLD_EVERY = 10  # seconds


@click.command(
    short_help="Build an index of films for similarity search.",
    epilog=examples("index films.csv --out var/index", "index more.csv --out var/index --append"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(folder=True), required=True, help="Folder of the index.")
@click.option("--append", is_flag=True, help="Add to the index; a film whose id is there takes the older one's place.")
@click.option("--kind", default="auto", show_default=True, help="flat (exact), hnsw, ivf or ivfpq; auto: by size.")
@click.option("--overwrite", is_flag=True, help="Drop what an unfinished build of other data has left.")
@encoder_option
@film_columns
def index(
    file: Path, out: Path, append: bool, kind: str, overwrite: bool, encoder: str | None, **reading: Any
) -> None:  # fmt: skip
    """Make an index of the films in FILE, for `main.py similar` and POST /similar.

    The same command again goes on where the last one was ended. Until the new version is whole, the old one answers.
    """
    from similarity.index.builder import FilmSource, build

    films = films_of(file, **reading)
    origin = _origin(films)
    built = build(
        out,
        FilmSource(films, origin),
        named_encoder(encoder),
        kind=kind,
        append=append,
        overwrite=overwrite,
        on_progress=_progress(),
    )
    tell({f"films {what}": count for what, count in films.noted.items()})
    _tell(built)


def _origin(films: Any) -> str:
    from prompts.errors import InvalidDataset

    if not films.path.exists():
        raise InvalidDataset(f"cannot read {films.path}: No such file or directory")
    return str(films.origin)


def _progress() -> Callable[[str, int], None]:
    """Tells now and then how far it is, and how fast since it began."""
    began = told_at = time.monotonic()
    first: int | None = None

    def on_progress(stage: str, count: int) -> None:
        nonlocal told_at, first
        now = time.monotonic()
        if stage != "encoded":
            click.echo(f"{stage} {count:,} films", err=True)
        elif first is None:
            first, told_at = count, now
            click.echo(f"encoded {count:,} films", err=True)
        elif now - told_at >= _TOLD_EVERY:
            told_at = now
            click.echo(f"encoded {count:,} films, {count / (now - began):,.0f} a second", err=True)

    return on_progress


def _tell(built: Built) -> None:
    manifest = built.version.manifest
    tell(
        {
            "films had neither text nor title and were left out": built.without_text,
            "films were there as they are": built.unchanged,
            "films took the place of an older row with their id": built.replaced,
            "films have a text that another film has; of such, one is answered": manifest.repeated,
        }
    )
    if not (built.added or built.replaced):
        click.echo("nothing to do: the index holds all of it", err=True)
    recall = "exact" if manifest.recall is None else f"finds {manifest.recall:.1%} of the ten nearest"
    click.echo(f"{manifest.count:,} films, {manifest.kind}, {recall}: {built.version.path}")
