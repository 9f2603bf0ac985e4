"""The kinds of index, over clustered vectors, against exact search."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from similarity.errors import InvalidIndex
from similarity.index import faiss_index
from similarity.index.faiss_index import KINDS, VectorIndex

Vectors = NDArray[np.float32]
COUNT, DIMENSION = 4_000, 48
# 16 centroids a sub-vector instead of 256, which take a minute to learn; the exact ranking behind them is the same.
QUICK = {"ivfpq": replace(KINDS["ivfpq"], min_count=624, factory=lambda count: "IVF64,PQ12x4")}
Rows = NDArray[np.int64]
# Forty directions in a plane, unevenly apart so that no two neighbours are equally near.
ANGLES = np.cumsum(np.linspace(0.02, 0.2, 40))
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
NEAREST = [[int(row) for row in np.argsort(-(RING @ one), kind="stable") if row != own][:10]
           for own, one in enumerate(RING)]  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((60, DIMENSION))
    found = centres[rng.integers(0, 60, COUNT)] + rng.standard_normal((COUNT, DIMENSION))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, vectors: Vectors) -> VectorIndex:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(faiss_index, "KINDS", {**KINDS, **QUICK})
        return faiss_index.made(request.param, vectors)


def sorted_all(asked: Vectors, vectors: Vectors, k: int) -> NDArray[np.int64]:
    return np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :k]


def test_it_finds_the_nearest_with_their_cosines(made: VectorIndex, vectors: Vectors) -> None:
    asked = vectors[100:150]
    scores, rows = made.search(asked, 10)
    assert faiss_index.recall(rows, sorted_all(asked, vectors, 10)) > 0.98
    assert rows[:, 0].tolist() == list(range(100, 150))
    assert scores == pytest.approx(np.einsum("qd,qkd->qk", asked, vectors[rows]), abs=1e-5)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_its_recall_was_measured_when_it_was_made(made: VectorIndex) -> None:
    assert (made.recall is None) == (made.kind == "flat")
    assert made.recall is None or made.recall >= 0.99


class Searching(VectorIndex):
    """An index that finds what the test says."""

    def __init__(self, vectors: Vectors, find: Callable[[int], list[int]]) -> None:
        super().__init__("flat", vectors, None)
        self._find = find

    def search(self, asked: Vectors, k: int, among: Rows | None = None) -> tuple[Vectors, Rows]:
        own = (asked @ self.vectors.T).argmax(axis=1)
        found = [(self._find(int(row)) + [-1] * k)[:k] for row in own]
        return np.zeros((len(asked), k), np.float32), np.array(found)


@pytest.mark.parametrize(
    ("find", "share"),
    [
        (lambda own: [own], 0),  # only itself
        (lambda own: [], 0),
        (lambda own: [own, *NEAREST[own][:5]], 0.5),
        (lambda own: NEAREST[own], 1),  # itself is missing, its neighbours are not
        (lambda own: [own, *NEAREST[own]], 1),
    ],
)
def test_a_query_that_finds_itself_adds_nothing_to_the_recall(find: Callable[[int], list[int]], share: float) -> None:
    own = np.array([0, 7, 31])
    assert faiss_index.recall_of_own(Searching(RING, find), own, 10) == pytest.approx(share)
    assert faiss_index.recall_of_own(faiss_index.made("flat", RING), own, 10) == 1


@pytest.mark.parametrize("count", [2, 5, 11])
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_of_few_vectors_all_others_are_the_neighbours(kind: str, count: int) -> None:
    assert faiss_index.recall_of_own(faiss_index.made(kind, RING[:count]), np.arange(count), 10) == 1


@pytest.mark.parametrize("few", [20_000, 0])
def test_a_choice_of_rows_is_kept_to_and_searched_as_well(
    made: VectorIndex, vectors: Vectors, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "_FEW", few)  # 0: FAISS itself passes over the others
    among = np.arange(0, COUNT, 7)
    asked = vectors[100:130]
    rows = made.search(asked, 10, among)[1]
    assert set(rows.ravel()) <= set(among)
    assert faiss_index.recall(rows, among[sorted_all(asked, vectors[among], 10)]) > 0.95


def test_it_reads_back_as_it_was_saved(made: VectorIndex, vectors: Vectors, tmp_path: Path) -> None:
    made.save(tmp_path / "index.faiss")
    again = faiss_index.loaded(made.kind, vectors, tmp_path / "index.faiss", made.effort, made.recall)
    assert again.search(vectors[:5], 10)[1].tolist() == made.search(vectors[:5], 10)[1].tolist()
    assert (tmp_path / "index.faiss").exists() == (made.kind != "flat")


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.factory])
@pytest.mark.parametrize("count", [10_000, 1_000_000])
def test_faiss_knows_every_kind_for_vectors_of_minilm(kind: str, count: int) -> None:
    factory = KINDS[kind].factory
    assert factory is not None
    assert faiss.index_factory(384, factory(count), faiss.METRIC_INNER_PRODUCT).d == 384


def test_exact_neighbours_are_found_slice_by_slice(vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "_SLICE", 999)
    asked = vectors[:20]
    assert faiss_index.recall(faiss_index.exact(asked, vectors, 10), sorted_all(asked, vectors, 10)) == 1


def test_more_than_there_is_gives_all_there_is(vectors: Vectors) -> None:
    small = faiss_index.made("flat", vectors[:4])
    assert small.search(vectors[:1], 10)[1].shape == (1, 4)
    assert small.search(vectors[:1], 10, np.array([1, 3]))[1].shape == (1, 2)


def test_the_kind_follows_the_size() -> None:
    sizes = {1: "flat", 20_000: "flat", 20_001: "hnsw", 500_001: "ivf", 10_000_000: "ivf"}
    assert {size: faiss_index.kind_for(size) for size in sizes} == sizes


def test_too_few_vectors_for_a_kind_are_refused(vectors: Vectors) -> None:
    with pytest.raises(InvalidIndex, match=r"ivfpq needs 9,984 films; these are 4,000"):
        faiss_index.made("ivfpq", vectors)
