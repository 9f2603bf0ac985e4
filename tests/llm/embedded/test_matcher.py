"""The matcher that comes with the program: probabilities, any taxonomy, and the laws of every classifier."""

from pathlib import Path

import numpy as np
import pytest

from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import SHIPPED, THRESHOLD, Matcher
from llm.embedded.saved_weights import save
from llm.embedded.weights import GeneralWeights, LabelEmbeddingCache, MatcherWeights, WordFeatures, load
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
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
        ("Friends stumble from one absurd mishap to the next on a disastrous stag night.", "Comedy"),
    ],
)
def test_plain_cases_are_seen(embedded: Matcher, text: str, label: str) -> None:
    assert label in embedded.classify([text], TMDB)[0].labels


def test_any_taxonomy_will_do(embedded: Matcher) -> None:
    texts = [
        "The rocket reached orbit.",
        "Stir the sauce and add salt.",
        "Parliament passed the bill.",
        "She won the final.",
    ]
    found = [prediction.labels[0] for prediction in embedded.classify(texts, TOPICS)]
    assert found == ["space travel", "cooking", "politics", "sport"]


def test_opinions_are_told_apart(embedded: Matcher) -> None:
    texts = [
        "Wonderful from the first scene to the last. I have not laughed so much in years.",
        "A dull, lifeless waste of two hours. Do not bother.",
    ]
    found = [prediction.labels for prediction in embedded.classify(texts, registry.taxonomy("sentiment"))]
    assert found == [("positive",), ("negative",)]


def test_it_says_who_it_is_and_gives_probabilities_best_first(embedded: Matcher) -> None:
    (prediction,) = embedded.classify(["A heist goes wrong."], TMDB)
    assert prediction.source.model == "embedded/matcher.v2"
    assert prediction.source.prompt is None
    assert set(prediction.scores) == set(TMDB.names)
    assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)
    assert all(0 <= score <= 1 for score in prediction.scores.values())
    assert prediction.labels == tuple(prediction.scores)[: len(prediction.labels)]
    assert all(prediction.scores[name] >= THRESHOLD for name in prediction.labels[1:])


def test_where_one_label_is_right_the_probabilities_share_one(embedded: Matcher) -> None:
    for taxonomy in (TOPICS.shaped(multi=False), TMDB.shaped(multi=False)):
        (prediction,) = embedded.classify(["The rocket reached orbit."], taxonomy)
        assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-2)


def test_every_ugly_text_gets_labels_of_the_taxonomy(embedded: Matcher) -> None:
    for taxonomy, texts in ((TMDB, ugly_texts(1_500)), (TOPICS, ugly_texts(1_500)[::3])):
        for prediction in embedded.classify(texts, taxonomy):
            assert prediction.problem is None
            assert 1 <= len(prediction.labels) <= taxonomy.max_labels
            assert set(prediction.labels) <= set(taxonomy.names)


def test_an_empty_text_is_a_problem_in_its_place(embedded: Matcher) -> None:
    first, second, third = embedded.classify(["A war.", " ", "A war."], TMDB)
    assert second.problem is not None
    assert second.problem.kind == "empty"
    assert first.labels == third.labels
    assert embedded.classify([], TMDB) == []
    assert embedded.classify([" "], TMDB)[0].problem == second.problem


def test_a_batch_answers_as_single_texts_do(embedded: Matcher) -> None:
    texts = ["A long story. " * 40, "Short.", "A comedy about a wedding.", "Ghosts haunt a house."]
    for taxonomy in (TMDB, TOPICS):
        together = embedded.classify(texts, taxonomy)
        for text, prediction in zip(texts, together, strict=True):
            alone = embedded.classify([text], taxonomy)[0]
            assert alone.scores == pytest.approx(dict(prediction.scores), abs=0.03)


def test_the_end_of_a_long_plot_is_read_too(embedded: Matcher) -> None:
    ordinary = "They sit at the table and talk about the weather and the price of bread. " * 25
    western = "The sheriff and the outlaws draw their guns in the dusty street of the frontier town. " * 12
    scores = [one.scores["Western"] for one in embedded.classify([ordinary, ordinary + western], TMDB)]
    assert scores[1] > 2 * scores[0]


def test_none_applies_where_nothing_is_related_and_none_is_allowed(embedded: Matcher) -> None:
    taxonomy = TOPICS.shaped(allow_none=True)
    assert embedded.classify(["qwzx 8213 jjj"], taxonomy)[0].labels == ()
    assert embedded.classify(["The rocket reached orbit."], taxonomy)[0].labels == ("space travel",)
    assert len(embedded.classify(["qwzx 8213 jjj"], TOPICS)[0].labels) >= 1


def test_one_label_alone_is_answered(embedded: Matcher) -> None:
    assert embedded.classify(["anything"], Taxonomy("own", (Label("war"),)))[0].labels == ("war",)
    assert embedded.classify(["anything"], Taxonomy("own", (Label("login trouble"),)))[0].labels == ("login trouble",)


def test_a_title_alone_is_a_text(embedded: Matcher) -> None:
    assert embedded.classify([Text("", "The Haunted House of Ghosts")], TMDB)[0].labels[0] == "Horror"


def test_another_spelling_of_a_genre_is_the_same_genre(embedded: Matcher) -> None:
    text = "The crew of a starship is attacked by aliens on a distant planet."
    for names in (("sci-fi", "western", "romance"), ("SF films", "cowboy stories", "love stories")):
        (prediction,) = embedded.classify([text], Taxonomy("own", tuple(map(Label, names))))
        assert prediction.labels == names[:1]


def test_taxonomies_of_films_are_told_from_others(embedded: Matcher) -> None:
    known = LabelEmbeddingCache(embedded.encoder, embedded.weights)
    assert known.of(TMDB).share.min() == known.of(registry.taxonomy("sentiment")).share.min() == 1
    for name in ("tickets", "intents", "emotions"):
        assert known.of(registry.taxonomy(name)).share.max() == 0, name


def test_strange_labels_are_judged_by_both_strategies_and_known_ones_beside_them_by_the_tuned_one(
    embedded: Matcher,
) -> None:
    labels = ("horror", "western", "romance", "musical", "thriller", "samurai duels", "zombies")
    share = LabelEmbeddingCache(embedded.encoder, embedded.weights).of(Taxonomy("own", tuple(map(Label, labels)))).share
    assert share[:4].min() == 1
    assert 0.5 < share[5:].min() <= share[5:].max() < 1


def test_far_from_films_it_is_no_worse_than_plain_minilm(embedded: Matcher, plain: CosineClassifier) -> None:
    from training.matcher.calibration import general

    hits: dict[str, list[bool]] = {"matcher": [], "plain": []}
    for one in general(Path("data/sample"), "test"):
        for name, classifier in (("matcher", embedded), ("plain", plain)):
            found = classifier.classify(one.texts, one.taxonomy)
            hits[name] += [next(iter(p.scores)) in true for p, true in zip(found, one.labels, strict=True)]
    assert np.mean(hits["matcher"]) >= np.mean(hits["plain"])


def test_what_was_learnt_is_a_small_file_that_reads_back(tmp_path: Path) -> None:
    assert SHIPPED.stat().st_size < 15e6
    rng = np.random.default_rng(0)
    change = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 30))
    arrays = {name: rng.normal(size=(2, 384)).astype(np.float32) for name in ("wordings", "offsets")}
    words = WordFeatures(rng.normal(size=(50, 1)).astype(np.float32), np.ones(50, np.float32), np.array([1]))
    learnt = MatcherWeights(
        "t", {"layer.weight": change.astype(np.float32), "layer.bias": np.ones(4, np.float32)},
        labels=np.array([0, 1]), tower={"out.bias": np.ones(384, np.float32)}, biases=np.zeros(2, np.float32),
        scales=np.ones(2, np.float32), words=words, centre=np.zeros(384, np.float32), numbers={"crowd": 1.5},
        general=GeneralWeights({"upper.weight": change.T.astype(np.float32)}, {"out.bias": np.ones(384, np.float32)},
                               np.full(384, 0.5, np.float32)), **arrays,
    )  # fmt: skip
    save(learnt, tmp_path / "t.safetensors", rank=3)
    back = load(tmp_path / "t.safetensors")
    assert (back.name, back.numbers, back.labels.tolist()) == ("t", {"crowd": 1.5}, [0, 1])
    assert back.changes["layer.weight"] == pytest.approx(change, abs=0.02)
    assert back.changes["layer.bias"].tolist() == [1, 1, 1, 1]
    assert (set(back.changes), len(back.changes)) == (set(learnt.changes), 2)
    assert back.tower["out.bias"].tolist() == [1] * 384
    assert back.general.changes["upper.weight"] == pytest.approx(change.T, abs=0.02)
    assert back.general.tower["out.bias"].tolist() == [1] * 384
    assert back.general.centre.tolist() == [0.5] * 384
    assert back.offsets == pytest.approx(learnt.offsets, abs=2e-3)
    assert back.words.weights == pytest.approx(words.weights, abs=0.02)
    assert (back.words.rarity.tolist(), back.words.labels.tolist()) == ([1] * 50, [1])
