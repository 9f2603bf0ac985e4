"""`main.py evaluate-similar`: how alike the films are that each system calls alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.films import film_columns, films_of
from cli.output import OutputPath, refuse_input

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eval.similarity_eval import Space
    from similarity.film import Film

_KEPT = Path("var/cache/embeddings")


@click.command("evaluate-similar", short_help="Measure the quality of similarity search.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--systems", default="tfidf,minilm", show_default=True,
              help="tfidf, minilm, minilm-tuned[:WEIGHTS], minilm+genres[:WEIGHTS], with commas between.")  # fmt: skip
@click.option("--queries", default=2_000, show_default=True, type=click.IntRange(1), help="Films asked about.")
@click.option("--seed", default=0, show_default=True, help="Which films are asked about.")
@click.option("--paraphrases", type=click.Path(path_type=Path),
              help='JSON lines of reworded plots, {"id": ..., "text": ...}.')  # fmt: skip
@click.option("--index", "folder", type=click.Path(path_type=Path),
              help="Also: share of the ten nearest that this index of MiniLM's finds.")  # fmt: skip
@click.option("--out", type=OutputPath(), help="File for all figures, as JSON.  [none]")
@film_columns
def evaluate_similar(
    file: Path,
    systems: str,
    queries: int,
    seed: int,
    paraphrases: Path | None,
    folder: Path | None,
    out: Path | None,
    **reading: Any,
) -> None:
    """Measure how well neighbours in FILE match, by genre and by plot.

    Shared genres (share@10, IoU@10, nDCG@10) are shown beside chance, with the share of the catalogue that is ever
    returned. R@1 says whether a plot without a third of its words, or reworded, finds its film. Vectors are cached in
    var/cache/embeddings: the same films are encoded once.

    Vectors are kept in var/cache/embeddings, so that the same films are encoded once.
    """
    from eval import retrieval_systems, similarity_eval
    from prompts.files import write_text_atomically

    refuse_input(out, file, paraphrases)
    films = [film for film in films_of(file, **reading) if film.words]
    if len(films) <= similarity_eval.K:
        raise click.ClickException(f"{file} holds {len(films)} films; the ten nearest need eleven at least")
    rows = similarity_eval.sample_queries(films, queries, seed)
    reworded = _reworded(paraphrases, films) if paraphrases else None
    found: dict[str, Any] = {}
    for spec in (name.strip() for name in systems.split(",")):
        click.echo(f"{spec} ...", err=True)
        space = retrieval_systems.space(spec, [film.words for film in films], _KEPT, _told)
        found[spec] = _figures(space, films, rows, reworded)
    _print({name: similarity_eval.table_row(figures) for name, figures in found.items()})
    share = _recall(folder, queries) if folder else None
    if out:
        told = {"data": file.name, "films": len(films), "seed": seed, "systems": found, "index recall@10": share}
        write_text_atomically(out, json.dumps(told, indent=2) + "\n")


def _recall(folder: Path, queries: int) -> float:
    from eval.similarity_eval import index_recall
    from similarity.encoders.minilm import MiniLM
    from similarity.index.reloading import load_index

    encoder = MiniLM()
    index = load_index(folder, encoder.name, encoder.dimension).vectors
    share = index_recall(index, queries)
    click.echo(f"\n{folder} ({index.kind}): recall@10 {share:.4f} against exact search, over {queries:,} films")
    return share


def _figures(
    space: Space, films: Sequence[Film], rows: Any, reworded: tuple[Any, Sequence[str]] | None
) -> dict[str, Any]:
    from eval import similarity_eval

    found = similarity_eval.genre_agreement(similarity_eval.nearest(space, films, rows), films)
    dropped = [similarity_eval.drop_words(films[row].words, films[row].id) for row in rows]
    found["words dropped"] = similarity_eval.retrieval_metrics(space, rows, dropped)
    if reworded:
        found["reworded"] = similarity_eval.retrieval_metrics(space, *reworded)
    return found


def _reworded(path: Path, films: Sequence[Film]) -> tuple[Any, list[str]]:
    """Rows of the films that a file rewords, and their other wordings."""
    import numpy as np

    from prompts.errors import InvalidDataset
    from tabular import strict_rows

    row_of = {film.id: row for row, film in enumerate(films)}
    lines = list(strict_rows(path))
    for line in lines:
        if line.cells.get("id") not in row_of or not isinstance(line.cells.get("text"), str):
            raise InvalidDataset(f"{line.where}: should be an object with the id of a film of the data, and a text")
    return np.array([row_of[line.cells["id"]] for line in lines]), [line.cells["text"] for line in lines]


def _told(done: int) -> None:
    if done % 10_240 == 0:
        click.echo(f"encoded {done:,} films", err=True)


def _print(rows: Mapping[str, Mapping[str, str]]) -> None:
    heads = list(next(iter(rows.values())))
    click.echo("| system | " + " | ".join(head.strip() for head in heads) + " |")
    click.echo("|---|" + "---:|" * len(heads))
    for name, cells in rows.items():
        click.echo(f"| {name} | " + " | ".join(cells[head] for head in heads) + " |")
