"""What a student is given: the teacher's labels and doubt by strategy, and sides on which no film stands twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.baselines import TrainingPlan, train
from eval.datasets import Example, Fields, pool
from eval.manifest import EvaluationData
from eval.rows import RunRow
from eval.run import EvaluationRun, OpenedSystem, RunOptions, System
from llm.backends.backend import FakeBackend
from llm.calibration.thresholds import ThresholdStore
from llm.classifier import AnswerSource, Problem
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tests.eval.baselines.labelled import MULTI, SINGLE, examples
from training.distillation import Answers, compared, labels_of_teacher, split_by_film, write

NAMES = MULTI.names  # War, Horror, Music, Western


def unlabelled(count: int = 24) -> list[Example]:
    return [Example(f"{n}", Text(f"text {n}"), (), f"film {n // 2}", complete=False) for n in range(count)]


def rows_of(
    folder: Path, backend: FakeBackend, strategy: str, taxonomy: Taxonomy, some: Sequence[Example]
) -> list[RunRow]:
    """The rows of a teacher behind a scripted engine, asked as the command asks."""
    data = folder / "data.jsonl"
    data.write_text("x")
    teacher = LanguageModel(backend, STRATEGIES[strategy], thresholds=ThresholdStore())
    system = System("llm", {}, lambda: OpenedSystem(teacher, "json_list"))
    return EvaluationRun(
        system, EvaluationData(data, None, None, taxonomy, some), folder / "teacher", RunOptions(2, 8)
    ).collect()


def test_a_list_without_probabilities_is_sure_of_all_it_says(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, FakeBackend(lambda _: '["Horror","War"]'), "json_list", MULTI, unlabelled())
    said = labels_of_teacher(unlabelled(), rows, MULTI)
    assert {one.labels for one in said.examples} == {("War", "Horror")}
    assert all(one.complete for one in said.examples)
    assert said.soft["3"] == [1, 1, 0, 0]
    assert said.doubt == "none: the teacher gave labels without scores"


def test_yes_and_no_give_each_label_its_own_probability(tmp_path: Path) -> None:
    def weights(conversation: Any) -> dict[str, float]:
        sure = 0.6 if '"War"' in conversation[-1]["content"] else 0.1
        return {"Yes": sure, "No": 0.8 - sure}

    rows = rows_of(tmp_path, FakeBackend(weights=weights), "yes_no", MULTI, unlabelled())
    said = labels_of_teacher(unlabelled(), rows, MULTI)
    assert said.examples[0].labels == ("War",)
    assert said.soft["0"] == pytest.approx([0.75, 0.125, 0.125, 0.125], abs=1e-5)
    assert said.doubt == "its score of each label"


def test_letters_give_shares_to_one_label_and_labels_alone_to_several(tmp_path: Path) -> None:
    backend = FakeBackend(weights=lambda _: {"A": 0.6, "B": 0.2})
    one = labels_of_teacher(unlabelled(), rows_of(tmp_path, backend, "label_tokens", SINGLE, unlabelled()), SINGLE)
    assert one.soft["0"] == pytest.approx([0.75, 0.25, 0, 0], abs=1e-4)
    assert sum(one.soft["0"]) == pytest.approx(1)
    (tmp_path / "other").mkdir()
    several = labels_of_teacher(
        unlabelled(), rows_of(tmp_path / "other", backend, "label_tokens", MULTI, unlabelled()), MULTI
    )
    assert several.soft["0"] == [1, 1, 0, 0]
    assert "sum to 1" in several.doubt


def test_the_words_of_a_list_give_what_was_written_its_probability() -> None:
    scores = {"War": 0.7, "Horror": 0.0, "Music": 0.0, "Western": 0.0}
    source = AnswerSource("m", "t@1", strategy="json_list")
    rows = [RunRow(f"{n}", f"{n}", (), ("War",), scores, source=source) for n in range(24)]
    said = labels_of_teacher(unlabelled(), rows, MULTI)
    assert said.soft["5"] == [0.7, 0, 0, 0]
    assert said.doubt == "the probability of each generated label"


def test_texts_without_an_answer_are_counted_and_those_that_may_get_one_are_waited_for(tmp_path: Path) -> None:
    def reply(conversation: Any) -> str | Problem:
        failing = {"text 3\n": Problem("rejected", "no"), "text 4\n": Problem("busy", "later")}
        return next((one for text, one in failing.items() if text in conversation[-1]["content"]), "[]")

    free = replace(MULTI, allow_none=True)
    rows = rows_of(tmp_path, FakeBackend(reply), "json_list", free, unlabelled())
    with pytest.raises(InvalidSetting, match=r"1 of 24 texts failed temporarily; .* --partial"):
        labels_of_teacher(unlabelled(), rows, free)
    said = labels_of_teacher(unlabelled(), rows, free, partial=True)
    assert (len(said.examples), said.unanswered) == (22, {"rejected": 1, "busy": 1})
    with pytest.raises(InvalidDataset, match=r"19 texts were answered, and a student needs at least 20"):
        labels_of_teacher(unlabelled()[5:], rows[5:], free)


def test_a_film_stands_on_one_side_and_the_tables_own_test_rows_are_held_back() -> None:
    some = [replace(one, labels=(NAMES[n % 4],)) for n, one in enumerate(unlabelled(60))]
    dealt = split_by_film(some, 0)
    assert [len(dealt[name]) for name in ("train", "validation", "test")] == [48, 6, 6]
    assert split_by_film(some, 0) == dealt
    groups = [{one.group for one in side} for side in dealt.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    tested = [replace(one, split="test" if n < 5 else "") for n, one in enumerate(some)]
    given = split_by_film(tested, 0)
    assert [one.id for one in given["test"]] == ["0", "1", "2", "3", "4"]
    assert "5" not in {one.id for side in given.values() for one in side}, "its film is tested"
    with pytest.raises(InvalidDataset, match="leave none for"):
        split_by_film(some[:2], 0)


def test_a_table_needs_no_labels_and_those_it_has_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [{"id": 1, "description": "a"}, {"id": 2, "description": ""}, {"id": 3, "description": "b", "own": ["War"]}]
    path.write_text("".join(json.dumps({"own": [], **row}) + "\n" for row in rows))
    loaded = pool(path, MULTI, Fields(labels=""))
    assert [(one.id, one.labels, one.complete) for one in loaded.examples] == [("1", (), False), ("3", (), False)]
    assert loaded.skipped == {"without a text": 1}
    gold = pool(path, MULTI, Fields(labels="own"))
    assert [(one.labels, one.complete) for one in gold.examples] == [((), False), (("War",), True)]
    path.write_text('{"description": " "}\n')
    with pytest.raises(InvalidDataset, match="has no text"):
        pool(path, MULTI, Fields(labels=""))


def test_a_student_learns_the_doubt_and_not_the_label_alone(tmp_path: Path) -> None:
    training, validation = examples(60), examples(20, seed=2)
    soft = {one.id: [0.3 if name in one.labels else 0.0 for name in NAMES] for one in training}
    found = {}
    for name, doubt in (("sure", None), ("doubtful", soft)):
        plan = TrainingPlan(
            "minilm-mlp", {"trials": 1, "epochs": 30}, cache=tmp_path / "cache", teacher={"system": "llm"}
        )
        found[name] = train(plan, MULTI, training, validation, tmp_path / name, soft=doubt)
    texts = [one.text for one in training]
    highest = {
        name: sum(max(answer.scores.values()) for answer in student.classify(texts, MULTI)) / len(texts)
        for name, student in found.items()
    }
    assert highest["doubtful"] < highest["sure"]
    assert found["sure"].manifest["teacher"] == {"system": "llm"}


def test_the_report_tells_what_was_kept_and_what_a_text_costs(tmp_path: Path) -> None:
    teacher = Answers({"1": ["War"], "2": ["Music"]}, {"p50 ms": 900.0, "USD per 1,000": None})
    student = Answers({"1": ["War"], "2": ["Horror"]}, {"p50 ms": 9.0, "USD per 1,000": 0.0})
    gold = [Example("1", Text("a"), ("War",)), Example("2", Text("b"), ("Music",))]
    told = {
        "data": "texts.csv", "taxonomy": "stories@0",
        "teacher": {"name": "qwen", "strategy": "json_list", "doubt": "none"},
        "student": {"kind": "minilm-mlp"},
        "texts": {"table": 30, "answered": 28, "unanswered": {"rejected": 2}, "train": 22, "validation": 3, "test": 3},
    }  # fmt: skip
    found = told | compared(teacher, {"student": student}, gold, MULTI)
    assert found["agreement with the teacher"]["student"]["micro-F1"] == 0.5
    assert found["kept"]["micro-F1"] == 0.5
    page, figures = write(tmp_path, found)
    assert json.loads(figures.read_text()) == json.loads(json.dumps(found))
    words = page.read_text()
    assert "qwen labelled 28 of 30 texts of `texts.csv` with the taxonomy stories@0" in words
    assert "Texts without an answer: 2 rejected." in words
    assert "| teacher | 900 | unknown |" in words
    assert "| student | 9.000 | 0.000 |" in words
    assert "Student in percent of the teacher: 50% of micro-F1" in words
    assert "\n\n\n" not in words
