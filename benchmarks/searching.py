"""Searches of each kind of index over synthetic or real vectors, one process per kind to measure its memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prompts.files import replacing
from similarity.index import faiss_index

DIMENSION = 384
_QUERIES, _EXACT_QUERIES, _K = 500, 40, 10
_CLUSTER_SIZE = 100
_SLICE = 65_536


@dataclass(frozen=True)
class KindResult:
    """Measurements of a kind of index.

    Attributes:
        p50: milliseconds per query, median; ``p95``: 95th percentile.
        recall: recall@10 without self-hits.
        memory: MB of private memory that loading and searching add to the process.
        mapped: MB of the mapped vector file that searching reads; the operating system can reclaim them.
    """

    p50: float
    p95: float
    recall: float
    effort: int
    build_seconds: float
    memory: float
    mapped: float


def clustered(folder: Path, count: int) -> Path:
    """Return the file of ``count`` synthetic vectors; it is created once."""
    path = folder / f"clustered-{count}.f32"
    if not path.exists():
        _write(path, count)
    return path


def search_all(path: Path, count: int, kinds: Sequence[str], folder: Path) -> dict[str, KindResult]:
    """Measure exact search and these kinds over the same vectors and queries; the indexes are saved in the folder."""
    own, queries = _queries(path, count)
    exact, flat = _measure(folder, path, count, "flat", queries)
    results = {"flat": flat}
    for kind in kinds:
        rows, result = _measure(folder, path, count, kind, queries)
        neighbours = (faiss_index.others(found[: len(exact)], own[: len(exact)], _K) for found in (rows, exact))
        results[kind] = replace(result, recall=faiss_index.recall(*neighbours))
    return results


def _write(path: Path, count: int) -> None:
    """Write unit vectors, 100 per cluster; two vectors of a cluster have a cosine of about 0.5."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, count // _CLUSTER_SIZE), DIMENSION), np.float32)
    with replacing(path) as new:
        for start in range(0, count, _SLICE):
            size = min(_SLICE, count - start)
            noise = rng.standard_normal((size, DIMENSION), np.float32)
            vectors = centres[rng.integers(0, len(centres), size)] + noise
            faiss_index.append_vectors(new, start, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _queries(path: Path, count: int) -> tuple[Any, Any]:
    """Return rows of the file, and their vectors with a little noise."""
    rng = np.random.default_rng(1)
    vectors = faiss_index.mapped_vectors(path, count, DIMENSION)
    own = np.sort(rng.choice(count, min(_QUERIES, count), replace=False))
    chosen = vectors[own]
    moved = chosen + 0.02 * rng.standard_normal(chosen.shape, np.float32)
    return own, np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def _measure(folder: Path, path: Path, count: int, kind: str, queries: Any) -> tuple[Any, KindResult]:
    """Build the index in one process and search it in another."""
    spawned = multiprocessing.get_context("spawn")
    saved = folder / f"{kind}-{path.stem}-{count}.faiss"
    with spawned.Pool(1) as pool:
        effort, seconds = pool.apply(_build, (path, count, kind, saved))
    with spawned.Pool(1) as pool:
        sent = queries[:_EXACT_QUERIES] if kind == "flat" else queries
        rows, times, memory, mapped = pool.apply(_search, (path, count, kind, saved, effort, sent))
    p50, p95 = np.quantile(times, (0.5, 0.95)) * 1_000
    return rows, KindResult(float(p50), float(p95), 1.0, effort, seconds, memory, mapped)


def _build(path: Path, count: int, kind: str, saved: Path) -> tuple[int, float]:
    start = time.perf_counter()
    index = faiss_index.made(kind, faiss_index.mapped_vectors(path, count, DIMENSION))
    index.save(saved)
    return index.effort, time.perf_counter() - start


def _search(
    path: Path, count: int, kind: str, saved: Path, effort: int, queries: Any
) -> tuple[Any, list[float], float, float]:
    import faiss  # noqa: F401  (excludes the library's own memory)

    anonymous, mapped = _megabytes("RssAnon"), _megabytes("RssFile")
    index = faiss_index.loaded(kind, faiss_index.mapped_vectors(path, count, DIMENSION), saved, effort, None)
    index.search(queries[:1], _K + 1)
    rows, times = [], []
    for query in queries:
        start = time.perf_counter()
        rows.append(index.search(query[None], _K + 1)[1][0])
        times.append(time.perf_counter() - start)
    return np.array(rows), times, _megabytes("RssAnon") - anonymous, max(0.0, _megabytes("RssFile") - mapped)


def _megabytes(name: str) -> float:
    """Return a value of this process's status in MB (2^20 bytes) on Linux; elsewhere 0."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
