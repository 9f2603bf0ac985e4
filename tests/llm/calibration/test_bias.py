"""The correction of a model's bias towards labels: from neutral texts, asked once, for single labels only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from llm.backends.backend import Conversation, FakeBackend, TokenLogprobs
from llm.calibration.bias import NEUTRAL_TEXTS, STRENGTH, BiasEstimates
from llm.calibration.thresholds import LabelThreshold, ThresholdStore
from llm.classifier import Problem
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from llm.wrappers.combined import Shortlist
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TOPICS = Taxonomy("topics", (Label("art"), Label("sport"), Label("trade")), multi=False)
NEUTRAL = {text.body for text in NEUTRAL_TEXTS}


class Biased(FakeBackend):
    """Prefers ``art`` by a factor of 20 whatever the text is; a text that names a label makes it 8 times as probable.

    ``fails`` are texts without an answer.
    """

    scores_labels = True

    def __init__(self, fails: Sequence[str] = ()) -> None:
        super().__init__()
        self.fails = list(fails)
        self.read: list[str] = []

    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        return [self._scored(str(conversation[-1]["content"]), names) for conversation in conversations]

    def _scored(self, question: str, names: Sequence[str]) -> TokenLogprobs:
        self.read.append(question)
        if any(text in question for text in self.fails):
            return TokenLogprobs(problem=Problem("busy", "try again"))
        weights = {name: (20 if name == "art" else 1) * (8 if f"about {name}" in question else 1) for name in names}
        return TokenLogprobs({name: math.log(weight / sum(weights.values())) for name, weight in weights.items()})


def model(backend: Biased, thresholds: ThresholdStore | None = None) -> LanguageModel:
    likelihood = STRATEGIES["label_likelihood"]
    return LanguageModel(backend, likelihood, thresholds=thresholds or ThresholdStore(), bias=BiasEstimates())


def asked_about_neutral_texts(backend: Biased) -> int:
    return sum(any(text in question for text in NEUTRAL) for question in backend.read)


def test_a_label_that_the_model_prefers_whatever_the_text_is_loses_its_advantage() -> None:
    without = replace(model(Biased()), bias=None).classify(["about sport"], TOPICS)[0]
    (corrected,) = model(Biased()).classify(["about sport"], TOPICS)
    assert (without.labels, corrected.labels) == (("art",), ("sport",))
    assert sum(corrected.scores.values()) == pytest.approx(1)
    assert corrected.scores["sport"] / corrected.scores["art"] == pytest.approx(8 / 20 * 20**STRENGTH)


def test_the_neutral_texts_are_read_once_for_a_taxonomy_and_a_prompt() -> None:
    backend = Biased()
    classifier = model(backend)
    for text in ("about sport", "about trade"):
        classifier.classify([text, "rain"], TOPICS)
    assert asked_about_neutral_texts(backend) == len(NEUTRAL_TEXTS)
    classifier.classify(["about art"], replace(TOPICS, labels=TOPICS.labels[::-1]))
    assert asked_about_neutral_texts(backend) == 2 * len(NEUTRAL_TEXTS)


def test_one_text_is_a_batch_of_one() -> None:
    texts = ["about sport", "rain", "about art"]
    together = model(Biased()).classify(texts, TOPICS)
    assert together == [model(Biased()).classify([text], TOPICS)[0] for text in texts]


def test_several_labels_two_labels_and_candidates_of_a_shortlist_are_not_corrected() -> None:
    backend = Biased()
    model(backend).classify(["about sport"], replace(TOPICS, labels=TOPICS.labels[:2]))
    model(backend).classify(["about sport"], TOPICS.shaped(multi=True))
    small = replace(model(Biased()), bias=None)
    (listed,) = Shortlist(small, model(backend), 2).classify(["about sport"], TOPICS)
    assert listed.labels == ("art",)
    assert asked_about_neutral_texts(backend) == 0


def test_what_is_learned_takes_precedence(tmp_path: object) -> None:
    class Learned(ThresholdStore):
        def get(self, key: str, mutually_exclusive: bool) -> LabelThreshold:
            return LabelThreshold(0.0, {"trade": 9.0})

    backend = Biased()
    assert model(backend, Learned()).classify(["about sport"], TOPICS)[0].labels == ("trade",)
    assert asked_about_neutral_texts(backend) == 0


def test_without_an_estimate_a_text_has_the_problem_and_the_next_one_tries_again() -> None:
    backend = Biased(fails=[NEUTRAL_TEXTS[3].body])
    classifier = model(backend)
    (failed,) = classifier.classify(["about sport"], TOPICS)
    assert (failed.labels, failed.scores) == ((), {})
    assert failed.problem == Problem("busy", "try again")
    backend.fails.clear()
    assert classifier.classify(["about sport"], TOPICS)[0].labels == ("sport",)


def test_the_cache_key_and_the_rule_tell_corrected_answers_from_others() -> None:
    corrected = model(Biased())
    plain = replace(corrected, bias=None)
    text = Text("about sport")
    assert corrected.fingerprint(text, TOPICS) != plain.fingerprint(text, TOPICS)
    assert corrected.decode_rule(text, TOPICS) == plain.decode_rule(text, TOPICS) + ", bias corrected by neutral texts"


def test_none_of_these_is_corrected_with_the_labels() -> None:
    scores: Mapping[str, float] = model(Biased()).classify(["rain"], replace(TOPICS, allow_none=True))[0].scores
    assert scores["sport"] == pytest.approx(scores["trade"])
    assert scores["art"] / scores["sport"] == pytest.approx(20 ** (1 - STRENGTH))
    assert 1 - sum(scores.values()) == pytest.approx(scores["sport"]), "none is as probable as any neutral label"
