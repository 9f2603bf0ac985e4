"""The logistic fit: slopes and intercept of known curves, soft targets, and few or equal texts; tuning of a model."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy.special import expit, logit

from eval.calibration import fit_logistic, labels_at_once, log_odds, platt_targets, tune_threshold
from eval.datasets import Example
from llm.backends.backend import Conversation, FakeBackend, TokenLogprobs
from llm.calibration.bias import BiasEstimates
from llm.calibration.thresholds import ThresholdStore
from llm.classifier import AnswerSource, Prediction
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from llm.wrappers.combined import Shortlist
from prompts.errors import InvalidSetting
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TOPICS = Taxonomy("topics", tuple(map(Label, ("art", "law", "sport", "trade"))), max_labels=4)
ONE_TOPIC = TOPICS.shaped(multi=False)
ODDS = np.linspace(-4, 4, 400)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7), (-1.5, 0.2)])
def test_the_curve_that_made_the_targets_is_found(slope: float, intercept: float) -> None:
    slopes, found = fit_logistic(ODDS[:, None], expit(slope * ODDS + intercept))
    assert [slopes[0], found] == pytest.approx([slope, intercept], abs=1e-2)


@pytest.mark.parametrize("c", [1e-2, 1.0, 1e3])
def test_targets_of_0_and_1_give_the_fit_of_true_and_false(c: float) -> None:
    features = np.stack([ODDS, np.sin(ODDS)], axis=1)
    truth = np.random.default_rng(1).random(len(ODDS)) < expit(ODDS)
    hard, soft = fit_logistic(features, truth, c), fit_logistic(features, truth.astype(float), c)
    assert soft[0] == pytest.approx(hard[0], abs=1e-5)
    assert soft[1] == pytest.approx(hard[1], abs=1e-5)


@pytest.mark.parametrize("truth", [[True] * 5, [False] * 5, [True, True, True, False, False]])
def test_few_texts_give_no_certainty(truth: list[bool]) -> None:
    targets = platt_targets(np.array(truth))
    assert targets.min() > 0.1
    assert targets.max() < 0.9
    slopes, intercept = fit_logistic(np.array([[3.0], [2.0], [1.0], [-1.0], [-2.0]]), targets)
    assert np.isfinite([*slopes, intercept]).all()


def test_log_odds_are_those_of_scipy_and_finite_at_the_ends() -> None:
    assert log_odds(np.array([0.1, 0.5, 0.9])) == pytest.approx(logit([0.1, 0.5, 0.9]))
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


# --- tuning of a model ---


class Biased(FakeBackend):
    """Finds the labels that a text names, and prefers ``art`` whatever the text is."""

    scores_labels = True

    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        return [self._scored(str(conversation[-1]["content"]), names) for conversation in conversations]

    def _scored(self, question: str, names: Sequence[str]) -> TokenLogprobs:
        weights = {name: (30 if name == "art" else 1) * (9 if f"about {name}" in question else 1) for name in names}
        return TokenLogprobs({name: math.log(weight / sum(weights.values())) for name, weight in weights.items()})


def model(thresholds: ThresholdStore | None = None) -> LanguageModel:
    likelihood = STRATEGIES["label_likelihood"]
    return LanguageModel(Biased(), likelihood, thresholds=thresholds or ThresholdStore(), bias=BiasEstimates())


def examples(number: int, taxonomy: Taxonomy = TOPICS) -> list[Example]:
    """Texts that name their labels; every tenth names another one."""
    random = Random(number)
    chosen = [random.sample(taxonomy.names, random.randint(1, min(2, taxonomy.max_labels))) for _ in range(number)]
    shown = [random.sample(taxonomy.names, 1) if place % 10 == 0 else one for place, one in enumerate(chosen)]
    texts = [" and ".join(f"about {name}" for name in labels) for labels in shown]
    return [
        Example(str(place), Text(text), tuple(labels), "validation")
        for place, (text, labels) in enumerate(zip(texts, chosen, strict=True))
    ]


@pytest.mark.parametrize("taxonomy", [TOPICS, ONE_TOPIC], ids=["several", "one"])
def test_lines_are_learned_where_they_help_and_the_next_start_applies_them(taxonomy: Taxonomy, tmp_path: Path) -> None:
    path, unseen = tmp_path / "thresholds.json", [Text("about sport"), Text("about art")]
    tuned = tune_threshold(model(), taxonomy, path, examples(60, taxonomy), "t.jsonl")
    assert tuned.texts == 60
    assert set(tuned.threshold.slopes) == set(taxonomy.names)
    assert tuned.after["micro-F1"] >= tuned.before["micro-F1"]
    assert tuned.after["ECE"] < tuned.before["ECE"]
    again = model(ThresholdStore(path))
    answers = again.classify(unseen, taxonomy)
    assert [answer.labels for answer in answers] == [("sport",), ("art",)]
    assert {answer.score_type for answer in answers} == {"probability" if taxonomy.multi else "share"}
    assert "4 labels calibrated" in again.decode_rule(unseen[0], taxonomy)
    assert again.fingerprint(unseen[0], taxonomy) != model().fingerprint(unseen[0], taxonomy)


@pytest.mark.parametrize("number", [1, 2])
def test_a_single_text_gives_a_threshold(number: int, tmp_path: Path) -> None:
    tuned = tune_threshold(model(), TOPICS, tmp_path / "few.json", examples(number), "t.jsonl")
    assert (tuned.texts, tuned.threshold.slopes) == (number, {})


def test_a_hierarchy_is_calibrated_by_its_leaves_at_once_and_in_no_other_way() -> None:
    tree = Hierarchy.of({"A": ["1", "2"], "B": ""})
    assert labels_at_once(TOPICS, 3) is TOPICS
    assert labels_at_once(tree, 0) == tree.flat
    with pytest.raises(InvalidSetting, match=r"unset MARQUEE_HIERARCHY_BEAM \(now 2\)"):
        labels_at_once(tree, 2)
    with pytest.raises(InvalidSetting, match=r"unset level \(now 1\)"):
        labels_at_once(cut(tree, 1), 0)


def test_few_texts_or_lines_without_gain_leave_one_threshold(tmp_path: Path) -> None:
    few = tune_threshold(model(), TOPICS, tmp_path / "few.json", examples(6), "t.jsonl")
    assert (few.threshold.slopes, few.before) == ({}, few.after)
    noise = [Example(str(place), Text("rain"), ("art",) if place % 2 else ("law",), "x") for place in range(40)]
    learned = tune_threshold(model(), ONE_TOPIC, tmp_path / "noise.json", noise, "t.jsonl")
    assert learned.after["micro-F1"] >= learned.before["micro-F1"]


def test_one_threshold_leaves_the_correction_of_the_bias_to_the_model(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    tune_threshold(model(), ONE_TOPIC, path, examples(5, ONE_TOPIC), "t.jsonl")
    assert model(ThresholdStore(path)).decode_rule(Text("x"), ONE_TOPIC).endswith("bias corrected by neutral texts")


def test_what_is_learned_behind_a_shortlist_is_applied_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    offered = partial(Shortlist, Named(), candidates=2)
    tuned = tune_threshold(model(), ONE_TOPIC, path, examples(60, ONE_TOPIC), "t.jsonl", offered)
    assert set(tuned.threshold.slopes) == set(ONE_TOPIC.names)
    (before,), (after,) = (
        offered(one).classify(["about sport"], ONE_TOPIC) for one in (model(), model(ThresholdStore(path)))
    )
    assert (before.labels, after.labels, len(after.scores)) == (("art",), ("sport",), 2)


class Named:
    """A small classifier that offers ``art`` and the label that a text names."""

    name = "named"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        return [
            Prediction((), AnswerSource(self.name, taxonomy.name), {name: self._score(name, text) for name in taxonomy})
            for text in map(Text.of, texts)
        ]

    def _score(self, name: str, text: Text) -> float:
        return 2.0 if f"about {name}" in text.body else float(name == "art")
