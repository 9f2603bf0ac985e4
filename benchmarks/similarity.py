"""Similar films: encoding against sentence-transformers, approximate search against exact, index building, serving."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from benchmarks import measure
from prompts.errors import MarqueeError
from similarity.errors import SimilarityError
from similarity.index.faiss_index import KINDS

if TYPE_CHECKING:
    from benchmarks.searching import KindResult
    from similarity.index.catalog import Film
    from similarity.index.versions import Version

_K = 10


@dataclass(frozen=True)
class SimilarityPlan:
    """Size of the measurement.

    Attributes:
        vectors: synthetic vectors to search.
        films: maximum films of the index that is built and served.
        kinds: kinds of index, in addition to exact search.
        texts: texts per round of encoding.
        requests: requests of all clients.
        words: words of each plot that are indexed; None is all. Requests have whole plots.
        folder: of the vectors and indexes.
    """

    vectors: int
    films: int
    clients: int
    kinds: tuple[str, ...]
    texts: int = 512
    rounds: int = 5
    requests: int = 2_000
    words: int | None = None
    folder: Path = Path("var/bench-similarity/full")


_SMOKE = SimilarityPlan(2_000, 40, 2, ("hnsw", "ivf"), 8, 1, 8, 8, Path("var/bench-similarity/smoke"))


@click.command(context_settings=measure.COMMAND)
@click.option("--data", type=click.Path(path_type=Path),
              help="Films: a table.  [default: imdb_genres.jsonl.gz in BENCH_DATA, else data/sample]")  # fmt: skip
@click.option("--parts", default="encode,search,build,plots,serve", show_default=True, help="What to measure.")
@click.option("--vectors", default=1_000_000, show_default=True, help="Synthetic clustered vectors to search.")
@click.option("--kinds", default="hnsw,ivf,ivfpq", show_default=True, help="Kinds of approximate index.")
@click.option("--films", default=100_000, show_default=True, help="Maximum films of the index.")
@click.option("--requests", default=2_000, show_default=True, help="Requests of all clients together.")
@click.option("--words", type=int, help="Index so many words of each plot, for a quicker build.  [default: all]")
@click.option("--clients", default=32, show_default=True, help="Concurrent clients of the service.")
@click.option("--smoke", is_flag=True, help="Tiny sizes, to test that the code runs.")
def main(
    data: Path | None, parts: str, vectors: int, kinds: str, films: int, requests: int, words: int | None, clients: int,
    smoke: bool,
) -> None:  # fmt: skip
    """Measure the encoder, the indexes and `POST /similar`.

    Texts per second of the encoder against sentence-transformers' default; searches of approximate indexes against
    exact ones (milliseconds, recall@10, memory); texts per second of index building; latency of POST /similar under
    concurrent clients. Ratios are from one run.
    """
    sizes = SimilarityPlan(vectors, films, clients, tuple(kinds.split(",")), requests=requests, words=words)
    plan = _SMOKE if smoke else sizes
    try:
        source = _films(data)
        for name in (part.strip() for part in parts.split(",")):
            if name not in PARTS:
                raise click.BadParameter(f"unknown part {name!r}; the parts are {', '.join(PARTS)}")
            click.echo(f"{name} ...", err=True)
            click.echo(f"\n### {name}\n\n{PARTS[name](plan, source)}")
    except (MarqueeError, SimilarityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{_provenance(source)}")


def _films(data: Path | None) -> Any:
    """Return the films to encode and to index."""
    from eval.datasets.film_list import FilmColumns, Films

    collected = Path(os.environ.get("BENCH_DATA", "")) / "imdb_genres.jsonl.gz"
    path = data or (collected if os.environ.get("BENCH_DATA") and collected.exists() else measure.SAMPLE)
    sample = path.resolve() == measure.SAMPLE.resolve()
    return Films(path, FilmColumns(text="plot", genres="tmdb_genres") if sample else FilmColumns())


def _provenance(films: Any) -> str:
    names = ("faiss-cpu", "sentence-transformers", "torch", "numpy")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Films of {films.path.name}; {libraries}. Medians, minimum–maximum in brackets. Compare ratios only: one "
        f"machine, one run. {measure.cpu_path()}"
    )


# --- encode ---


def _encode(plan: SimilarityPlan, films: Any) -> str:
    """Alternate our encoder and sentence-transformers' default over the same texts at the same batch size."""
    from similarity.encoders.minilm import MiniLM

    texts = [film.words for film in islice(films, plan.texts)]
    ours, stock = MiniLM(), measure.stock_encoder()
    encoders: Mapping[str, Callable[[Sequence[str]], Any]] = {
        "sentence-transformers, by default": lambda batch: stock.encode(
            batch, batch_size=32, normalize_embeddings=True, show_progress_bar=False
        ),
        "`MiniLM`": ours.encode,
    }
    plain, own = (encode(texts[:32]) for encode in encoders.values())  # warms up
    rates = measure.Rounds()
    for number in range(plan.rounds):
        for name in list(encoders)[:: 1 if number % 2 else -1]:
            rates.add(name, len(texts) / measure.seconds(lambda name=name: encoders[name](texts)))  # type: ignore[misc]
    speedups, cosine = rates.ratios("`MiniLM`", "sentence-transformers, by default"), float((plain * own).sum(1).min())
    targets = [
        measure.target("speed-up over sentence-transformers", median(speedups), 3, shown=measure.spread(speedups, 2)),
        measure.target("minimum cosine to float32", cosine, 0.999, shown=f"{cosine:.5f}"),
    ]
    rows = [[name, measure.spread(rates.values[name])] for name in encoders]
    return "\n\n".join((measure.table(("encoder", "texts/s, batch 32"), rows), measure.target_table(targets)))


# --- search ---


def _search(plan: SimilarityPlan, films: Any) -> str:
    from benchmarks.searching import clustered, search_all

    results = search_all(clustered(plan.folder, plan.vectors), plan.vectors, plan.kinds, plan.folder)
    summary = f"{plan.vectors:,} synthetic clustered vectors of 384 numbers, one query at a time."
    return _searches(results, summary, targets=True)


def _plots(plan: SimilarityPlan, films: Any) -> str:
    """Search real plots: less clearly clustered, and too few for a slow exact search."""
    from benchmarks.searching import search_all
    from similarity.index.versions import VECTORS

    version = _built_films(plan, films)
    kinds = [kind for kind in plan.kinds if KINDS[kind].min_count <= version.manifest.count]
    results = search_all(version.path / VECTORS, version.manifest.count, kinds, plan.folder)
    return _searches(results, f"{version.manifest.count:,} plots, one query at a time.", targets=False)


def _searches(results: Mapping[str, KindResult], summary: str, targets: bool) -> str:
    exact = results["flat"]
    heads = ("kind", "p50 ms", "p95 ms", "times exact", "recall@10", "effort", "built in s", "memory MB", "mapped MB")
    parts = [summary, measure.table(heads, [_kind_row(*row, exact) for row in results.items()])]
    if targets:
        others = (row for row in results.items() if row[0] != "flat")
        parts.append(measure.target_table([row for other in others for row in _kind_targets(*other, exact)]))
    return "\n\n".join(parts)


def _kind_row(name: str, result: KindResult, exact: KindResult) -> list[str]:
    speed = [f"{result.p50:.2f}", f"{result.p95:.2f}", f"{exact.p50 / result.p50:,.1f}", f"{result.recall:.4f}"]
    sizes = [f"{value:,.0f}" for value in (result.build_seconds, result.memory, result.mapped)]
    return [name, *speed, str(result.effort), *sizes]


def _kind_targets(name: str, result: KindResult, exact: KindResult) -> list[list[str]]:
    speedup = exact.p50 / result.p50
    return [
        measure.target(f"{name}: speed-up over exact search", speedup, 100, shown=f"{speedup:,.0f}"),
        measure.target(f"{name}: recall@10", result.recall, 0.99, shown=f"{result.recall:.4f}"),
        measure.target(f"{name}: p95", result.p95, 5, "ms", most=True),
    ]


# --- build and serve ---


def _build(plan: SimilarityPlan, films: Any) -> str:
    import shutil

    from similarity.encoders.minilm import MiniLM
    from similarity.index.builder import FilmSource, build

    encoder = MiniLM()
    encoder.encode(["The first text loads the model."])
    rows = [_shortened(film, plan.words) for film in islice(films, plan.films)]
    shutil.rmtree(plan.folder / "films", ignore_errors=True)
    start = time.perf_counter()
    manifest = build(plan.folder / "films", FilmSource(rows, films.origin), encoder).version.manifest
    elapsed = time.perf_counter() - start
    size = sum(fact["bytes"] for fact in manifest.files.values()) / 2**20
    row = [f"{manifest.count:,}", manifest.kind, f"{elapsed:,.1f}", f"{len(rows) / elapsed:,.1f}", f"{size:,.0f}"]
    return measure.table(("films", "kind", "seconds", "texts/s", "MB on the disk"), [row])


def _shortened(film: Film, words: int | None) -> Film:
    return film if words is None else replace(film, text=" ".join(film.text.split()[:words]))


def _built_films(plan: SimilarityPlan, films: Any) -> Version:
    """Return the index of the part ``build``; without one, build it."""
    from similarity.index.versions import current

    version = current(plan.folder / "films")
    if version is None:
        _build(plan, films)
        version = current(plan.folder / "films")
    assert version
    return version


def _serve(plan: SimilarityPlan, films: Any) -> str:
    """Send a different text per request, so that no answer is cached; the encoder encodes the same texts before."""
    from benchmarks.service_load import send
    from similarity.encoders.minilm import MiniLM
    from tests.support.process import service

    manifest = _built_films(plan, films).manifest
    words = [film.words for film in islice(films, plan.requests)]
    texts = [f"{words[number % len(words)]} {number}" for number in range(plan.requests)]
    encoder = MiniLM()
    encoder.encode(texts[:32])
    offline = texts[: plan.texts]
    encoded = len(offline) / measure.seconds(lambda: encoder.encode(offline))
    with service(MARQUEE_INDEX=str((plan.folder / "films").resolve())) as running:
        send(running.url, [f"first {text}" for text in texts[: plan.clients]], plan.clients, "/similar", k=_K)
        start = time.perf_counter()
        alone = send(running.url, [f"alone {text}" for text in texts[:50]], 1, "/similar", k=_K)
        middle = time.perf_counter()
        shared = send(running.url, texts, plan.clients, "/similar", k=_K)
        end = time.perf_counter()
    rates = len(alone) / (middle - start), len(shared) / (end - middle)
    rows = [_clients_row(1, alone, rates[0], encoded), _clients_row(plan.clients, shared, rates[1], encoded)]
    heads = ("concurrent clients", "requests", "p50 ms", "p95 ms", "requests/s", "of the encoder's own texts/s")
    kind = f"{manifest.count:,} films (`{manifest.kind}`); the encoder by itself: {encoded:.0f} texts/s."
    return f"{kind}\n\n{measure.table(heads, rows)}"


def _clients_row(clients: int, seconds: Sequence[float], rate: float, encoded: float) -> list[str]:
    ordered = sorted(seconds)
    p50, p95 = median(ordered), ordered[int(0.95 * (len(ordered) - 1))]
    times = [f"{1_000 * p50:.1f}", f"{1_000 * p95:.1f}", f"{rate:.0f}", f"{rate / encoded:.2f}"]
    return [str(clients), str(len(ordered)), *times]


PARTS: Mapping[str, Callable[[SimilarityPlan, Any], str]] = {
    "encode": _encode,
    "search": _search,
    "build": _build,
    "plots": _plots,
    "serve": _serve,
}

if __name__ == "__main__":
    main()
