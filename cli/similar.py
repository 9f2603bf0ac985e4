"""`main.py similar`, `index`, `map` and `evaluate-similar`: search, build and draw a film index, and measure it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, OutputPath, ProgressLine, collected, dialect_options, refuse_input, say
from cli.group import examples

if TYPE_CHECKING:
    from eval.baselines.embeddings import Space
    from eval.datasets.film_list import Films
    from similarity.index.builder import Built, IndexEncoder
    from similarity.index.catalog import Film
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as POST /similar returns it.")
def similar(
    text: str | None, film: str | None, title: str, k: int, genres: tuple[str, ...],
    year_from: int | None, year_to: int | None, index: Path | None, encoder: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the films most similar to TEXT (or standard input), or to a film by its --id or --title."""
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
    click.echo(json.dumps(answer.body(), ensure_ascii=False) if as_json else answer.as_text())


@click.command("map", short_help="Draw the films of an index as an interactive page.")
@_index_option
@_encoder_option
@click.option("--out", type=OutputPath(), required=True, help="HTML file to write.")
@click.option("--method", default="auto", help="pca or umap; auto: UMAP where it is installed.")
@click.option("--limit", default=50_000, type=click.IntRange(3), help="Maximum number of films.")
def film_map(index: Path | None, encoder: str | None, out: Path, method: str, limit: int) -> None:
    """Draw the films of an index in two dimensions, coloured by genre, as one interactive HTML file."""
    from prompts.files import write_text_atomically
    from similarity.map import page, points

    live = _live_index(index, _encoder(encoder))
    drawn = points(live.get(), limit, method)
    name = "Sample films" if live.folder.name == "sample" else live.folder.resolve().name
    write_text_atomically(out, page(drawn, name))
    click.echo(f"{len(drawn.films):,} films: {out}")


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
def index(
    file: Path, out: Path, append: bool, kind: str, overwrite: bool, encoder: str | None, options: FilmOptions
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
    _report_build(built)


def _report_build(built: Built) -> None:
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
    recall = "exact" if manifest.recall is None else f"recall@10 {manifest.recall:.1%}"
    click.echo(f"{manifest.count:,} films, {manifest.kind}, {recall}: {built.version.path}")


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


_CACHE = Path("var/cache/embeddings")


@click.command("evaluate-similar", short_help="Measure the quality of similarity search.")
@click.argument("file", type=PATH)
@click.option(
    "--systems",
    default="tfidf,minilm",
    help="tfidf, minilm, minilm-tuned[:WEIGHTS], minilm+genres[:WEIGHTS], with commas between.",
)
@click.option("--queries", default=2_000, type=click.IntRange(1), help="Number of query films.")
@click.option("--seed", default=0, help="Seed of the choice of query films.")
@click.option("--paraphrases", type=PATH, help='JSON lines of reworded plots, {"id": ..., "text": ...}.')
@click.option("--index", "folder", type=PATH, help="Measure recall@10 of this MiniLM index too.")
@click.option("--out", type=OutputPath(), help="JSON file for all metrics.  [none]")
@film_options
def evaluate_similar(
    file: Path, systems: str, queries: int, seed: int, paraphrases: Path | None, folder: Path | None,
    out: Path | None, options: FilmOptions,
) -> None:  # fmt: skip
    """Measure how well the neighbours of films in FILE match, by genre and by plot.

    Shared genres (share@10, IoU@10, nDCG@10) are shown beside chance, with the share of the catalogue that is ever
    returned. R@1 is the share of plots that find their film after a third of their words is dropped, or reworded.
    Vectors are cached in var/cache/embeddings: the same films are encoded once.
    """
    from eval import similarity_eval
    from eval.baselines.embeddings import space as space_of
    from prompts.files import write_text_atomically

    refuse_input(out, file, paraphrases)
    films = [film for film in options.films(file) if film.words]
    if len(films) <= similarity_eval.K:
        raise click.ClickException(f"{file} has {len(films)} films; the ten nearest need at least eleven")
    rows = similarity_eval.sample_queries(films, queries, seed)
    reworded = _paraphrases(paraphrases, films) if paraphrases else None
    metrics: dict[str, Any] = {}
    for spec in (name.strip() for name in systems.split(",")):
        say(f"{spec} ...")
        progress = ProgressLine("encoded", len(films), "films")
        space = space_of(spec, [film.words for film in films], _CACHE, progress.reach)
        metrics[spec] = _metrics(space, films, rows, reworded)
    _print_table({name: similarity_eval.table_row(values) for name, values in metrics.items()})
    recall = _recall(folder, queries) if folder else None
    if out:
        report = {"data": file.name, "films": len(films), "seed": seed, "systems": metrics, "index recall@10": recall}
        write_text_atomically(out, json.dumps(report, indent=2) + "\n")


def _recall(folder: Path, queries: int) -> float:
    from eval.similarity_eval import index_recall
    from similarity.encoders.minilm import MiniLM
    from similarity.index.reloading import load_index

    encoder = MiniLM()
    index = load_index(folder, encoder.name, encoder.dimension).vectors
    recall = index_recall(index, queries)
    click.echo(f"\n{folder} ({index.kind}): recall@10 {recall:.4f} against exact search, over {queries:,} films")
    return recall


def _metrics(
    space: Space, films: Sequence[Film], rows: Any, reworded: tuple[Any, Sequence[str]] | None
) -> dict[str, Any]:  # fmt: skip
    from eval import similarity_eval

    metrics = similarity_eval.genre_agreement(similarity_eval.nearest(space, films, rows), films)
    dropped = [similarity_eval.drop_words(films[row].words, films[row].id) for row in rows]
    metrics["words dropped"] = similarity_eval.retrieval_metrics(space, rows, dropped)
    if reworded:
        metrics["reworded"] = similarity_eval.retrieval_metrics(space, *reworded)
    return metrics


def _paraphrases(path: Path, films: Sequence[Film]) -> tuple[Any, list[str]]:
    """The rows of the films in a file of paraphrases, and their reworded plots."""
    import numpy as np

    from prompts.errors import InvalidDataset
    from tabular import strict_rows

    row_of = {film.id: row for row, film in enumerate(films)}
    lines = list(strict_rows(path))
    for line in lines:
        if line.cells.get("id") not in row_of or not isinstance(line.cells.get("text"), str):
            raise InvalidDataset(f"{line.where}: should be an object with the id of a film of the data, and a text")
    return np.array([row_of[line.cells["id"]] for line in lines]), [line.cells["text"] for line in lines]


def _print_table(rows: dict[str, Any]) -> None:
    heads = list(next(iter(rows.values())))
    click.echo("| system | " + " | ".join(head.strip() for head in heads) + " |")
    click.echo("|---|" + "---:|" * len(heads))
    for name, cells in rows.items():
        click.echo(f"| {name} | " + " | ".join(cells[head] for head in heads) + " |")
