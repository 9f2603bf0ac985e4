"""Evidence of the embedded classifier: what its words and sentences add, and where they are in the text as sent."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from llm.classifier import Evidence
from llm.embedded.matcher import Matcher
from llm.evidence.embedded import LEAST, WORDS, best_sentences, evidence, occluded_words, word_parts
from prompts import registry
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.encoders.tokens import tokenizer

TMDB, IMDB = registry.taxonomy("tmdb"), registry.taxonomy("imdb")
SENTIMENT = registry.taxonomy("sentiment")  # a single label: scores are shares
WESTERN = "A cowboy rides into a lawless frontier town. He falls in love with the school teacher."
OWN = Taxonomy.of(
    {"refund": "the customer wants money back", "crash": "the app stops working"}, multi=True, allow_none=True
)
TEXTS = [
    Text(WESTERN),
    Text(WESTERN, "The Last Sheriff"),
    Text("War, war and WAR again; the war's war-torn soldiers."),
    Text("Ein Sheriff jagt Banditen durch die Wüste. 怪獣が東京を襲う。 \U0001f3a5"),
    Text("\n  The sheriff draws his gun.  ", "  Frontier "),
    Text("They talk about the price of bread. " * 80 + "The sheriff shoots the outlaws."),
]


def quotes(found: list[Evidence], text: Text) -> list[str]:
    """The quotes, each checked against its place."""
    for one in found:
        assert one.quote == (text.title if one.field == "title" else text.body)[one.start : one.end]
    return [one.quote for one in found]


def length(matcher: Matcher, text: Text) -> float:
    """Length of the text's TF-IDF vector, by which the model divides."""
    pieces, counts = np.unique(tokenizer().encode(text.joined, add_special_tokens=False).ids, return_counts=True)
    return float(np.linalg.norm((1 + np.log(counts)) * matcher.weights.words.rarity[pieces]))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("taxonomy", [TMDB, IMDB, SENTIMENT], ids=lambda taxonomy: taxonomy.name)
def test_words_add_up_to_the_word_part_of_the_score(embedded: Matcher, text: Text, taxonomy: Taxonomy) -> None:
    parts = word_parts(embedded, text, taxonomy.names, taxonomy)
    logits = embedded.weights.words.logits([text.joined]) @ embedded.word_weights(taxonomy).T
    assert np.abs(logits).max() > 0.001
    assert parts.added.sum(axis=0) == pytest.approx(logits[0], abs=1e-5)


@pytest.mark.parametrize("word", ["cowboy", "frontier", "teacher"])
def test_a_removed_word_takes_its_contribution_with_it(embedded: Matcher, word: str) -> None:
    """Exactly so before the text's vector is divided by its length, which is the only step that is not linear."""
    text, labels = Text(WESTERN), ["Western", "Romance"]
    without = Text(WESTERN.replace(f" {word}", ""))
    parts = word_parts(embedded, text, labels, TMDB)
    (row,) = [at for at, place in enumerate(parts.places) if place and place.of(text) == word]
    before, after = parts.added.sum(axis=0), word_parts(embedded, without, labels, TMDB).added.sum(axis=0)
    remaining = (before - parts.added[row]) * length(embedded, text)
    assert after * length(embedded, without) == pytest.approx(remaining, abs=1e-4)


def test_a_word_that_is_repeated_counts_once_for_all_its_places(embedded: Matcher) -> None:
    text = Text("The SHERIFF waits. Another sheriff waits. The Sheriff leaves.")
    (found,) = [one for one in evidence(embedded, text, ["Western"], TMDB) if one.quote.lower() == "sheriff"]
    assert (found.kind, found.quote, found.start) == ("word", "SHERIFF", 4)


def test_a_sentence_adds_what_the_score_loses_without_it(embedded: Matcher) -> None:
    text = Text(WESTERN)
    passage, added = best_sentences(embedded, text, ["Western"], TMDB)["Western"]
    assert passage.of(text) == "A cowboy rides into a lawless frontier town."
    scores = [one.scores["Western"] for one in embedded.classify([text, passage.removed(text)], TMDB)]
    with_it, without = (np.log(score / (1 - score)) for score in scores)
    assert added == pytest.approx(with_it - without, abs=0.2)  # scores are rounded
    assert added > 1


def test_evidence_is_sorted_and_has_a_minimum(embedded: Matcher) -> None:
    found = evidence(embedded, TEXTS[1], ["Western", "Romance"], TMDB)
    western = [one for one in found if one.label == "Western"]
    assert [one.label for one in found] == sorted((one.label for one in found), reverse=True)
    assert [one.kind for one in western] == ["sentence", *["word"] * WORDS]
    added = [one.contribution or 0.0 for one in western[1:]]
    assert added == sorted(added, reverse=True)
    assert min(one.contribution or 0.0 for one in found) >= LEAST
    assert "Sheriff" in quotes(found, TEXTS[1])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (Text("\U0001f920\U0001f920 The Shériff draws.\nHe shoots the outlaws."), "Shériff"),
        (Text("  The She\u0301riff draws.\nHe shoots the outlaws."), "She\u0301riff"),
        (Text("The ﬁlm has a sheriff\u200b in it.\r\nHe shoots outlaws."), "sheriff"),
        (Text("  He shoots outlaws.", "\t The Sheriff "), "Sheriff"),
        (Text("", " The Sheriff and the Outlaws"), "Sheriff"),
    ],
)
def test_places_are_those_of_the_text_as_it_was_sent(embedded: Matcher, text: Text, word: str) -> None:
    assert word in quotes(evidence(embedded, text, ["Western"], TMDB), text)


def test_the_sentence_of_a_text_beyond_the_window_is_found(embedded: Matcher) -> None:
    (sentence, *words) = evidence(embedded, TEXTS[-1], ["Western"], TMDB)
    assert (sentence.kind, sentence.quote) == ("sentence", "The sheriff shoots the outlaws.")
    assert {"sheriff", "outlaws"} <= {one.quote for one in words}


def test_labels_unknown_to_the_training_have_a_sentence_and_no_words(embedded: Matcher) -> None:
    text = Text("Ich war schon oft hier. My card was charged twice, so please refund one payment. The weather is nice.")
    (found,) = evidence(embedded, text, ["refund"], OWN)
    assert quotes([found], text) == ["My card was charged twice, so please refund one payment."]
    assert not embedded.word_weights(Taxonomy.of(["invoice", "login"], multi=True)).any()


def test_an_inner_label_of_a_hierarchy_has_the_sentence_of_the_labels_below_it(embedded: Matcher) -> None:
    shop = Hierarchy.of({"Electronics": ["Cameras", "Phones"], "Books": ["Novels", "Cookery books"]}, multi=False)
    text = Text("The lens is sharp and the tripod light. It came in a box. My aunt lives by the sea.")
    for taxonomy in (shop, cut(shop, 1, None)):
        (found,) = embedded.classify([text], taxonomy)
        (one,) = evidence(embedded, text, found.labels, taxonomy)
        assert one.label in ("Electronics > Cameras", "Electronics")
        assert quotes([one], text) == ["The lens is sharp and the tripod light."]
        (without,) = embedded.classify([text.body.replace(one.quote, "")], taxonomy)
        odds = [np.log(score / (1 - score)) for score in (found.scores[one.label], without.scores[one.label])]
        assert one.contribution == pytest.approx(odds[0] - odds[1], abs=0.2)


def test_genres_in_a_hierarchy_have_the_words_of_flat_ones(embedded: Matcher) -> None:
    genres = {"Loud": ["Western", "War"], "Quiet": ["Romance", "Drama"]}
    found = evidence(embedded, Text(WESTERN), ["Loud > Western", "Loud"], Hierarchy.of(genres))
    assert "cowboy" in [one.quote for one in found if one.label == "Loud > Western" and one.kind == "word"]
    assert [one.kind for one in found if one.label == "Loud"] == ["sentence"]


QUESTIONS = Taxonomy.of(["refund", "delivery", "login trouble"], multi=False)
ONE_SENTENCE = [
    Text("My card was charged twice, please give me my money back"),
    Text("  I can't log in since you've changed the pass\u00advision \U0001f629 page!  "),
    Text("Wann kommt die Bestellung, auf die ich seit Montag warte?"),
    Text("我的包裹 parcel 还没有到"),
    Text("", "Where is the parcel that was to come on Monday?"),
]


@pytest.mark.parametrize("text", ONE_SENTENCE, ids=range(len(ONE_SENTENCE)))
def test_a_word_left_out_adds_what_the_score_loses_without_it(embedded: Matcher, text: Text) -> None:
    """The claimed difference is that of two texts, each scored by itself."""
    (label,) = embedded.classify([text], QUESTIONS)[0].labels
    found = evidence(embedded, text, [label], QUESTIONS)
    assert {one.kind for one in found} == {"occlusion"}
    assert quotes(found, text)
    for one in found:
        whole = text.title if one.field == "title" else text.body
        rest = whole[: one.start] + whole[one.end :]
        without = replace(text, **{"title" if one.field == "title" else "body": rest})
        alone = [embedded.unrounded([words.joined], QUESTIONS)[0] for words in (text, without)]
        before, after = (np.log(scores / (1 - scores))[QUESTIONS.names.index(label)] for scores in alone)
        assert one.contribution == pytest.approx(before - after, abs=2e-4)
    added = [one.contribution or 0.0 for one in found]
    assert added == sorted(added, reverse=True)
    assert min(added) >= LEAST
    assert len(added) <= WORDS


def test_words_left_out_are_the_same_whatever_other_labels_are_explained(embedded: Matcher) -> None:
    text, together = ONE_SENTENCE[0], occluded_words(embedded, ONE_SENTENCE[0], QUESTIONS.names, QUESTIONS)
    for label in QUESTIONS.names:
        assert occluded_words(embedded, text, [label], QUESTIONS)[label] == together[label]


def test_each_text_without_a_word_is_encoded_once(embedded: Matcher, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    unrounded = Matcher.unrounded

    def counting(self: Matcher, texts: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
        encoded.extend(texts)
        return unrounded(self, texts, taxonomy)

    monkeypatch.setattr(Matcher, "unrounded", counting)
    evidence(embedded, Text("please refund my order"), QUESTIONS.names, QUESTIONS)
    assert sorted(encoded) == sorted(
        ["please refund my order", " refund my order", "please  my order", "please refund  order", "please refund my "]
    )


@pytest.mark.parametrize("text", ["refund", "refund !!", "no no no", "\U0001f3a5 \U0001f4b3"])
def test_where_no_word_moves_the_score_there_is_no_evidence(embedded: Matcher, text: str) -> None:
    assert evidence(embedded, Text(text), ["a thing"], Taxonomy.of(["a thing", "another thing"], multi=True)) == []


def test_neighbours_of_a_long_sentence_are_left_out_together(embedded: Matcher) -> None:
    text = Text("a " * 62 + "please refund my order")
    (first, *_) = evidence(embedded, text, ["refund"], QUESTIONS)
    assert (first.kind, first.quote) == ("occlusion", "please refund")


@pytest.mark.parametrize("text", ["A cowboy rides into town", "qwzx", "\U0001f3a5", "x" * 5_000, "\u200b", "\0"])
def test_a_single_sentence_is_no_part_of_the_text(embedded: Matcher, text: str) -> None:
    found = evidence(embedded, Text(text), ["Western"], TMDB)
    assert evidence(embedded, Text(text), [], TMDB) == []
    assert text not in [one.quote for one in found if one.kind == "sentence"]
