"""`main.py evaluate-similar`: the quality of similarity search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, OutputPath, ProgressLine, json_option, print_json, refuse_input, say
from cli.group import examples
from cli.similar import FilmOptions, film_options

if TYPE_CHECKING:
    from eval.baselines.embeddings import Space
    from similarity.index.catalog import Film

_CACHE = Path("var/cache/embeddings")


@click.command(
    "evaluate-similar",
    short_help="Measure the quality of similarity search.",
    epilog=examples("evaluate-similar films.csv", "evaluate-similar films.csv --systems tfidf,minilm --out found.json"),
)
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
@json_option
@film_options
def evaluate_similar(
    file: Path, systems: str, queries: int, seed: int, paraphrases: Path | None, folder: Path | None,
    out: Path | None, as_json: bool, options: FilmOptions,
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
    recall = _recall(folder, queries) if folder else None
    report = {"data": file.name, "films": len(films), "seed": seed, "systems": metrics, "index recall@10": recall}
    if as_json:
        print_json(report)
    else:
        _print_table({name: similarity_eval.table_row(values) for name, values in metrics.items()})
        if recall is not None:
            click.echo(f"\n{folder}: recall@10 {recall:.4f} against exact search, over {queries:,} films")
    if out:
        write_text_atomically(out, json.dumps(report, indent=2) + "\n")


def _recall(folder: Path, queries: int) -> float:
    from eval.similarity_eval import index_recall
    from similarity.encoders.minilm import MiniLM
    from similarity.index.reloading import load_index

    encoder = MiniLM()
    return index_recall(load_index(folder, encoder.name, encoder.dimension).vectors, queries)


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
