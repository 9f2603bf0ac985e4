"""Every baseline: it learns, it is saved, it answers alike in another process, and only for its own taxonomy."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.baselines import BASELINES, Trained, TrainingPlan, load, train
from eval.baselines.thresholds import Decoding
from eval.datasets import Example
from eval.metrics import METRICS, indicator
from prompts.errors import InvalidDataset, InvalidSetting, OtherTaxonomy, UnknownName
from prompts.taxonomy import Taxonomy
from tests.eval.baselines.labelled import MULTI, OTHER, SINGLE, examples
from tests.eval.baselines.tiny_encoder import build

ROOT = Path(__file__).parents[3]
TRAINING, VALIDATION, UNSEEN = examples(160), examples(80, seed=2), examples(60, seed=3)
NEURAL = {"trials": 2, "epochs": 20}
FINE_TUNING = {"epochs": 12, "patience": 12, "lr": 3e-3, "batch_size": 16, "precision": "fp32"}
SETTINGS: dict[str, dict[str, Any]] = {"minilm-mlp": NEURAL, "hybrid": NEURAL, "tfidf-knn": {"neighbours": 5}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> dict[str, Path]:
    """Every kind, trained; the folders by name."""
    folder = tmp_path_factory.mktemp("kinds")
    fine_tuned = {name: FINE_TUNING | {"base": str(encoder)} for name in ("minilm", "distilbert")}
    blend = {"blend": {"parts": (str(folder / "tfidf-knn"), str(folder / "minilm-mlp"))}}
    for name in BASELINES:
        plan = TrainingPlan(name, (SETTINGS | fine_tuned | blend).get(name, {}), data="stories", cache=folder / "cache")
        train(plan, MULTI, TRAINING, VALIDATION, folder / name)
    return {name: folder / name for name in BASELINES}


@pytest.fixture(scope="module")
def trained(kinds: dict[str, Path]) -> dict[str, Trained]:
    return {name: load(folder) for name, folder in kinds.items()}


def micro(classifier: Trained, some: list[Example]) -> float:
    found = classifier.classify([one.text for one in some], MULTI)
    truth, predicted = (indicator(labels, MULTI) for labels in ([e.labels for e in some], [p.labels for p in found]))
    return METRICS["micro-F1"](truth, predicted)


@pytest.mark.parametrize("name", [name for name in BASELINES if name not in ("prior", "random")])
def test_it_learns_what_the_prior_does_not_know(name: str, trained: dict[str, Trained]) -> None:
    assert micro(trained[name], UNSEEN) > micro(trained["prior"], UNSEEN) + 0.1


def test_in_another_process_all_answer_alike(kinds: dict[str, Path], trained: dict[str, Trained]) -> None:
    script = (
        "import json, sys; from pathlib import Path; from eval.baselines import load\n"
        "texts, folders = json.load(sys.stdin)\n"
        "for name, folder in folders.items():\n"
        "    one = load(Path(folder)); found = one.classify(texts, one.taxonomy)\n"
        "    print(json.dumps([name, [[p.labels, dict(p.scores)] for p in found]]))"
    )
    texts = [one.text.body for one in UNSEEN[:6]]
    asked = json.dumps([texts, {name: str(folder) for name, folder in kinds.items()}])
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = dict(json.loads(line) for line in done.stdout.splitlines())
    assert answers.keys() == BASELINES.keys()
    for name, rows in answers.items():
        for (labels, scores), here in zip(rows, trained[name].classify(texts, MULTI), strict=True):
            assert tuple(labels) == here.labels, name
            assert scores == pytest.approx(dict(here.scores), abs=1e-5), name


@pytest.mark.parametrize("name", BASELINES)
def test_answers_have_a_shape(name: str, trained: dict[str, Trained]) -> None:
    first, empty, _ = trained[name].classify(["a ghost in the cellar", " ", "song"], MULTI)
    assert first.labels
    assert list(first.scores.values()) == sorted(first.scores.values(), reverse=True)
    assert set(first.scores) == set(MULTI.names)
    assert all(0 <= score <= 1 for score in first.scores.values())
    assert (first.source.model, first.problem) == (f"trained/{name}", None)
    assert empty.problem
    assert empty.problem.kind == "empty"
    assert not empty.labels


@pytest.mark.parametrize("name", BASELINES)
def test_one_text_is_a_batch_of_one(name: str, trained: dict[str, Trained]) -> None:
    texts = [one.text for one in UNSEEN[:5]]
    together = trained[name].classify(texts, MULTI)
    for text, one in zip(texts, together, strict=True):
        (alone,) = trained[name].classify([text], MULTI)
        assert alone.scores == pytest.approx(dict(one.scores), abs=1e-5)


def test_another_taxonomy_is_refused_and_both_are_named(trained: dict[str, Trained]) -> None:
    with pytest.raises(OtherTaxonomy, match=rf"{MULTI.digest}.*{OTHER.digest}"):
        trained["prior"].classify(["a text"], OTHER)


def test_another_shape_of_answer_is_no_other_taxonomy(trained: dict[str, Trained]) -> None:
    found = trained["tfidf-lr"].classify([one.text for one in UNSEEN], MULTI.shaped(max_labels=1))
    assert {len(one.labels) for one in found} == {1}
    strict = replace(trained["tfidf-lr"], decoding=Decoding("global", (1.0,) * 4))
    assert strict.classify(["a the of"], MULTI.shaped(allow_none=True))[0].labels == ()
    assert len(strict.classify(["a the of"], MULTI)[0].labels) == 1


def test_the_manifest_tells_where_it_comes_from(kinds: dict[str, Path]) -> None:
    manifest = json.loads((kinds["hybrid"] / "manifest.json").read_text())
    assert manifest["taxonomy"]["digest"] == MULTI.digest
    assert manifest["data"]["train"]["rows"] == len(TRAINING)
    assert manifest["settings"]["trials"] == 2
    assert manifest["validation"]["micro-F1"] > 0.5
    assert {"torch", "scikit-learn"} <= manifest["versions"].keys()
    assert not list(kinds["minilm"].glob("unfinished-*"))


def test_nothing_is_pickled(kinds: dict[str, Path]) -> None:
    suffixes = {path.suffix for folder in kinds.values() for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".npz", ".safetensors", ".txt", ".yaml"}


def test_a_blend_is_the_weighted_mean_of_its_parts_and_no_worse(kinds: dict[str, Path], tmp_path: Path) -> None:
    blend = load(Path(shutil.copytree(kinds["blend"], tmp_path / "moved")))
    told = blend.manifest["notes"]["parts"]
    assert sum(part["weight"] for part in told) == pytest.approx(1)
    texts = [one.text.body for one in UNSEEN]
    mean = sum(part["weight"] * load(kinds[part["kind"]]).scorer.probabilities(texts) for part in told)
    np.testing.assert_allclose(blend.scorer.probabilities(texts), mean, atol=1e-5)
    parts = [load(kinds[name]).manifest["validation"] for name in ("tfidf-knn", "minilm-mlp")]
    assert blend.manifest["validation"]["micro-F1"] >= max(part["micro-F1"] for part in parts) - 0.02


def test_a_part_that_does_not_help_a_blend_is_left_out(kinds: dict[str, Path], tmp_path: Path) -> None:
    plan = TrainingPlan("blend", {"parts": (str(kinds["random"]), str(kinds["tfidf-lr"]), str(kinds["prior"]))})
    blend = train(plan, MULTI, TRAINING, VALIDATION, tmp_path)
    weights = {part["kind"]: part["weight"] for part in blend.manifest["notes"]["parts"]}
    assert weights["tfidf-lr"] > 0.7
    assert "random" not in weights


def test_what_cannot_be_blended_is_refused(kinds: dict[str, Path], tmp_path: Path) -> None:
    def attempt(parts: tuple[str, ...], validation: list[Example] = VALIDATION, taxonomy: Taxonomy = MULTI) -> None:
        train(TrainingPlan("blend", {"parts": parts}), taxonomy, TRAINING, validation, tmp_path / "new")

    two = str(kinds["tfidf-lr"]), str(kinds["tfidf-nb"])
    with pytest.raises(InvalidSetting, match="two parts or more"):
        attempt(two[:1])
    with pytest.raises(InvalidSetting, match="tuned on other validation texts"):
        attempt(two, VALIDATION[:40])
    with pytest.raises(InvalidSetting, match="trained for another taxonomy"):
        attempt(two, taxonomy=replace(MULTI, labels=MULTI.labels[::-1]))
    with pytest.raises(InvalidSetting, match="has no trained baseline"):
        attempt((two[0], str(tmp_path / "nowhere")))


def test_thresholds_of_other_weights_are_not_used(kinds: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(kinds["embedded-tuned"], tmp_path / "tuned")
    (folder / "weights.json").write_text('{"sha256": "of other weights"}')
    with pytest.raises(InvalidSetting, match=r"thresholds belong to other weights.*train again"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["random", "tfidf-nb", "tfidf-svm", "tfidf-knn", "tfidf-lr", "few-examples", "distilbert"]
)
def test_of_one_label_a_text_scores_share_one(name: str, tmp_path: Path, encoder: Path) -> None:
    settings = FINE_TUNING | {"base": str(encoder), "length_weight": 1.0} if name == "distilbert" else {}
    training, validation = examples(100, SINGLE), examples(60, SINGLE, seed=2)
    one = train(TrainingPlan(name, settings), SINGLE, training, validation, tmp_path)
    found = one.classify([example.text for example in UNSEEN], SINGLE)
    assert all(len(answer.labels) == 1 and answer.labels[0] == next(iter(answer.scores)) for answer in found)
    if name != "random":
        assert all(sum(answer.scores.values()) == pytest.approx(1, abs=1e-4) for answer in found)
        assert one.manifest["validation"]["micro-F1"] > 0.6


def test_training_again_gives_the_same(tmp_path: Path, encoder: Path) -> None:
    for name, settings in (("minilm-mlp", NEURAL), ("distilbert", FINE_TUNING | {"base": str(encoder), "epochs": 1})):
        plan = TrainingPlan(name, settings, cache=tmp_path / "cache", seed=4)
        first, second = (train(plan, MULTI, TRAINING, VALIDATION, tmp_path / where) for where in ("a", "b"))
        texts = [one.text.body for one in UNSEEN]
        np.testing.assert_allclose(first.scorer.probabilities(texts), second.scorer.probabilities(texts), atol=1e-5)


def test_a_label_that_is_not_named_in_an_incomplete_row_is_unknown(tmp_path: Path) -> None:
    without = [
        replace(one, labels=one.labels[:1], complete=False) if len(one.labels) > 1 else one for one in examples(200)
    ]
    blind = [replace(one, complete=True) for one in without]
    known, mistaken = (
        train(TrainingPlan("tfidf-lr", {"c": 5.0}, decode="global"), MULTI, rows, VALIDATION, tmp_path)
        for rows in (without, blind)
    )
    western = [one.text.body for one in UNSEEN if "Western" in one.labels and len(one.labels) > 1]
    places = MULTI.names.index("Western")
    gain = known.scorer.probabilities(western)[:, places] - mistaken.scorer.probabilities(western)[:, places]
    assert gain.mean() > 0.02


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    def attempt(plan: TrainingPlan, training: list[Example] = TRAINING, validation: list[Example] = VALIDATION) -> None:
        train(plan, MULTI, training, validation, tmp_path / "new")

    with pytest.raises(UnknownName, match="did you mean 'tfidf-lr'"):
        attempt(TrainingPlan("tfidf-rl"))
    with pytest.raises(InvalidSetting, match="tfidf-lr has no setting trials; it has c, min_count, ngrams"):
        attempt(TrainingPlan("tfidf-lr", {"trials": 3}))
    with pytest.raises(InvalidSetting, match="length_weight is for taxonomies of one label"):
        attempt(TrainingPlan("distilbert", {"length_weight": 1.0}))
    with pytest.raises(UnknownName, match="did you mean 'focal'"):
        attempt(TrainingPlan("distilbert", {"loss": "fokal"}))
    with pytest.raises(InvalidSetting, match=r"no encoder can be loaded from '.*nowhere'"):
        attempt(TrainingPlan("distilbert", {"base": str(tmp_path / "nowhere")}))
    with pytest.raises(InvalidDataset, match="are in training and validation"):
        attempt(TrainingPlan("prior"), TRAINING, TRAINING)
    with pytest.raises(InvalidDataset, match="no validation row has complete labels"):
        attempt(TrainingPlan("prior"), TRAINING, [replace(one, complete=False) for one in VALIDATION])
    with pytest.raises(InvalidSetting, match="has no trained baseline"):
        load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1, "taxonomy": {}}')
    with pytest.raises(InvalidSetting, match="damaged"):
        load(tmp_path)
