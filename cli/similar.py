"""`main.py similar`, `index` and `map`: search, build and draw a film index."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, OutputPath, ProgressLine, collected, dialect_options, json_option, print_json, say
from cli.group import examples

if TYPE_CHECKING:
    from eval.datasets.film_list import Films
    from similarity.index.builder import Built, IndexEncoder
    from similarity.index.reloading import ReloadingIndex


@dataclass(frozen=True)
class FilmOptions:
    """The options for a file of films; None takes the default of the format."""

    data_format: str | None = None
    id_field: str | None = None
    title_field: str | None = None
    year_field: str | None = None
    genres_field: str | None = None
    text_field: str | None = None
    encoding: str | None = None
    separator: str | None = None

    def films(self, path: Path) -> Films:
        """The films of a file.

        Raises:
            InvalidDataset: the file does not exist.
        """
        from eval.datasets.film_list import FilmColumns, Films
        from prompts.errors import InvalidDataset
        from tabular import TableDialect

        if not path.exists():
            raise InvalidDataset(f"cannot read {path}: No such file or directory")
        columns = FilmColumns(
            self.id_field, self.text_field, self.title_field, self.year_field, self.genres_field,
            TableDialect(self.encoding, self.separator),
        )  # fmt: skip
        return Films(path, columns, self.data_format)


film_options = collected(
    FilmOptions,
    "options",
    click.option("--format", "data_format", help="A table (csv, jsonl …), tmdb or imdb-by-genre.  [default: detected]"),
    click.option("--id-field", help="Column of ids.  [default: id]"),
    click.option("--title-field", help="Column of titles.  [default: title]"),
    click.option("--year-field", help="Column of years.  [default: year]"),
    click.option("--genres-field", help="Column of genres: a list or names.  [default: genres]"),
    click.option("--text-field", help="Column of plots.  [default: description]"),
    dialect_options,
)
_index_option = click.option(
    "--index", type=PATH, help="Folder of the index.  [default: MARQUEE_INDEX, or sample films]"
)
_encoder_option = click.option(
    "--encoder", help="sentence-transformers model, a folder or a name.  [default: MARQUEE_ENCODER, or MiniLM]"
)


@click.command(
    short_help="Find films with a similar plot.",
    epilog=examples('similar "A boy finds a dragon egg."', "similar --title Alien --k 5"),
)
@click.argument("text", required=False)
@click.option("--id", "film", help="Id of a film of the index, instead of TEXT.")
@click.option("--title", default="", show_default=False, help="Title of the text; alone, the title of a film.")
@click.option("--k", default=10, type=click.IntRange(1, 100), help="Number of films.")
@click.option("--genre", "genres", multiple=True, help="Only films of this genre; repeat it for any of several.")
@click.option("--year-from", type=int, help="Only films from this year on.")
@click.option("--year-to", type=int, help="Only films up to this year.")
@_index_option
@_encoder_option
@json_option
def similar(
    text: str | None, film: str | None, title: str, k: int, genres: tuple[str, ...],
    year_from: int | None, year_to: int | None, index: Path | None, encoder: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the films most similar to TEXT (or standard input), or to a film by its --id or --title.

    --json prints what POST /similar returns.
    """
    from service.schemas.routes import SimilarAnswer
    from similarity.index.catalog import SearchFilter
    from similarity.index.search import Query, Similar

    if text is None and film is None and not title and not sys.stdin.isatty():
        text = sys.stdin.read()
    if film is not None and (text or title):
        raise click.UsageError("give TEXT or --id, not both")
    if film is None and not (text or title).strip():
        raise click.UsageError("there is nothing to compare; give TEXT, --title, --id, or standard input")
    model = _encoder(encoder)
    query = Query(text or "", title, film, k, SearchFilter(genres, year_from, year_to))
    result = Similar(_live_index(index, model), model).search(query)
    answer = SimilarAnswer.from_result(result, model.name)
    print_json(answer.body()) if as_json else click.echo(answer.as_text())


@click.command(
    "map",
    short_help="Draw the films of an index as an interactive page.",
    epilog=examples("map --out map.html", "map --index var/index --out map.html --method pca"),
)
@_index_option
@_encoder_option
@click.option("--out", type=OutputPath(), required=True, help="HTML file to write.")
@click.option("--method", default="auto", help="pca or umap; auto: UMAP where it is installed.")
@click.option("--limit", default=50_000, type=click.IntRange(3), help="Maximum number of films.")
@json_option
def film_map(index: Path | None, encoder: str | None, out: Path, method: str, limit: int, as_json: bool) -> None:
    """Draw the films of an index in two dimensions, coloured by genre, as one interactive HTML file."""
    from prompts.files import write_text_atomically
    from similarity.map import page, points

    live = _live_index(index, _encoder(encoder))
    drawn = points(live.get(), limit, method)
    name = "Sample films" if live.folder.name == "sample" else live.folder.resolve().name
    write_text_atomically(out, page(drawn, name))
    if as_json:
        return print_json({"films": len(drawn.films), "file": out})
    click.echo(f"{len(drawn.films):,} films: {out}")
    return None


@click.command(
    short_help="Build an index of films for similarity search.",
    epilog=examples("index films.csv --out var/index", "index more.csv --out var/index --append"),
)
@click.argument("file", type=PATH)
@click.option("--out", type=OutputPath(folder=True), required=True, help="Folder of the index.")
@click.option("--append", is_flag=True, help="Add to the index; a film with a known id replaces the older one.")
@click.option("--kind", default="auto", help="flat (exact), hnsw, ivf or ivfpq; auto: by size.")
@click.option("--overwrite", is_flag=True, help="Delete the unfinished build of other data.")
@_encoder_option
@film_options
@json_option
def index(
    file: Path, out: Path, append: bool, kind: str, overwrite: bool, encoder: str | None, options: FilmOptions,
    as_json: bool,
) -> None:  # fmt: skip
    """Build an index of the films in FILE, for `main.py similar` and POST /similar.

    The build is resumable: run the same command again after a crash. The old version is used until the new one is
    complete.
    """
    from similarity.index.builder import FilmSource, build

    films = options.films(file)
    progress = ProgressLine("encoded", unit="films")

    def on_progress(stage: str, count: int) -> None:
        progress.reach(count) if stage == "encoded" else say(f"{stage} {count:,} films")

    source = FilmSource(films, str(films.origin))
    built = build(
        out, source, _encoder(encoder), kind=kind, append=append, overwrite=overwrite, on_progress=on_progress
    )
    _report_counts({f"films {what}": count for what, count in films.noted.items()})
    _report_build(built, as_json)


def _report_build(built: Built, as_json: bool) -> None:
    manifest = built.version.manifest
    _report_counts(
        {
            "films had neither text nor title and were left out": built.without_text,
            "films are unchanged": built.unchanged,
            "films replaced an older row with their id": built.replaced,
            "films have the text of another film; results include one of them": manifest.repeated,
        }
    )
    if not (built.added or built.replaced):
        say("nothing to do: the index has all films")
    if as_json:
        made = {"films": manifest.count, "kind": manifest.kind, "recall@10": manifest.recall}
        return print_json({**made, "folder": built.version.path})
    recall = "exact" if manifest.recall is None else f"recall@10 {manifest.recall:.1%}"
    click.echo(f"{manifest.count:,} films, {manifest.kind}, {recall}: {built.version.path}")
    return None


def _report_counts(counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        if count:
            say(f"{count:,} {what}")


def _encoder(name: str | None) -> IndexEncoder:
    """The encoder of a name, or of the settings."""
    from marquee.settings import read_settings
    from similarity.encoders.minilm import encoder_of

    return encoder_of(read_settings().encoder if name is None else name)


def _live_index(folder: Path | None, encoder: IndexEncoder) -> ReloadingIndex:
    """The index of a folder, or of the settings, or of the sample films."""
    from marquee.settings import read_settings
    from similarity.index.reloading import live

    return live(folder or read_settings().index, encoder)
