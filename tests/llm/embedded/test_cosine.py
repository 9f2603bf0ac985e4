"""The embedded classifier on the real MiniLM: sensible, honest, and lawful with every text."""

import pytest

from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher
from llm.embedded.weights import LabelEmbeddingCache
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.similarity.words import Words
from tests.support.ugly import ugly_texts

TMDB = registry.taxonomy("tmdb")
TOPICS = Taxonomy("own", tuple(Label(name) for name in ("sport", "politics", "cooking", "space travel")), max_labels=2)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A cowboy rides into a lawless frontier town to face a gang of outlaws.", "Western"),
        ("The crew of a starship is attacked by aliens on a distant planet.", "Science Fiction"),
        ("A young wizard learns magic to defeat a dragon.", "Fantasy"),
        ("Soldiers crawl through trenches as the battle rages.", "War"),
    ],
)
def test_plain_cases_are_seen(plain: CosineClassifier, text: str, label: str) -> None:
    assert label in plain.classify([text], TMDB)[0].labels


def test_any_taxonomy_will_do(plain: CosineClassifier) -> None:
    texts = [
        "The rocket reached orbit.",
        "Stir the sauce and add salt.",
        "Parliament passed the bill.",
        "She won the final.",
    ]
    found = [prediction.labels[0] for prediction in plain.classify(texts, TOPICS)]
    assert found == ["space travel", "cooking", "politics", "sport"]


def test_it_says_who_it_is_and_scores_every_label_best_first(plain: CosineClassifier) -> None:
    (prediction,) = plain.classify(["A heist goes wrong."], TMDB)
    assert prediction.source.model == "embedded/all-MiniLM-L6-v2"
    assert prediction.source.prompt is None
    assert set(prediction.scores) == set(TMDB.names)
    assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)
    assert prediction.labels == tuple(prediction.scores)[: len(prediction.labels)]


def test_every_ugly_text_gets_labels_of_the_taxonomy(plain: CosineClassifier) -> None:
    for prediction in plain.classify(ugly_texts(1_500), TMDB):
        assert prediction.problem is None
        assert 1 <= len(prediction.labels) <= TMDB.max_labels
        assert set(prediction.labels) <= set(TMDB.names)


def test_an_empty_text_is_a_problem_in_its_place(plain: CosineClassifier) -> None:
    first, second, third = plain.classify(["A war.", " ", "A war."], TMDB)
    assert second.problem is not None
    assert second.problem.kind == "empty"
    assert first == third
    assert plain.classify([], TMDB) == []


def test_a_batch_answers_as_single_texts_do(plain: CosineClassifier) -> None:
    texts = ["A long story. " * 40, "Short.", "A comedy about a wedding.", "Ghosts haunt a house."]
    together = plain.classify(texts, TMDB)
    for text, prediction in zip(texts, together, strict=True):
        alone = plain.classify([text], TMDB)[0]
        assert alone.labels == prediction.labels
        assert alone.scores == pytest.approx(dict(prediction.scores), abs=0.01)


def test_a_single_label_is_the_best_one(plain: CosineClassifier) -> None:
    (prediction,) = plain.classify(["A warm and wonderful film, I loved it."], registry.taxonomy("sentiment"))
    assert prediction.labels == ("positive",)


def test_none_applies_where_nothing_is_related_and_none_is_allowed(plain: CosineClassifier) -> None:
    taxonomy = TOPICS.shaped(allow_none=True)
    assert plain.classify(["qwzx 8213 jjj"], taxonomy)[0].labels == ()
    assert plain.classify(["The rocket reached orbit."], taxonomy)[0].labels == ("space travel",)
    assert len(plain.classify(["qwzx 8213 jjj"], TOPICS)[0].labels) >= 1


def test_one_label_alone_is_answered(plain: CosineClassifier) -> None:
    assert plain.classify(["anything"], Taxonomy("own", (Label("war"),)))[0].labels == ("war",)


def test_a_title_alone_is_a_text(plain: CosineClassifier) -> None:
    assert plain.classify([Text("", "The Haunted House of Ghosts")], TMDB)[0].labels[0] == "Horror"


@pytest.mark.parametrize(("labels", "kept"), [(100, 4), (200, 2), (1_000, 0)])
def test_the_cache_of_label_vectors_is_limited_in_bytes(labels: int, kept: int) -> None:
    encoder = Words()
    plain = CosineClassifier(encoder, max_bytes=450 * Words.dimension * 4)
    own = [Taxonomy("own", tuple(Label(f"{turn} {n}") for n in range(labels))) for turn in range(20)]
    for taxonomy in own:
        assert plain.label_vectors(taxonomy).shape == (labels, Words.dimension)
        assert plain._labels._size <= 450 * Words.dimension * 4
    encoder.calls.clear()
    for taxonomy in own[::-1]:
        plain.label_vectors(taxonomy)
    assert len(encoder.calls) == 20 - kept


def test_a_taxonomy_in_use_stays_in_the_cache_of_label_vectors(embedded: Matcher) -> None:
    own = [Taxonomy("own", tuple(Label(f"{turn} {n}") for n in range(8))) for turn in range(12)]
    known = LabelEmbeddingCache(embedded.encoder, embedded.weights, max_bytes=90_000)
    first = known.of(own[0])
    for taxonomy in own:
        known.of(taxonomy)
        assert known.of(own[0]) is first
        assert 0 < known._cache._size <= 90_000
    assert known.of(own[1]) is not known.of(own[2])
