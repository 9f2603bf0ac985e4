"""Vectors that can be searched: the kinds of FAISS index (Douze et al. 2024, arXiv 2401.08281) and which suits a size.

Exact search reads every vector: some 5 ms for 100,000 of 384 numbers. Beyond that a graph (HNSW: Malkov and Yashunin
2016, arXiv 1603.09320) or lists around centres (IVF) are a hundred times faster and miss next to nothing. Product
quantisation (PQ) alone misses nearly half: here its candidates are always ranked again by the exact vectors, which stay
on the disk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similarity.errors import InvalidIndex

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

_EXACT_UP_TO = 20_000
_GRAPH_UP_TO = 500_000  # building a graph of more takes hours on two cores
_GRAPH_BREADTH = 200  # candidates for the neighbours of a new vector (efConstruction)
_SLICE = 65_536  # vectors read at once
_FEW = 20_000  # of so few films that pass a filter, all are compared: quicker than to search around the others
_QUERIES, _NEIGHBOURS, _RECALL = 200, 10, 0.995  # queries with which a search's effort is found, and what it must reach
_WIDEST = 16
_PROBES = (8, 16, 32, 64, 128, 256, 512, 1024)  # lists read; plots lie nowhere as tidily as made-up clusters
_PER_CENTRE = 64  # vectors a centre is learnt from
_BYTES = 4  # of a number in the file of vectors


def append_vectors(path: Path, count: int, vectors: Vectors) -> None:
    """Append vectors after the first ``count`` rows, truncate the rest, and sync to disk.

    The file has rows of float32 without a header; the manifest has its shape.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(count * vectors.shape[1] * _BYTES)
        file.seek(0, os.SEEK_END)
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        file.flush()
        os.fsync(file.fileno())


def write_vectors(path: Path, dimension: int, rows: NDArray[np.int64], vectors: Vectors) -> None:
    """Write vectors to the given rows; the file grows if needed."""
    longest = max(int(rows.max()) + 1, path.stat().st_size // (dimension * _BYTES))
    os.truncate(path, longest * dimension * _BYTES)
    file = np.memmap(path, "<f4", "r+", shape=(longest, dimension))
    file[rows] = vectors
    file.flush()


def mapped_vectors(path: Path, rows: int, dimension: int) -> Vectors:
    """The rows, memory-mapped: only pages that are read are in memory."""
    return np.asarray(np.memmap(path, "<f4", "r", shape=(rows, dimension)))


@dataclass(frozen=True)
class IndexKind:
    """A kind of index.

    Attributes:
        min_count: minimum number of vectors.
        factory: FAISS's description of it, for so many vectors; None compares all vectors.
        efforts: values of FAISS's parameter that trades time for recall, tried in order until the recall is reached.
        rerank_factor: how many times more candidates are ranked again by their exact vectors; 1 ranks none again.
    """

    min_count: int = 1
    factory: Callable[[int], str] | None = None
    efforts: tuple[int, ...] = (0,)
    rerank_factor: int = 1


class VectorIndex:
    """Vectors of length 1, shape (films, dimension), searched by cosine. Threads may share it.

    Args:
        kind: a name in ``KINDS``.
        vectors: may be mapped from a file.
        searched: the FAISS index over them.
        effort: value of the kind's parameter.
        recall: share of the ten nearest that it finds at this effort, if it was measured.
    """

    def __init__(
        self, kind: str, vectors: Vectors, searched: Any, effort: int = 0, recall: float | None = None
    ) -> None:
        self.kind, self.vectors, self.effort, self.recall = kind, vectors, effort, recall
        self._faiss = searched

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: Vectors, k: int, among: Rows | None = None) -> tuple[Vectors, Rows]:
        """The nearest vectors, best first.

        Args:
            queries: unit vectors, shape (queries, dimension).
            k: number of neighbours.
            among: sorted rows to search in; None searches in all.

        Returns:
            Cosines and rows, of shape (queries, min(k, vectors)). Where an approximate search finds fewer, the rest
            has row -1.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if among is not None and len(among) <= _FEW:
            return _nearest(queries, self.vectors, np.broadcast_to(among, (len(queries), len(among))), k)
        k = min(k, len(self) if among is None else len(among))
        kind = KINDS[self.kind]
        wanted = min(k * kind.rerank_factor, len(self))
        found, rows = self._faiss.search(queries, wanted, params=self._parameters(among, wanted))
        return (found, rows) if kind.rerank_factor == 1 else _nearest(queries, self.vectors, rows, k)

    def save(self, path: Path) -> None:
        """Write the FAISS index; an exact index needs no file beside the vectors."""
        if KINDS[self.kind].factory:
            _faiss().write_index(self._faiss, str(path))

    def extended(self, vectors: Vectors) -> VectorIndex:
        """Add the vectors after the first ``len(self)`` ones. This object must not be used afterwards."""
        for start in range(len(self), len(vectors), _SLICE):
            self._faiss.add(np.ascontiguousarray(vectors[start : start + _SLICE]))
        return VectorIndex(self.kind, vectors, self._faiss, self.effort, self.recall)

    def _parameters(self, among: Rows | None, wanted: int) -> Any:
        faiss = _faiss()
        chosen = {} if among is None else {"sel": faiss.IDSelectorBitmap(_bitmap(among, len(self)))}
        if self.kind == "flat":
            return faiss.SearchParameters(**chosen) if chosen else None
        # If a filter excludes most vectors, the search must visit proportionally more.
        wide = 1 if among is None else min(_WIDEST, math.ceil(len(self) / len(among)))
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(self.effort, wanted) * wide, **chosen)
        return faiss.SearchParametersIVF(nprobe=self.effort * wide, **chosen)


def kind_of(name: str) -> IndexKind:
    """The kind with a name.

    Raises:
        InvalidIndex: there is none.
    """
    if name not in KINDS:
        raise InvalidIndex(f"there is no kind of index {name!r}; kinds: auto, {', '.join(KINDS)}")
    return KINDS[name]


def kind_for(count: int) -> str:
    """The recommended kind for a number of vectors."""
    if count <= _EXACT_UP_TO:
        return "flat"
    return "hnsw" if count <= _GRAPH_UP_TO else "ivf"


def made(kind: str, vectors: Vectors) -> VectorIndex:
    """Build an index whose effort reaches a recall@10 of 99.5% for its own vectors.

    Raises:
        InvalidIndex: the kind is unknown, or there are too few vectors for it.
    """
    faiss, entry = _faiss(), kind_of(kind)
    if len(vectors) < entry.min_count:
        raise InvalidIndex(f"an index of kind {kind} needs {entry.min_count:,} films; these are {len(vectors):,}")
    description = entry.factory(len(vectors)) if entry.factory else "Flat"
    searched = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        searched.hnsw.efConstruction = _GRAPH_BREADTH
    if not searched.is_trained:
        rows = _sample_rows(len(vectors), max(_PER_CENTRE * _lists(len(vectors)), entry.min_count))
        searched.train(np.ascontiguousarray(vectors[rows]))
    index = VectorIndex(kind, vectors[:0], searched).extended(vectors)
    return _tuned(index) if entry.factory else index


def loaded(kind: str, vectors: Vectors, path: Path, effort: int, recall: float | None) -> VectorIndex:
    """Load an index that was written by ``save``."""
    if not KINDS[kind].factory:
        return made(kind, vectors)
    return VectorIndex(kind, vectors, _faiss().read_index(str(path)), effort, recall)


def _tuned(index: VectorIndex) -> VectorIndex:
    """Set the smallest effort that reaches the recall, or else the largest."""
    own = _sample_rows(len(index), _QUERIES)
    nearest = exact(index.vectors[own], index.vectors, _NEIGHBOURS + 1)
    for effort in KINDS[index.kind].efforts:
        index.effort = effort
        index.recall = recall_of_own(index, own, _NEIGHBOURS, nearest)
        if index.recall >= _RECALL:
            break
    return index


def recall(found: Sequence[Sequence[int]] | Rows, exact: Sequence[Sequence[int]] | Rows) -> float:
    """Share of the exact neighbours that were found; one list or row per query."""
    return float(np.mean([len(set(one) & set(two)) / max(1, len(two)) for one, two in zip(found, exact, strict=True)]))


def recall_of_own(index: VectorIndex, own: Rows, k: int, nearest: Rows | None = None) -> float:
    """Recall@k of an index of two vectors or more for its own vectors; a vector is not its own neighbour.

    Args:
        index: the index.
        own: rows of the queries, shape (queries,).
        k: number of neighbours of each.
        nearest: result of ``exact`` for them and k + 1, if it is known.
    """
    queries = np.ascontiguousarray(index.vectors[own])
    nearest = exact(queries, index.vectors, k + 1) if nearest is None else nearest
    return recall(others(index.search(queries, k + 1)[1], own, k), others(nearest, own, k))


def others(rows: Rows, own: Rows, k: int) -> list[list[int]]:
    """The first k neighbours of each query that are not the query itself.

    ``rows`` has the neighbours, best first, shape (queries, more than k), -1 for none; ``own`` the queries' own rows.
    """
    return [[row for row in found if row not in (-1, itself)][:k]
            for found, itself in zip(rows.tolist(), own.tolist(), strict=True)]  # fmt: skip


def exact(queries: Vectors, vectors: Vectors, k: int) -> Rows:
    """Rows of the k nearest by inner product, best first, shape (queries, min(k, vectors))."""
    faiss = _faiss()
    _, rows = faiss.knn(queries, vectors, min(k, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    return np.asarray(rows)


def _nearest(queries: Vectors, vectors: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    """Re-rank each query's candidates by exact inner product; candidates of row -1 come last."""
    scores = np.stack([vectors[some] @ one for one, some in zip(queries, rows, strict=True)])
    scores = np.where(rows < 0, np.float32(-2), scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _sample_rows(length: int, count: int) -> Rows:
    """A fixed random sample of row numbers, sorted; all if there are no more."""
    if length <= count:
        return np.arange(length)
    return np.sort(np.random.default_rng(0).choice(length, count, replace=False))


def _faiss() -> Any:
    """FAISS as ``Any``: its type hints lack the search parameters."""
    import faiss

    return faiss


def _bitmap(rows: Rows, count: int) -> NDArray[np.uint8]:
    marks = np.zeros(count, bool)
    marks[rows] = True
    return np.packbits(marks, bitorder="little")


def _lists(count: int) -> int:
    """Number of lists of an inverted file: a power of two near four times the root, none of them nearly empty."""
    return max(1, min(1 << round(math.log2(4 * math.sqrt(count))), count // 39))


KINDS: Mapping[str, IndexKind] = {
    "flat": IndexKind(),  # exact: compares all vectors
    "hnsw": IndexKind(1, lambda count: "HNSW32,Flat", (32, 64, 128, 256, 512)),
    "ivf": IndexKind(39, lambda count: f"IVF{_lists(count)},Flat", _PROBES),
    # Compressed vectors, ranked again by the exact ones on the disk: least memory. Of the ten nearest plots, ten
    # candidates leave out one in twenty, however many lists are read.
    "ivfpq": IndexKind(9_984, lambda count: f"IVF{_lists(count)},PQ48", _PROBES, rerank_factor=50),
}
