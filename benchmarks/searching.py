"""Searches of each kind of index, over made-up clusters or over plots, each in a process of its own for its memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompts.files import replacing
from similarity.index import faiss_index

DIMENSION = 384
_ASKED, _ASKED_EXACT, _K = 500, 40, 10
_OF_A_CLUSTER = 100
_SLICE = 65_536


@dataclass(frozen=True)
class Searched:
    """What was measured of a kind: milliseconds of a query, recall@10, seconds to make it, and megabytes.

    Attributes:
        memory: that the process holds for it alone, beyond what it held before.
        mapped: of the vectors' file that it has looked at; the system may take these back.
    """

    p50: float
    p95: float
    recall: float
    effort: int
    made: float
    memory: float
    mapped: float


def clustered(folder: Path, count: int) -> Path:
    """The file of so many synthetic vectors, made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"clustered-{count}.f32"
    if not path.exists():
        _write(path, count)
    return path


def searched(path: Path, count: int, kinds: Sequence[str], folder: Path) -> dict[str, Searched]:
    """Exact search and these kinds over the same vectors and queries; the indexes are saved in the folder."""
    own, asked = _queries(path, count)
    exact, flat = _apart(folder, path, count, "flat", asked)
    found = {"flat": flat}
    for kind in kinds:
        rows, one = _apart(folder, path, count, kind, asked)
        measured = faiss_index.recall(
            *(faiss_index.others(some[: len(exact)], own[: len(exact)], _K) for some in (rows, exact))
        )
        found[kind] = Searched(one.p50, one.p95, measured, one.effort, one.made, one.memory, one.mapped)
    return found


def _write(path: Path, count: int) -> None:
    """Unit vectors around centres, a hundred around each; neighbours of a cluster have a cosine of about .5."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, count // _OF_A_CLUSTER), DIMENSION), np.float32)
    with replacing(path) as new:
        for start in range(0, count, _SLICE):
            some = min(_SLICE, count - start)
            found = centres[rng.integers(0, len(centres), some)] + rng.standard_normal((some, DIMENSION), np.float32)
            faiss_index.append_vectors(new, start, found / np.linalg.norm(found, axis=1, keepdims=True))


def _queries(path: Path, count: int) -> tuple[Any, Any]:
    """Rows of the file, and their vectors moved a little."""
    rng = np.random.default_rng(1)
    held = faiss_index.mapped_vectors(path, count, DIMENSION)
    own = np.sort(rng.choice(count, min(_ASKED, count), replace=False))
    chosen = held[own]
    moved = chosen + 0.02 * rng.standard_normal(chosen.shape, np.float32)
    return own, np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def _apart(folder: Path, path: Path, count: int, kind: str, asked: Any) -> tuple[Any, Searched]:
    """Make the index in one process and search it in another."""
    spawned = multiprocessing.get_context("spawn")
    saved = folder / f"{kind}-{path.stem}-{count}.faiss"
    with spawned.Pool(1) as pool:
        effort, seconds = pool.apply(_made, (path, count, kind, saved))
    with spawned.Pool(1) as pool:
        some = asked[:_ASKED_EXACT] if kind == "flat" else asked
        rows, times, memory, mapped = pool.apply(_asked, (path, count, kind, saved, effort, some))
    p50, p95 = np.quantile(times, (0.5, 0.95)) * 1_000
    return rows, Searched(float(p50), float(p95), 1.0, effort, seconds, memory, mapped)


def _made(path: Path, count: int, kind: str, saved: Path) -> tuple[int, float]:
    began = time.perf_counter()
    made = faiss_index.made(kind, faiss_index.mapped_vectors(path, count, DIMENSION))
    made.save(saved)
    return made.effort, time.perf_counter() - began


def _asked(
    path: Path, count: int, kind: str, saved: Path, effort: int, asked: Any
) -> tuple[Any, list[float], float, float]:
    import faiss  # noqa: F401  (its own memory is not the index's)

    before = _megabytes("RssAnon"), _megabytes("RssFile")
    loaded = faiss_index.loaded(kind, faiss_index.mapped_vectors(path, count, DIMENSION), saved, effort, None)
    loaded.search(asked[:1], _K + 1)
    rows, times = [], []
    for one in asked:
        began = time.perf_counter()
        rows.append(loaded.search(one[None], _K + 1)[1][0])
        times.append(time.perf_counter() - began)
    after = _megabytes("RssAnon"), _megabytes("RssFile")
    return np.array(rows), times, after[0] - before[0], max(0.0, after[1] - before[1])


def _megabytes(name: str) -> float:
    """A line of this process's status on Linux, in MB (2^20 bytes); elsewhere 0."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
