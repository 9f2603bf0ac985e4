"""A classifier from a few examples: what it learns, what it does without them, and whether its figures are honest."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.baselines import Trained, TrainingPlan, load
from eval.baselines import frozen_features as features
from eval.baselines.few_examples import FewExamplesSettings, folds_of
from eval.baselines.fitting import KIND, FittedTable, doubts, fit_table
from eval.baselines.stacking import Blend, LabelScores
from eval.baselines.trained import Split
from eval.baselines.training import Refit
from eval.datasets import Example
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "general.jsonl"
PLAN = TrainingPlan(KIND)


def rows(name: str, codes: bool = False) -> tuple[Taxonomy, list[Example]]:
    """The sample's texts of a taxonomy; with ``codes``, its labels are called A, B, C, which say nothing."""
    found = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    found = [row for row in found if row["taxonomy"] == name]
    names = sorted({label for row in found for label in row["labels"]})
    spelt = {label: chr(ord("A") + place) if codes else label for place, label in enumerate(names)}
    multi = any(len(row["labels"]) > 1 for row in found)
    examples = [Example(row["id"], Text(row["text"]), tuple(spelt[one] for one in row["labels"])) for row in found]
    return Taxonomy.of(list(spelt.values()), name=name, multi=multi), examples


def answers(model: Trained, examples: Sequence[Example]) -> list[tuple[str, ...]]:
    return [one.labels for one in model.classify([example.text for example in examples], model.taxonomy)]


def _two_of_each(examples: Sequence[Example]) -> list[Example]:
    labels = [one.labels for one in examples]
    return [one for place, one in enumerate(examples) if labels[:place].count(one.labels) < 2]


@pytest.fixture(scope="module")
def news() -> FittedTable:
    return fit_table(PLAN, *rows("news"))


@pytest.fixture(scope="module")
def coded() -> FittedTable:
    """Labels whose names say nothing: the examples alone tell what they mean."""
    return fit_table(PLAN, *rows("news", codes=True))


def test_it_learns_labels_whose_names_say_nothing(coded: FittedTable) -> None:
    assert coded.zero_shot["accuracy"].value < 0.3
    assert coded.fitted["accuracy"].value > 0.6
    assert coded.difference["accuracy"].low > 0.2


def test_names_that_say_something_decide_where_examples_are_few(news: FittedTable) -> None:
    assert news.fitted["accuracy"].value > news.zero_shot["accuracy"].value
    pairs = (rows("news", codes) for codes in (False, True))
    named, coded = (fit_table(PLAN, taxonomy, _two_of_each(examples)) for taxonomy, examples in pairs)
    assert named.fitted["accuracy"].value > coded.fitted["accuracy"].value + 0.1


def test_figures_are_of_texts_that_were_not_learned_from() -> None:
    taxonomy, examples = rows("news", codes=True)
    order = np.random.default_rng(0).permutation(len(examples))
    shuffled = [replace(one, labels=examples[place].labels) for one, place in zip(examples, order, strict=True)]
    fitted = fit_table(PLAN, taxonomy, shuffled)
    learned = [given == one.labels for given, one in zip(answers(fitted.classifier, shuffled), shuffled, strict=True)]
    assert np.mean(learned) > 0.8
    assert fitted.fitted["accuracy"].value < 0.25  # ten labels


def test_a_label_without_examples_keeps_its_zero_shot_probability() -> None:
    taxonomy, examples = rows("news")
    others = [one for one in examples if one.labels != ("Sport",)]
    fitted = fit_table(PLAN, taxonomy, others)
    texts = ["The striker scored twice in the final.", "The minister lost the vote on the budget."]
    found = fitted.classifier.classify(texts, taxonomy)
    known = features.encoded(texts, taxonomy).zero_shot[:, taxonomy.names.index("Sport")]
    assert [one.scores["Sport"] for one in found] == pytest.approx(known.tolist(), abs=1e-4)
    assert found[0].labels == ("Sport",)
    assert all(sum(one.scores.values()) == pytest.approx(1, abs=1e-4) for one in found)
    assert fitted.warnings[0] == "1 label without examples: Sport; the zero-shot score answers for them"
    assert fitted.classifier.manifest["notes"]["labels without examples"] == ["Sport"]


def test_a_saved_one_answers_alike(news: FittedTable, tmp_path: Path) -> None:
    news.save(tmp_path)
    texts = [one.text for one in rows("tickets")[1][:5]]
    here, there = (one.classify(texts, news.taxonomy) for one in (news.classifier, load(tmp_path)))
    for one, other in zip(here, there, strict=True):
        assert one.labels == other.labels
        assert one.scores == pytest.approx(dict(other.scores), abs=1e-4)
    assert load(tmp_path).version == news.classifier.version
    assert registry.taxonomy_at(str(tmp_path / "news.yaml")).digest == news.taxonomy.digest
    chosen = json.loads((tmp_path / "chosen.json").read_text())
    (tmp_path / "chosen.json").write_text(json.dumps(chosen | {"features": "others"}))
    with pytest.raises(InvalidSetting, match=r"other weights than the shipped ones.*train again"):
        load(tmp_path)


def test_the_manifest_has_the_figures_and_no_second_training_is_needed(news: FittedTable, tmp_path: Path) -> None:
    news.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["cross_validation"]["parts"] == 5
    accuracy = manifest["cross_validation"]["fitted"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert manifest["validation"]["subset accuracy"] == accuracy["value"]
    assert manifest["data"]["train"]["rows"] == 60
    split = Split.of(rows("news")[1], news.taxonomy)
    with pytest.raises(InvalidSetting, match="trained by `fit`, on all of its texts"):
        Refit(news.taxonomy, [split], split).run(tmp_path, tmp_path / "again")


def test_models_of_one_name_have_versions_by_their_labels_and_texts(news: FittedTable, coded: FittedTable) -> None:
    taxonomy, examples = rows("news")
    fewer = fit_table(PLAN, taxonomy, examples[:-1])
    again = fit_table(PLAN, taxonomy, examples[:-1])
    assert {one.classifier.name for one in (news, coded, fewer)} == {"trained/few-examples"}
    assert len({one.classifier.version for one in (news, coded, fewer)}) == 3
    assert again.classifier.version == fewer.classifier.version


def test_several_labels_get_thresholds_of_their_own() -> None:
    taxonomy, examples = rows("emotions", codes=True)
    fitted = fit_table(PLAN, taxonomy, examples)
    decoding = fitted.classifier.decoding
    assert (decoding.rule, len(set(decoding.thresholds)) > 1) == ("per-label", True)
    assert fitted.fitted.keys() == {"micro-F1", "macro-F1"}
    assert fitted.difference["micro-F1"].value > 0.1
    assert {len(labels) for labels in answers(fitted.classifier, examples)} >= {1, 2}


def test_equal_texts_are_in_one_part_and_labels_in_all() -> None:
    _, examples = rows("news")
    twice = [*examples, *(replace(one, id=f"{one.id} again") for one in examples)]
    twice = [replace(one, group=one.text.body) for one in twice]
    parts = folds_of(twice, FewExamplesSettings(3), seed=1)
    assert parts[:60].tolist() == parts[60:].tolist()
    counts = np.unique(parts, return_counts=True)[1]
    assert counts.max() - counts.min() <= 8
    for part in range(3):
        assert {one.labels for one, where in zip(twice, parts, strict=True) if where == part} == {
            one.labels for one in examples
        }


def test_an_unknown_truth_is_neither_true_nor_false() -> None:
    """A label that a row with incomplete labels does not name is learned from the other rows only."""
    taxonomy, examples = rows("emotions")
    having = [one for one in examples if taxonomy.names[0] in one.labels]
    others = [one for one in examples if one not in having]

    def score(complete: bool) -> float:
        hidden = [replace(one, labels=one.labels[1:], complete=complete) for one in having[3:]]
        fitted = fit_table(PLAN, taxonomy, [*having[:3], *hidden, *others])
        return float(fitted.classifier.scorer.probabilities([one.text.body for one in having[3:]])[:, 0].mean())

    assert len(having) > 5
    assert score(complete=False) > score(complete=True) + 0.03


def test_doubts_name_the_labels_and_the_rows() -> None:
    taxonomy = Taxonomy.of(["refund", "login", "crash"])
    examples = [Example(f"{place}", Text(f"Text {place}."), ("refund",)) for place in range(8)]
    examples += [Example("a", Text("No access!"), ("login",)), Example("b", Text("no access"), ("refund",))]
    assert doubts(examples, taxonomy) == [
        "1 label without examples: crash; the zero-shot score answers for them",
        "1 label with fewer than 8 examples: login (1); add some if you can",
        "1 text with different labels in different rows: rows a and b; correct them",
    ]


def test_what_cannot_be_fitted_is_refused() -> None:
    taxonomy, examples = rows("news")
    with pytest.raises(InvalidDataset, match=r"row news-01 has the labels .* gives one label per text"):
        fit_table(PLAN, taxonomy, [replace(examples[0], labels=("Culture", "Sport")), *examples[1:]])
    with pytest.raises(InvalidDataset, match="one text is too few"):
        fit_table(PLAN, taxonomy, examples[:1])
    with pytest.raises(InvalidDataset, match="all texts are equal"):
        fit_table(PLAN, taxonomy, [replace(one, text=Text("Same."), group="same") for one in examples])
    with pytest.raises(InvalidDataset, match="no text has a letter or a digit"):
        fit_table(PLAN, taxonomy, [replace(one, text=Text("?" * place)) for place, one in enumerate(examples, 1)])
    with pytest.raises(InvalidSetting, match="'tree' has labels with parents"):
        fit_table(PLAN, Hierarchy.of({"Sport": ["Football"]}, name="tree"), examples)
    with pytest.raises(InvalidSetting, match="folds is 1; give 2 or more"):
        fit_table(replace(PLAN, settings={"folds": 1}), taxonomy, examples)


def test_weights_follow_the_score_that_is_right() -> None:
    random = np.random.default_rng(1)
    truth = np.eye(3, dtype=bool)[random.integers(0, 3, 300)]
    noise = random.random((300, 3))
    right, wrong = np.where(truth, 0.6, 0.2) + 0.1 * noise, np.full((300, 3), 1 / 3) + 0.1 * random.random((300, 3))
    seen = np.ones((300, 3), bool)
    flat = np.full((300, 3), 1 / 3)
    first = LabelScores(right, wrong, flat, seen, False).fitted(truth, seen)
    second = LabelScores(wrong, right, flat, seen, False).fitted(truth, seen)
    assert first.weights[0] > 7.0 > first.weights[1]
    assert second.weights[1] > 7.0 > second.weights[0]


@pytest.mark.parametrize("multi", [False, True])
def test_the_gradient_of_the_fit_is_right(multi: bool) -> None:
    random = np.random.default_rng(2)
    truth = np.eye(4, dtype=bool)[random.integers(0, 4, 40)]
    seen = np.tile([True, True, True, False], (40, 1))
    vectors, words, zero_shot = random.uniform(0.05, 0.9, (3, 40, 4))
    scores = LabelScores(vectors, words, zero_shot, seen, multi)
    loss = scores._independent if multi else scores._exclusive
    at = np.array([2.0, 1.0, 0.5])
    _, gradient, slope = loss(at, 0.3, truth, seen)
    for place in range(3):
        step = np.eye(3)[place] * 1e-5
        change = loss(at + step, 0.3, truth, seen)[0] - loss(at - step, 0.3, truth, seen)[0]
        assert change / 2e-5 == pytest.approx(gradient[place], rel=1e-4)
    change = loss(at, 0.3 + 1e-5, truth, seen)[0] - loss(at, 0.3 - 1e-5, truth, seen)[0]
    assert change / 2e-5 == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_probabilities_of_unseen_labels_are_those_of_the_embedded_classifier() -> None:
    seen = np.array([[True, True, False]])
    scores = LabelScores(np.array([[0.9, 0.1, 0.0]]), np.zeros((1, 3)), np.array([[0.2, 0.3, 0.5]]), seen, False)
    (found,) = scores.probabilities(Blend((5.0, 5.0, 0.0)))
    assert found[2] == 0.5
    assert found.sum() == pytest.approx(1)
    assert found[0] > 0.45


def test_a_text_is_encoded_once(monkeypatch: pytest.MonkeyPatch, news: FittedTable) -> None:
    class Counting:
        name = "counting"

        def __init__(self, inner: Any) -> None:
            self.inner, self.texts = inner, 0

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            self.texts += len(texts)
            return np.asarray(self.inner.encode(texts), np.float32)

    shared = features._shared()
    kept: list[Any] = [shared.encoder, shared.tuned]
    encoders = [Counting(one._encoder) for one in kept]
    for encoder, last in zip(encoders, kept, strict=True):
        monkeypatch.setattr(last, "_encoder", encoder)
    news.classifier.classify(["A text that is new.", "Another one."], news.taxonomy)
    assert [encoder.texts for encoder in encoders] == [2, 2]
