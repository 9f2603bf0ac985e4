"""Fusion: what a language model and the embedded classifier answer together, and how the weights are learned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from llm.backends.backend import FakeBackend
from llm.classifier import AnswerSource, LabelsOffered, Prediction, Problem, ScoreType, Usage
from llm.embedded.matcher import Matcher
from llm.few_shot import StaticExamples
from llm.language_model import LanguageModel
from llm.spending.costs import cost
from llm.strategies.json_list import JSONList
from llm.wrappers.combined import Fallback, Shortlist
from llm.wrappers.fusion import FittedFusion, Fusion, FusionStore, FusionWeights, fit_fusion
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text

ABC = Taxonomy("abc", (Label("a"), Label("b"), Label("c")), max_labels=2, allow_none=True)
ONE = replace(ABC, multi=False)
SURE = ONE.shaped(allow_none=False)
LLM, EMBEDDED = AnswerSource("a-model", "abc", "text.v1@0", "yes_no"), AnswerSource("embedded/m", "abc")


class Given:
    """A classifier with one answer per text, in the order of the texts."""

    def __init__(self, name: str, *answers: Prediction) -> None:
        self.name, self._answers = name, dict(enumerate(answers))

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        return [self._answers[int(Text.of(text).body)] for text in texts]


def said(labels: str, kind: ScoreType | None = "probability", /, **scores: float) -> Prediction:
    return Prediction(tuple(labels), LLM, scores, score_type=kind if scores else None)


def embedded_says(labels: str, kind: ScoreType = "probability", /, **scores: float) -> Prediction:
    return Prediction(tuple(labels), EMBEDDED, scores, score_type=kind)


def together(
    llm: Prediction, embedded: Prediction, taxonomy: Taxonomy = ABC, store: FusionStore | None = None
) -> Prediction:
    (fused,) = Fusion(Given("a-model", llm), Given("embedded/m", embedded), store or FusionStore()).classify(
        ["0"], taxonomy
    )
    return fused


# --- equal weights ---

MULTI = [
    pytest.param(said("a", a=0.9, b=0.2, c=0.1), embedded_says("a", a=0.6, b=0.3, c=0.1), "a", id="both say a"),
    pytest.param(said("a", a=0.9, b=0.2, c=0.1), embedded_says("b", a=0.4, b=0.6, c=0.1), "a", id="surer of a"),
    pytest.param(said("a", a=0.6, b=0.4, c=0.1), embedded_says("b", a=0.01, b=0.9, c=0.1), "b", id="surer of b"),
    pytest.param(said("", a=0.4, b=0.2, c=0.1), embedded_says("", a=0.3, b=0.2, c=0.1), "", id="both reject all"),
    pytest.param(said("a", a=0.12, b=0.01, c=0.01), embedded_says("a", a=0.1, b=0.02, c=0.01), "a", id="both below .5"),
    pytest.param(said("b", None), embedded_says("a", a=0.6, b=0.4, c=0.01), "b", id="written without a score"),
    pytest.param(said("b", b=0.9), embedded_says("ab", a=0.9, b=0.6, c=0.01), "ba", id="not written, but very sure"),
    pytest.param(said("b", b=0.9), embedded_says("ab", a=0.6, b=0.6, c=0.01), "b", id="not written, and hardly sure"),
    pytest.param(said("abc", a=0.9, b=0.8, c=0.7), embedded_says("ab", a=0.9, b=0.8, c=0.6), "ab", id="at most two"),
]


@pytest.mark.parametrize(("llm", "embedded", "labels"), MULTI)
def test_equal_weights_add_the_log_odds_of_each_label(llm: Prediction, embedded: Prediction, labels: str) -> None:
    fused = together(llm, embedded)
    assert set(fused.labels) == set(labels)
    assert list(fused.labels) == sorted(fused.labels, key=lambda name: -fused.scores[name])
    assert set(fused.scores) == {"a", "b", "c"}
    assert fused.score_type == "probability"


def test_a_label_at_the_edge_of_one_part_is_not_lost_by_a_doubt_of_little_weight(tmp_path: Path) -> None:
    store = FusionStore(tmp_path / "fusion.json")
    store.put({FusionStore.key(LLM, EMBEDDED.model): FusionWeights(0.1, 1.0)})
    doubting, edge = said("a", a=0.9, b=0.2, c=0.1), embedded_says("ab", a=0.6, b=0.35, c=0.2)
    assert together(doubting, edge, store=store).labels == ("a", "b")


@pytest.mark.parametrize("seed", range(30))
def test_labels_of_both_parts_are_returned_and_labels_of_neither_are_not(seed: int) -> None:
    random, wide = Random(seed), replace(ABC, max_labels=3)

    def part(source: AnswerSource) -> Prediction:
        scores, threshold = {name: random.random() for name in "abc"}, random.random()
        labels = tuple(name for name, score in scores.items() if score >= threshold)
        return Prediction(labels, source, scores, score_type="probability")

    llm, embedded = part(LLM), part(EMBEDDED)
    found = set(together(llm, embedded, wide).labels)
    assert set(llm.labels) & set(embedded.labels) <= found <= set(llm.labels) | set(embedded.labels)


def shares(**scores: float) -> Mapping[str, float]:
    return scores


SINGLE = [
    pytest.param(said("a", "share", a=0.6, b=0.3, c=0.1), shares(a=0.3, b=0.4, c=0.3), SURE, "a", id="shares"),
    pytest.param(said("a", "share", a=0.5, b=0.4, c=0.1), shares(a=0.1, b=0.8, c=0.1), SURE, "b", id="the surer one"),
    pytest.param(said("a", a=0.6, b=0.5, c=0.1), shares(a=0.2, b=0.7, c=0.1), SURE, "b", id="a probability each"),
    pytest.param(said("a", a=0.5), shares(a=0.2, b=0.7, c=0.1), SURE, "b", id="one written label"),
    pytest.param(said("a", None), shares(a=0.3, b=0.6, c=0.1), SURE, "a", id="one written label without a score"),
    pytest.param(said("", "share", a=0.1, b=0.1, c=0.1), shares(a=0.2, b=0.1, c=0.1), ONE, "", id="none of both"),
    pytest.param(said("", None), shares(a=0.1, b=0.1, c=0.1), ONE, "", id="an empty list"),
    pytest.param(said("", None), shares(a=0.97, b=0.01, c=0.01), ONE, "a", id="an empty list, the other is sure"),
]


@pytest.mark.parametrize(("llm", "embedded", "taxonomy", "labels"), SINGLE)
def test_equal_weights_multiply_the_shares_of_single_labels(
    llm: Prediction, embedded: Mapping[str, float], taxonomy: Taxonomy, labels: str
) -> None:
    fused = together(llm, Prediction(("a",), EMBEDDED, embedded, score_type="share"), taxonomy)
    assert fused.labels == tuple(labels)
    assert fused.score_type == "share"
    total = sum(fused.scores.values())
    assert total == pytest.approx(1) if taxonomy is SURE else total < 1


def test_a_product_of_experts_is_the_normalised_geometric_mean() -> None:
    llm = said("a", "share", a=0.5, b=0.3, c=0.2)
    fused = together(llm, Prediction(("b",), EMBEDDED, shares(a=0.2, b=0.7, c=0.1), score_type="share"), SURE)
    means = {name: math.sqrt(one * other) for name, one, other in [("a", 0.5, 0.2), ("b", 0.3, 0.7), ("c", 0.2, 0.1)]}
    assert fused.scores == pytest.approx({name: mean / sum(means.values()) for name, mean in means.items()})


# --- sources and problems ---


def test_the_source_names_both_models_and_what_the_language_model_was_sent() -> None:
    llm = replace(said("a", a=0.9, b=0.2, c=0.1), usage=Usage(10, 0, 1), dropped=("x",), cached=True)
    fused = together(llm, embedded_says("a", a=0.6, b=0.3, c=0.1))
    assert fused.source == AnswerSource("a-model + embedded/m", ABC.versioned_name, "text.v1@0", "yes_no")
    assert (fused.usage, fused.dropped, fused.cached) == (llm.usage, llm.dropped, True)
    assert cost("gpt-4o + embedded/m", Usage(1_000_000)) == cost("gpt-4o", Usage(1_000_000))


def test_a_text_that_the_language_model_cannot_label_keeps_its_problem_until_a_fallback_answers() -> None:
    def reply(conversation: object) -> str | Problem:
        return Problem("unreachable", "no connection") if "0" in str(conversation) else "I cannot say."

    embedded = Given("embedded/m", *[embedded_says("a", a=0.9, b=0.1, c=0.1)] * 2)
    fusion = Fusion(LanguageModel(FakeBackend(reply), JSONList()), embedded)
    away, unreadable = fusion.classify(["0", "1"], ABC)
    assert away.problem == Problem("unreachable", "no connection")
    assert (away.labels, away.scores, away.source.model) == ((), {}, fusion.llm.name)
    answered, still = Fallback(fusion, embedded).classify(["0", "1"], ABC)
    assert (answered.labels, answered.source) == (("a",), EMBEDDED)
    assert still.problem == unreadable.problem
    assert still.problem is not None
    assert still.problem.kind == "unreadable"


def test_a_problem_of_the_embedded_classifier_is_the_problem_of_the_text() -> None:
    busy = Prediction((), EMBEDDED, problem=Problem("busy", "full"))
    assert together(said("a", a=0.9, b=0.1, c=0.1), busy) == busy


def test_labels_that_a_shortlist_left_out_have_no_score(embedded: Matcher) -> None:
    tmdb = registry.taxonomy("tmdb")
    model = LanguageModel(FakeBackend(lambda conversation: '["War"]'), JSONList())
    (fused,) = Fusion(Shortlist(embedded, model, 5), embedded).classify(["Soldiers wait in a trench."], tmdb)
    assert fused.shortlist == LabelsOffered(5, 18)
    assert len(fused.scores) == 5
    assert fused.labels[0] == "War"
    assert fused.source.taxonomy == tmdb.versioned_name


# --- learned weights ---


def predictions(random: Random, truth: Sequence[set[str]], source: AnswerSource, noise: float) -> list[Prediction]:
    """Scores whose log-odds are 2 for true labels and -2 for others, plus Gaussian noise."""
    found = []
    for names in truth:
        odds = {name: (2 if name in names else -2) + random.gauss(0, noise) for name in "abc"}
        scores = {name: 1 / (1 + math.exp(-value)) for name, value in odds.items()}
        labels = tuple(name for name in scores if scores[name] >= 0.5)
        found.append(Prediction(labels, source, scores, score_type="probability"))
    return found


def fitted(
    llm_noise: float, embedded_noise: float, taxonomy: Taxonomy = ABC, texts: int = 100, seed: int = 0
) -> FittedFusion:
    random = Random(seed)
    truth = [{random.choice("abc")} for _ in range(texts)]
    llm, embedded = (
        predictions(random, truth, source, noise) for source, noise in ((LLM, llm_noise), (EMBEDDED, embedded_noise))
    )
    return fit_fusion(llm, embedded, [sorted(names) for names in truth], taxonomy)


@pytest.mark.parametrize("taxonomy", [ABC, SURE, ONE], ids=["several labels", "one label", "one label or none"])
def test_the_better_part_gets_the_larger_weight_and_both_together_are_better(taxonomy: Taxonomy) -> None:
    good, equal, useless = (fitted(noise, 2.0, taxonomy) for noise in (1.0, 2.0, 50.0))
    assert good.weights.llm > good.weights.embedded
    assert 0.5 < equal.weights.llm / equal.weights.embedded < 2
    assert useless.weights.llm < 0.1 * useless.weights.embedded
    assert equal.fusion_f1 > max(equal.llm_f1, equal.embedded_f1)
    assert useless.fusion_f1 > useless.embedded_f1 - 0.02


@pytest.mark.parametrize("seed", range(5))
def test_fifty_texts_are_enough_not_to_be_worse_than_the_better_part(seed: int) -> None:
    found = fitted(3.0, 1.5, texts=50, seed=seed)
    assert found.fusion_f1 >= found.embedded_f1 - 0.05


def test_a_part_that_is_wrong_on_purpose_has_no_weight() -> None:
    random = Random(0)
    truth = [{random.choice("abc")} for _ in range(100)]
    wrong = predictions(random, [{"a", "b", "c"} - names for names in truth], LLM, 1.0)
    found = fit_fusion(wrong, predictions(random, truth, EMBEDDED, 2.0), [sorted(names) for names in truth], ABC)
    assert found.weights.llm == 0


def test_labels_that_were_not_written_get_a_learned_part() -> None:
    random = Random(0)
    truth = [{random.choice("abc")} for _ in range(100)]
    embedded = predictions(random, truth, EMBEDDED, 3.0)
    written = [said(next(iter(names)), None) for names in truth]
    found = fit_fusion(written, embedded, [sorted(names) for names in truth], ABC)
    assert found.weights.unscored is not None
    assert found.weights.unscored < 0
    assert found.fusion_f1 > 0.95
    assert fitted(1.0, 1.0).weights.unscored is None


def test_texts_with_a_problem_are_left_out_and_too_few_texts_are_an_error() -> None:
    failed = Prediction((), LLM, problem=Problem("unreachable", "no connection"))
    answers = [said("a", a=0.9, b=0.1, c=0.1)] * 9 + [failed]
    with pytest.raises(InvalidDataset, match=r"9 texts have answers of both models \(no connection\); give 10 or more"):
        fit_fusion(answers, [embedded_says("a", a=0.9, b=0.1, c=0.1)] * 10, [["a"]] * 10, ABC)


def test_learned_weights_are_stored_by_models_strategy_prompt_examples_and_taxonomy(tmp_path: Path) -> None:
    path, weights = tmp_path / "fusion.json", FusionWeights(0.0, 1.0, threshold=0.9)
    FusionStore(path).put({FusionStore.key(LLM, EMBEDDED.model): weights})
    llm, embedded = said("a", a=0.9, b=0.1, c=0.1), embedded_says("a", a=0.7, b=0.1, c=0.1)
    assert together(llm, embedded, store=FusionStore(path)).labels == ()
    others = [replace(LLM, **{field: "another"}) for field in ("model", "strategy", "prompt", "taxonomy")]
    for other in others:
        assert together(replace(llm, source=other), embedded, store=FusionStore(path)).labels == ("a",)
    rules = {FusionStore(path).rule(FusionStore.key(one, EMBEDDED.model), ABC) for one in (LLM, *others)}
    assert len(rules) == 2
    shown = StaticExamples((FewShotExample(Text("x"), ("a",)),), ABC.name)
    fusion = Fusion(Given("a-model", llm), Given("embedded/m", embedded), FusionStore(path), shown)
    assert fusion.classify(["0"], ABC)[0].labels == ("a",), "these weights are for a model without examples"
    instructed = replace(llm, source=replace(LLM, prompt="text.v1@1"))
    assert together(instructed, embedded, store=FusionStore(path)).labels == (), "instructions leave the weights"
    path.write_text('{"key": {"llm": 1, "slope": 2}}')
    with pytest.raises(InvalidSetting, match="calibrate again"):
        FusionStore(path)
