"""Training of the general branch: its data, resumption, and the constants fitted on what was left out."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.datasets import Example
from llm.embedded.matcher import SHIPPED, matcher
from llm.embedded.weights import load
from prompts.errors import InvalidDataset, UnknownName
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from similarity.encoders.minilm import MiniLM
from training.matcher.dataset import Concept
from training.matcher.general import GeneralSchedule, ready, stages, train
from training.matcher.general_calibration import LeftOut, fitted_numbers, quality, recognised
from training.matcher.general_data import MAX_PIECES, FamilyTexts, film_sets, folds, general_sets
from training.matcher.general_run import GeneralPlan, train_general

QUICK = GeneralSchedule(steps=3, sets=2, texts=4, most=12)
TOPICS = {"sport": "The striker scored twice.", "money": "Shares fell by a third.", "food": "Roast the pumpkin first."}
INTENTS = {"refund": "I want my money back.", "login": "I cannot sign in.", "late": "My parcel is late."}
GRADES = {"good": "What a lovely evening.", "bad": "A dull, lifeless waste."}


def family(folder: Path, name: str, texts: dict[str, str], **entry: str) -> None:
    """Write a family: each text in the splits train and validation, with a number that makes it unique."""
    labels = [{"name": label, **entry} for label in texts]
    (folder / f"{name}.labels.json").write_text(json.dumps({"labels": labels, "multi": False}))
    rows = [
        {"id": f"{split}{number}{label}", "text": f"{text} {split} {number}", "labels": [label], "split": split}
        for split in ("train", "validation") for number in range(4) for label, text in texts.items()
    ]  # fmt: skip
    with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "families"
    folder.mkdir()
    family(folder, "agnews", TOPICS)
    family(folder, "nlupp_banking", INTENTS, description="a wish of a customer", code="some_code", parent="service")
    family(folder, "tweet_irony", GRADES)
    return folder


def test_a_label_has_its_name_first_and_its_name_and_description_last(suite: Path) -> None:
    by_name = {one.name: one for one in general_sets(suite, "train")}
    assert by_name["nlupp_banking"].phrasings[0] == (
        "refund", "refund", "refund", "Refund", "service: refund", "some code", "a wish of a customer",
        "refund: a wish of a customer", "refund: a wish of a customer",
    )  # fmt: skip
    assert by_name["agnews"].phrasings[0] == ("sport", "sport", "sport", "Sport", "sport")
    assert (by_name["agnews"].field, by_name["nlupp_banking"].field) == ("topics", "requests")


def test_only_english_texts_of_the_split_are_read_and_parents_are_labels_too(suite: Path) -> None:
    rows = [
        {"text": "Ein Satz.", "labels": ["a"], "split": "train", "language": "de"},
        {"text": "A sentence.", "labels": ["a"], "split": "train", "parent": ["up"]},
        {"text": "Another one.", "labels": ["b", "a"], "split": "train", "parent": ["down", "up"]},
        {"text": "Nothing of these.", "labels": [], "split": "train"},
        {"text": "For measuring.", "labels": ["a"], "split": "test"},
    ]
    (suite / "own.labels.json").write_text(json.dumps({"labels": [{"name": "a"}, {"name": "b"}], "multi": True}))
    with gzip.open(suite / "own.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"id": str(number), **row}) + "\n" for number, row in enumerate(rows))
    by_name = {one.name: one for one in general_sets(suite, "train")}
    own, parents = by_name["own"], by_name["own/parents"]
    assert (len(own.texts), own.true, own.field) == (3, ((0,), (1, 0), ()), "own")
    assert (parents.labels, parents.true) == (("up", "down"), ((0,), (1, 0), ()))
    assert "own" not in {one.family for one in general_sets(suite, "train", ["own"])}


def test_a_family_that_does_not_exist_and_a_folder_without_texts_are_errors(suite: Path) -> None:
    with pytest.raises(UnknownName, match="agnew"):
        general_sets(suite, "train", ["agnew"])
    with pytest.raises(InvalidDataset, match="no English text of the split 'dev'"):
        general_sets(suite, "dev")


def test_films_with_a_cut_list_are_left_out_and_of_a_review_the_end_is_read() -> None:
    names = [("genres", "War"), ("interests", "Heist"), ("reviews", "positive"), ("reviews", "negative")]
    concepts = [Concept(kind, name, (name,)) for kind, name in names]
    films = [Example("a", Text("A war."), ("War",), extra=("Heist", "unworded")),
             Example("b", Text("A war."), ("War",), complete=False)]  # fmt: skip
    review = Example("c", Text("start " + "word " * 200 + "end"), ("negative",))
    genres, interests, reviews = film_sets(films, [review], concepts)
    assert (len(genres.texts), interests.true, reviews.true, reviews.multi) == (1, ((0,),), ((1,),), False)
    assert len(reviews.texts[0]) == MAX_PIECES
    assert reviews.texts[0][-1] != reviews.texts[0][0]


def test_every_family_of_a_fold_is_one_that_there_is(suite: Path) -> None:
    assert folds(general_sets(suite, "train")) == [
        frozenset({"agnews"}), frozenset({"nlupp_banking"}), frozenset({"tweet_irony"})
    ]  # fmt: skip


def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.matcher.general._SAVE_EVERY", 1)
    sets = ready(general_sets(suite, "train"), MiniLM(), tmp_path / "states", lambda *_: None)
    centre = np.zeros(384, np.float32)
    whole = train(sets, centre, QUICK, stages(tmp_path / "a.safetensors"), lambda *_: None)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    again = stages(tmp_path / "b.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(sets, centre, QUICK, again, stop)
    seen: list[int] = []
    resumed = train(sets, centre, QUICK, again, lambda stage, done, total: seen.append(done))
    assert seen == [2, 3]
    for name, value in whole.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


def test_the_whole_training_writes_weights_that_classify_and_a_manifest(suite: Path, tmp_path: Path) -> None:
    base, out = load(SHIPPED), tmp_path / "own.v1.safetensors"
    plan = GeneralPlan(base, general_sets(suite, "train"), general_sets(suite, "validation"), QUICK)
    manifest = train_general(plan, out, "main.py train matcher", lambda *_: None)
    assert manifest == json.loads(out.with_suffix(".json").read_text())
    assert set(manifest["left out by fold"]) == {"agnews", "nlupp_banking", "tweet_irony"}
    assert manifest["label sets"] == {"agnews": 12, "nlupp_banking": 12, "tweet_irony": 8}
    trained = matcher(out)
    assert trained.name == "embedded/own.v1"
    assert np.abs(trained.weights.general.changes["encoder.layer.5.output.dense.weight"]).max() > 0
    (found,) = trained.classify(["I want my money back."], Taxonomy("own", tuple(map(Label, INTENTS)), multi=False))
    assert sum(found.scores.values()) == pytest.approx(1, abs=1e-2)
    assert trained.weights.biases == pytest.approx(base.biases)  # the film branch is kept


def separable(name: str, field: str, noise: float, multi: bool = False) -> LeftOut:
    """Label vectors along axes, and texts near the axis of their label."""
    draw = np.random.default_rng(len(name))
    labels = np.eye(8, 384, k=len(field) * 8, dtype=np.float32)
    true = np.eye(8, dtype=bool)[draw.integers(0, 8, 60)]
    texts = (0.5 * true @ labels + noise * draw.normal(size=(60, 384))).astype(np.float32)
    return LeftOut(name, field, multi, texts, labels, true, np.eye(300, 384, dtype=np.float32)[::-1])


def test_constants_make_clear_texts_more_certain_than_noisy_ones() -> None:
    clear = [separable("one", "a", 0.01), separable("several", "bb", 0.01, multi=True)]
    noisy = [separable("one", "a", 0.2), separable("several", "bb", 0.2, multi=True)]
    assert quality(clear[0]) == quality(clear[1]) == 1
    assert quality(noisy[0]) < 1
    sharp, soft = fitted_numbers(clear), fitted_numbers(noisy)
    assert set(sharp) == set(soft) >= {"several scale", "one scale", "lone bias", "scope offset"}
    cosine = 0.5
    assert (sharp["one scale"] + sharp["one crowd"] * np.log(8)) * cosine > (
        soft["one scale"] + soft["one crowd"] * np.log(8)
    ) * cosine
    assert min(recognised(clear, sharp).values()) > 0.95


def test_a_sample_is_always_the_same() -> None:
    one = FamilyTexts("x", "x", "x", False, ("a",), (("a",),), tuple((number,) for number in range(9)), ((0,),) * 9)
    assert one.sample(3) == one.sample(3)
    assert len(one.sample(3).texts) == 3
    assert replace(one, name="y").sample(9).texts != one.sample(9).texts
