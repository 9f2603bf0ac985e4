"""A training learnt again: what it chose stays, and the texts that it was chosen by are learnt, too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.baselines import BASELINES, TrainingPlan, load, train
from eval.baselines.registry import kind_of
from eval.baselines.trained import Split, TrainingData
from eval.baselines.training import Refit
from eval.datasets import Example
from eval.metrics import METRICS, indicator
from prompts.errors import InvalidSetting
from tests.eval.baselines.labelled import MULTI, OTHER, examples
from tests.eval.baselines.tiny_encoder import build

TRAINING, VALIDATION, UNSEEN = examples(60), examples(180, seed=2), examples(100, seed=3)
NEURAL = {"trials": 2, "epochs": 12}
CHOOSING = ("tfidf-lr", "minilm-mlp", "hybrid", "distilbert")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind, trained: in a folder of its name."""
    folder = tmp_path_factory.mktemp("kinds")
    tiny = {"base": str(build(folder / "encoder")), "epochs": 6, "patience": 6, "lr": 3e-3, "precision": "fp32"}
    parts = {"parts": (str(folder / "tfidf-lr"), str(folder / "minilm-mlp"))}
    given: dict[str, dict[str, Any]] = {
        "minilm-mlp": NEURAL, "hybrid": NEURAL, "minilm": tiny, "distilbert": tiny, "blend": parts,
    }  # fmt: skip
    for name in BASELINES:
        plan = TrainingPlan(name, given.get(name, {}), command=f"train {name}", cache=folder / "cache")
        train(plan, MULTI, TRAINING, VALIDATION, folder / name)
    return folder


def refit(folder: Path, *trainings: list[Example], validation: list[Example] = VALIDATION) -> Refit:
    sides = [Split.of(some, MULTI) for some in trainings or (TRAINING,)]
    return Refit(MULTI, sides, Split.of(validation, MULTI), "refit", folder / "cache")


@pytest.mark.parametrize("name", BASELINES)
def test_every_kind_learns_all_its_texts_and_keeps_what_it_chose(name: str, folder: Path, tmp_path: Path) -> None:
    before, after = load(folder / name), refit(folder).run(folder / name, tmp_path)
    assert after.decoding == before.decoding
    assert after.manifest["data"]["train"]["rows"] == len(TRAINING) + len(VALIDATION)
    assert after.manifest["refit"]["command"] == f"train {name}"
    assert (after.manifest["command"], after.manifest["validation"]) == ("refit", before.manifest["validation"])
    texts = [one.text.body for one in UNSEEN]
    np.testing.assert_allclose(load(tmp_path).scorer.probabilities(texts), after.scorer.probabilities(texts), atol=1e-5)
    assert not list(tmp_path.glob("unfinished-*"))


@pytest.mark.parametrize("name", CHOOSING)
def test_more_texts_teach_more(name: str, folder: Path, tmp_path: Path) -> None:
    truth = indicator([one.labels for one in UNSEEN], MULTI)

    def score(which: Path) -> float:
        found = load(which).classify([one.text for one in UNSEEN], MULTI)
        return METRICS["micro-F1"](truth, indicator([one.labels for one in found], MULTI))

    refit(folder).run(folder / name, tmp_path)
    assert score(tmp_path) > score(folder / name)


@pytest.mark.parametrize("name", ["tfidf-lr", "minilm-mlp", "hybrid"])
def test_over_the_very_same_texts_a_training_comes_out_as_it_was(name: str, folder: Path, tmp_path: Path) -> None:
    before, kind = load(folder / name), kind_of(name)
    material = TrainingData(
        MULTI, Split.of(TRAINING, MULTI), Split.of(VALIDATION, MULTI), 0, folder / "cache", tmp_path
    )
    assert kind.refit is not None
    again = kind.refit(material, kind.settings(**before.manifest["settings"]), before.manifest["notes"])
    texts = [one.text.body for one in UNSEEN]
    np.testing.assert_allclose(again.probabilities(texts), before.scorer.probabilities(texts), atol=1e-5)


def test_fine_tuning_ends_after_its_best_round_without_being_judged(folder: Path, tmp_path: Path) -> None:
    taken: list[int] = []

    def counted(items, label):  # type: ignore[no-untyped-def]
        for item in items:
            if label == "steps":
                taken.append(item)
            yield item

    kind, made = kind_of("distilbert"), load(folder / "distilbert").manifest
    nobody = Split.of([], MULTI)
    material = TrainingData(MULTI, Split.of(TRAINING, MULTI), nobody, 0, folder / "cache", tmp_path, counted)
    settings = kind.settings(**made["settings"])
    assert kind.refit is not None
    again = kind.refit(material, settings, {"validation scores": [0.5, 0.7, 0.6, 0.7]})
    assert again.train_info()["rounds"] == 2
    assert len(taken) - 1 == 2 * -(-len(TRAINING) // settings.batch_size)  # the bar is a step ahead


def test_a_part_of_a_blend_learns_the_texts_that_it_knew_and_weighs_as_before(folder: Path, tmp_path: Path) -> None:
    further = [*TRAINING, *examples(40, seed=9)]
    train(TrainingPlan("tfidf-nb"), MULTI, further, VALIDATION, tmp_path / "further")
    parts = (str(tmp_path / "further"), str(folder / "tfidf-lr"))
    before = train(TrainingPlan("blend", {"parts": parts}), MULTI, TRAINING, VALIDATION, tmp_path / "blend")
    after = refit(folder, TRAINING, further).run(tmp_path / "blend", tmp_path / "again")
    weights = [[part["weight"] for part in made.manifest["notes"]["parts"]] for made in (before, after)]
    assert weights[0] == weights[1]
    rows = [
        json.loads((tmp_path / "again" / place / "manifest.json").read_text())["data"]["train"]["rows"]
        for place in "01"
    ]
    assert rows == [len(further) + len(VALIDATION), len(TRAINING) + len(VALIDATION)]


def test_what_has_learnt_its_validation_texts_is_not_chosen_by_them_again(folder: Path, tmp_path: Path) -> None:
    refit(folder).run(folder / "tfidf-lr", tmp_path / "again")
    with pytest.raises(InvalidSetting, match="is a refit; name the training before it"):
        refit(folder).run(tmp_path / "again", tmp_path / "thrice")
    parts = (str(tmp_path / "again"), str(folder / "minilm-mlp"))
    with pytest.raises(InvalidSetting, match="may have been trained on these"):
        train(TrainingPlan("blend", {"parts": parts}), MULTI, TRAINING, VALIDATION, tmp_path / "blend")


def test_what_is_wrong_is_told_and_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"trained on other texts.*further texts of that training"):
        refit(folder, TRAINING[:50]).run(folder / "tfidf-lr", tmp_path)
    refit(folder).run(folder / "tfidf-nb", tmp_path)
    with pytest.raises(InvalidSetting, match="tuned on other texts"):
        refit(folder, validation=VALIDATION[:50]).run(folder / "tfidf-lr", tmp_path)
    assert load(tmp_path).kind == "tfidf-nb"
    with pytest.raises(InvalidSetting, match="give another folder"):
        refit(folder).run(folder / "tfidf-lr", folder / "tfidf-lr")
    with pytest.raises(InvalidSetting, match="has no trained baseline"):
        refit(folder).run(tmp_path / "nowhere", tmp_path / "out")
    other = replace(refit(folder), taxonomy=OTHER)
    with pytest.raises(InvalidSetting, match="another taxonomy than others"):
        other.run(folder / "tfidf-lr", tmp_path)
    assert load(folder / "tfidf-lr").manifest["command"] == "train tfidf-lr"


def test_what_a_language_model_taught_or_an_earlier_version_trained_is_refused(folder: Path, tmp_path: Path) -> None:
    taught = TrainingPlan("tfidf-lr", teacher={"system": "llm"})
    train(taught, MULTI, TRAINING, VALIDATION, tmp_path / "taught")
    with pytest.raises(InvalidSetting, match="a refit needs human labels"):
        refit(folder).run(tmp_path / "taught", tmp_path / "again")
    train(replace(taught, teacher=None), MULTI, TRAINING, VALIDATION, tmp_path / "old")
    kept = json.loads((tmp_path / "old" / "manifest.json").read_text())
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(kept | {"notes": {"terms": 3}}))
    with pytest.raises(InvalidSetting, match=r"has no 'scales'; train it again"):
        refit(folder).run(tmp_path / "old", tmp_path / "again")
