"""Similar films: encoding against sentence-transformers, approximate search against exact, building, and serving."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from benchmarks.measure import spread, table
from prompts.errors import MarqueeError
from similarity.errors import SimilarityError
from similarity.index.faiss_index import KINDS

if TYPE_CHECKING:
    from benchmarks.searching import Searched
    from similarity.film import Film
    from similarity.index.manifest import Version

_K = 10


@dataclass(frozen=True)
class SimilarityPlan:
    """How much is measured.

    Attributes:
        texts: of a round of encoding.
        rounds: of encoding.
        vectors: synthetic ones, for the search.
        kinds: of index, beside exact search.
        films: of the index that is built and served.
        clients: at once.
        requests: of all clients together.
        folder: for vectors and indexes.
    """

    texts: int = 512
    rounds: int = 5
    vectors: int = 1_000_000
    kinds: tuple[str, ...] = ("hnsw", "ivf", "ivfpq")
    films: int = 100_000
    clients: int = 32
    requests: int = 2_000
    folder: Path = Path("var/bench-similarity")


SMOKE = SimilarityPlan(8, 1, 2_000, ("hnsw", "ivf"), 40, 2, 8)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path),
              help="Films: a table.  [default: imdb_genres.jsonl.gz in BENCH_DATA, or else data/sample]")  # fmt: skip
@click.option("--parts", default="encode,search,build,plots,serve", show_default=True, help="What to measure.")
@click.option(
    "--vectors", default=SimilarityPlan.vectors, show_default=True, help="Synthetic clustered vectors to search."
)
@click.option(
    "--kinds", default=",".join(SimilarityPlan.kinds), show_default=True, help="Kinds of index beside exact search."
)
@click.option("--films", default=SimilarityPlan.films, show_default=True, help="The most films to build an index of.")
@click.option("--clients", default=SimilarityPlan.clients, show_default=True, help="Clients of the service at once.")
@click.option("--smoke", is_flag=True, help="Tiny sizes: does the code run?")
def main(
    data: Path | None, parts: str, vectors: int, kinds: str, films: int, clients: int, smoke: bool
) -> None:  # fmt: skip
    """Measure the encoder, the indexes and `POST /similar`.

    Texts per second of the encoder against sentence-transformers' default; searches of approximate indexes against
    exact ones (milliseconds, recall@10, memory); texts per second of index building; latency of POST /similar under
    concurrent clients. Ratios are from one run.
    """
    plan = (
        SMOKE if smoke else SimilarityPlan(vectors=vectors, kinds=tuple(kinds.split(",")), films=films, clients=clients)
    )
    plan = replace(plan, folder=plan.folder / ("smoke" if smoke else "full"))
    try:
        given = _films(data)
        for name in (one.strip() for one in parts.split(",")):
            if name not in PARTS:
                raise click.BadParameter(f"there is no part {name!r}; parts: {', '.join(PARTS)}")
            click.echo(f"{name} ...", err=True)
            click.echo(f"\n### {name}\n\n{PARTS[name](plan, given)}")
    except (MarqueeError, SimilarityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"\n{_provenance(given)}")


def _films(data: Path | None) -> Any:
    """The films to encode and to build of; of the sample, its own columns."""
    import os

    from benchmarks.texts import SAMPLE
    from eval.datasets.film_list import FilmColumns, Films

    collected = Path(os.environ.get("BENCH_DATA", "")) / "imdb_genres.jsonl.gz"
    path = data or (collected if os.environ.get("BENCH_DATA") and collected.exists() else SAMPLE)
    sample = path.resolve() == SAMPLE.resolve()
    return Films(path, FilmColumns(text="plot", genres="tmdb_genres") if sample else FilmColumns())


def _provenance(given: Any) -> str:
    names = ("faiss-cpu", "sentence-transformers", "torch", "numpy")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Films of {given.path.name}; {platform.machine()}, Python {platform.python_version()}, {libraries}. "
        "Medians, least–most in brackets. Figures of one machine and one run: compare ratios only."
    )


# --- encode ---


def _encode(plan: SimilarityPlan, given: Any) -> str:
    """Ours and sentence-transformers' default in turn, the same texts at the same batch size."""
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from similarity.encoders.minilm import MiniLM
    from similarity.encoders.tokens import weights_folder

    texts = [film.words for film in islice(given, plan.texts)]
    ours, plain = MiniLM(), SentenceTransformer(weights_folder(), local_files_only=True)
    contenders: Mapping[str, Callable[[Sequence[str]], Any]] = {
        "sentence-transformers, as it comes": lambda some: plain.encode(
            some, batch_size=32, normalize_embeddings=True, show_progress_bar=False
        ),
        "`MiniLM`": ours.encode,
    }
    vectors = [encode(texts[:32]) for encode in contenders.values()]  # warms up
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(plan.rounds):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            contenders[name](texts)
            rates[name].append(len(texts) / (time.perf_counter() - began))
    slow, fast = rates.values()
    ratios = [two / one for one, two in zip(slow, fast, strict=True)]
    cosines = np.einsum("nd,nd->n", *vectors)
    rows = [[name, spread(found)] for name, found in rates.items()]
    return "\n\n".join(
        (
            table(("who", "texts/s, batch 32"), rows),
            table(
                ("target", "wanted", "found", ""),
                [
                    _target("times as fast", median(ratios), 3, spread(ratios, 2)),
                    _target("least cosine to float32", float(cosines.min()), 0.999, f"{cosines.min():.5f}"),
                ],
            ),
        )
    )


# --- search ---


def _search(plan: SimilarityPlan, given: Any) -> str:
    from benchmarks.searching import clustered, searched

    found = searched(clustered(plan.folder, plan.vectors), plan.vectors, plan.kinds, plan.folder)
    words = f"{plan.vectors:,} synthetic clustered vectors of 384 numbers, one query at a time."
    return _searches(found, words, targets=True)


def _plots(plan: SimilarityPlan, given: Any) -> str:
    """The same over real plots, which lie less tidily; so few that exact search is not slow."""
    from benchmarks.searching import searched
    from similarity.index.manifest import VECTORS

    version = _built_films(plan, given)
    kinds = [kind for kind in plan.kinds if KINDS[kind].min_count <= version.manifest.count]
    found = searched(version.path / VECTORS, version.manifest.count, kinds, plan.folder)
    return _searches(found, f"{version.manifest.count:,} plots, one query at a time.", targets=False)


def _searches(found: Mapping[str, Searched], words: str, targets: bool) -> str:
    exact = found["flat"]
    heads = ("kind", "p50 ms", "p95 ms", "times exact", "recall@10", "effort", "made in s", "memory MB", "mapped MB")
    rows = [_kind_row(name, one, exact) for name, one in found.items()]
    told = "\n\n".join((words, table(heads, rows)))
    if not targets:
        return told
    aims = [row for name, one in found.items() if name != "flat" for row in _kind_targets(name, one, exact)]
    return "\n\n".join((told, table(("target", "wanted", "found", ""), aims)))


def _kind_row(name: str, one: Searched, exact: Searched) -> list[str]:
    figures = [f"{one.p50:.2f}", f"{one.p95:.2f}", f"{exact.p50 / one.p50:,.1f}", f"{one.recall:.4f}"]
    return [name, *figures, str(one.effort), f"{one.made:,.0f}", f"{one.memory:,.0f}", f"{one.mapped:,.0f}"]


def _kind_targets(name: str, one: Searched, exact: Searched) -> list[list[str]]:
    return [
        _target(f"{name}: times as fast as exact", exact.p50 / one.p50, 100, f"{exact.p50 / one.p50:,.0f}"),
        _target(f"{name}: recall@10", one.recall, 0.99, f"{one.recall:.4f}"),
        _target(f"{name}: p95, ms", one.p95, 5, f"{one.p95:.2f}", least=False),
    ]


# --- build and serve ---


def _build(plan: SimilarityPlan, given: Any) -> str:
    import shutil

    from similarity.encoders.minilm import MiniLM
    from similarity.index.builder import FilmSource, build

    encoder = MiniLM()
    encoder.encode(["A first text, which loads the model."])
    films: list[Film] = list(islice(given, plan.films))
    shutil.rmtree(plan.folder / "films", ignore_errors=True)
    began = time.perf_counter()
    built = build(plan.folder / "films", FilmSource(films, given.origin), encoder)
    seconds = time.perf_counter() - began
    manifest = built.version.manifest
    size = sum(fact["bytes"] for fact in manifest.files.values()) / 2**20
    row = [f"{manifest.count:,}", manifest.kind, f"{seconds:,.1f}", f"{len(films) / seconds:,.1f}", f"{size:,.0f}"]
    return table(("films", "kind", "seconds", "texts/s", "MB on the disk"), [row])


def _built_films(plan: SimilarityPlan, given: Any) -> Version:
    """The index that ``build`` left, or else makes now."""
    from similarity.index.manifest import current

    if current(plan.folder / "films") is None:
        _build(plan, given)
    version = current(plan.folder / "films")
    assert version
    return version


def _serve(plan: SimilarityPlan, given: Any) -> str:
    """Each request another text, so that no answer is remembered."""
    import httpx2

    from tests.support.process import service

    _built_films(plan, given)
    words = [film.words for film in islice(given, plan.requests)]
    texts = [f"{words[number % len(words)]} {number}" for number in range(plan.requests)]
    with service(MARQUEE_INDEX=str((plan.folder / "films").resolve())) as running, httpx2.Client(timeout=120) as client:
        url = f"{running.url}/similar"

        def ask(text: str) -> float:
            began = time.perf_counter()
            client.post(url, json={"text": text, "k": _K}).raise_for_status()
            return time.perf_counter() - began

        ask("A first question, which opens the index.")
        alone = sorted(map(ask, (f"alone {text}" for text in texts[:50])))
        began = time.perf_counter()
        with ThreadPoolExecutor(plan.clients) as pool:
            seconds = sorted(pool.map(ask, texts))
        rate = len(seconds) / (time.perf_counter() - began)
    rows = [_clients_row(1, alone, 1 / median(alone)), _clients_row(plan.clients, seconds, rate)]
    return table(("clients at once", "requests", "p50 ms", "p95 ms", "requests/s"), rows)


def _clients_row(clients: int, seconds: Sequence[float], rate: float) -> list[str]:
    """Of seconds in order."""
    times = [f"{1_000 * found:.1f}" for found in (median(seconds), _high(seconds))]
    return [str(clients), str(len(seconds)), *times, f"{rate:.0f}"]


def _high(ordered: Sequence[float]) -> float:
    return ordered[int(0.95 * (len(ordered) - 1))]


def _target(what: str, found: float, bound: float, shown: str, least: bool = True) -> list[str]:
    reached = found >= bound if least else found <= bound
    return [what, f"{'≥' if least else '≤'} {bound:g}", shown, "reached" if reached else "**not reached**"]


PARTS: Mapping[str, Callable[[SimilarityPlan, Any], str]] = {
    "encode": _encode,
    "search": _search,
    "build": _build,
    "plots": _plots,
    "serve": _serve,
}

if __name__ == "__main__":
    main()
