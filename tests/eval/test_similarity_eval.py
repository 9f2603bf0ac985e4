"""Figures of similar films, against the same figures computed the long way."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.baselines.embeddings import Encoded, TfIdf
from eval.similarity_eval import (
    Genres,
    K,
    NeighbourRows,
    drop_words,
    genre_agreement,
    index_recall,
    nearest,
    ranks,
    retrieval_metrics,
    sample_queries,
)
from similarity.index.catalog import Film
from similarity.index.faiss_index import made
from tests.similarity.words import Words

RNG = np.random.default_rng(3)
NAMES = ("Drama", "Comedy", "War", "Romance", "Horror")


def catalogue(count: int) -> list[Film]:
    found = []
    for number in range(count):
        genres = tuple(name for name in NAMES if RNG.random() < 0.4) or ("Drama",)
        words = " ".join(
            [f"w{number % 7}", f"w{number % 11}", *(f"{name.lower()}s" for name in genres), f"own{number}"]
        )
        found.append(Film(f"f{number}", f"Film {number}", 2000, genres, words))
    return found


FILMS = catalogue(60)


def overlap(one: Film, two: Film) -> float:
    return len({*one.genres} & {*two.genres}) / len({*one.genres} | {*two.genres})


def test_figures_are_those_of_their_definitions() -> None:
    queries = np.arange(0, 60, 3)
    rows = np.array([RNG.choice([row for row in range(60) if row != query], K, replace=False) for query in queries])
    found = genre_agreement(NeighbourRows(queries, rows), FILMS)
    gains = [[overlap(FILMS[query], FILMS[row]) for row in some] for query, some in zip(queries, rows, strict=True)]
    others = [[overlap(FILMS[query], two) for row, two in enumerate(FILMS) if row != query] for query in queries]
    shares = np.mean(np.array(gains) > 0, axis=1)
    chance = np.mean([np.mean(np.array(one) > 0) for one in others])
    assert found["share@10"] == pytest.approx(
        {"mean": shares.mean(), "sd": shares.std(), "chance": chance, "lift": (shares.mean() - chance) / (1 - chance)}
    )
    assert found["IoU@10"]["mean"] == pytest.approx(np.mean(gains))
    assert found["IoU@10"]["chance"] == pytest.approx(np.mean([np.mean(one) for one in others]))
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = [sorted(one, reverse=True)[:10] @ discounts for one in others]
    assert found["nDCG@10"]["mean"] == pytest.approx(np.mean(np.array(gains) @ discounts / ideal))
    assert found["coverage"] == len({*rows.ravel()}) / 60


def test_random_neighbours_have_no_lift() -> None:
    queries = np.arange(60)
    rows = np.array([RNG.permutation(np.delete(queries, query))[:K] for query in queries])
    assert genre_agreement(NeighbourRows(queries, rows), FILMS)["share@10"]["lift"] == pytest.approx(0, abs=0.1)


def test_films_without_genres_are_not_asked_about() -> None:
    bare = [*FILMS, Film("bare", "Bare", 2000, (), "w1")]
    queries = np.array([0, 60])
    assert genre_agreement(NeighbourRows(queries, np.tile(np.arange(10, 20), (2, 1))), bare)["queries"] == 1


@pytest.mark.parametrize("kind", ["words", "tfidf"])
def test_neighbours_are_the_nearest_without_the_film_and_its_duplicates(kind: str) -> None:
    twins = [
        Film("text", "Other", 1990, ("War",), f" {FILMS[5].text.upper()}"),
        Film("title", "film 5", 2000, ("War",), FILMS[5].text + " again"),
    ]
    films = [*FILMS, *twins]
    texts = [film.text for film in films]
    space = TfIdf(texts) if kind == "tfidf" else Encoded(Words(), texts)
    found = nearest(space, films, np.array([5, 9])).rows
    scores = np.asarray(space.scores([FILMS[5].text]))[0]
    expected = [row for row in np.argsort(-scores, kind="stable") if row not in (5, 60, 61)][:K]
    assert scores[found[0]] == pytest.approx(scores[expected], abs=1e-6)
    assert not {5, 60, 61} & set(found[0].tolist())


def test_a_small_catalogue_has_fewer_neighbours() -> None:
    few = FILMS[:4]
    found = nearest(Encoded(Words(), [film.text for film in few]), few, np.array([0]))
    assert sorted(found.rows[0].tolist())[-3:] == [1, 2, 3]
    assert (found.rows[0] == -1).sum() == 7
    assert genre_agreement(found, few)["coverage"] == 0.75


def test_a_reworded_plot_finds_its_film_at_its_rank() -> None:
    class Fixed:
        def scores(self, texts: object) -> NDArray[np.float32]:
            return np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4], [0.6, 0.5, 0.4]], np.float32)

    found = retrieval_metrics(Fixed(), np.array([0, 1, 2]), ["a", "b", "c"])
    assert found == pytest.approx({"texts": 3, "R@1": 1 / 3, "R@10": 1, "MRR": (1 + 1 / 2 + 1 / 3) / 3})


def test_recall_is_counted_against_exact_search() -> None:
    vectors = Words().encode([film.text for film in FILMS])
    assert index_recall(made("flat", vectors), 30) == 1
    assert index_recall(made("hnsw", vectors), 1_000) > 0.9


def test_words_are_dropped_in_the_same_way_every_time_and_never_all() -> None:
    text = " ".join(f"word{number}" for number in range(1_000))
    left = drop_words(text, "f1").split()
    assert 650 < len(left) < 750
    assert left == drop_words(text, "f1").split() != drop_words(text, "f2").split()
    assert all(drop_words("one", seed) == "one" for seed in "abcdefghij")


def test_genre_sets_overlap_as_sets_do() -> None:
    genres = Genres.read(FILMS)
    table = genres.overlap(np.arange(len(genres.sets)))
    for one, two in product(range(0, 60, 7), range(0, 60, 5)):
        assert table[genres.of[one], genres.of[two]] == pytest.approx(overlap(FILMS[one], FILMS[two]))


def test_the_same_films_are_asked_about_every_time() -> None:
    assert sample_queries(FILMS, 10).tolist() == sample_queries(FILMS, 10).tolist()
    assert sample_queries(FILMS, 100).tolist() == list(range(60))


def test_ranks_and_overlaps_are_per_query_what_the_figures_average() -> None:
    texts, rows = [film.words for film in FILMS], np.arange(len(FILMS))
    space = TfIdf(texts)
    halves = [text.split()[0] for text in texts]
    each = ranks(space, rows, halves)
    by_hand = [sorted(row, reverse=True).index(row[own]) + 1 for own, row in enumerate(space.scores(halves).tolist())]
    assert each.tolist() == by_hand
    assert each.max() > 1
    assert retrieval_metrics(space, rows, halves)["MRR"] == pytest.approx((1 / each).mean())
    neighbours = nearest(space, FILMS, rows)
    shared = [sum(overlap(FILMS[row], FILMS[near]) for near in neighbours.rows[row] if near >= 0) / K for row in rows]
    assert neighbours.overlaps(Genres.read(FILMS)).mean(axis=1) == pytest.approx(shared)
