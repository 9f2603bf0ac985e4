"""Rules from scores to sets: rare labels, abstention, and answers that a rule is not for."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from llm.calibration.prediction_sets import SetRule, SetStore, fit_sets
from llm.classifier import AnswerSource, Prediction, Problem
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy

SEVERAL = Taxonomy.of(["a", "b", "c", "d"], name="letters", multi=True)
ONE = Taxonomy.of(["a", "b", "c"], name="letters")
SOURCE = AnswerSource("a-model", ONE.versioned_name)
ANSWER = Prediction(("a",), SOURCE, {"a": 0.7, "b": 0.2, "c": 0.1}, score_type="share")


def one_rule(**fields: object) -> SetRule:
    found = SetRule(ONE.names, 0.9, 20, 1, False, 0.5, taxonomy=ONE.versioned_name)
    return replace(found, **fields)  # type: ignore[arg-type]


def test_each_label_has_the_threshold_of_its_texts() -> None:
    rows = [{"a": 0.3 + number / 100, "b": 0.9 - number / 100, "c": 0.0, "d": 0.0} for number in range(19)]
    rule = fit_sets(rows, [["a", "b"]] * 19, SEVERAL, 0.9)
    assert rule.least["a"] == pytest.approx(0.31)  # the 18th best of 19: rank ceil(20 * .9)
    assert rule.least["b"] == pytest.approx(0.73)
    assert (rule.counts["a"], rule.counts["c"], rule.most) == (19, 0, 2)
    assert rule.labels_of({"a": 0.31, "b": 0.8, "c": 0.0, "d": 0.0}) == ("b", "a")


def test_rare_labels_share_the_threshold_of_their_texts() -> None:
    common = [({"a": 0.9, "b": 0.0, "c": 0.0, "d": 0.0}, ["a"])] * 20
    rare = [
        ({"a": 0.8, "b": 0.2 + number / 100, "c": 0.2, "d": 0.0}, ["b" if number % 2 else "c"]) for number in range(9)
    ]
    rows, right = zip(*common, *rare, strict=True)
    rule = fit_sets(rows, right, SEVERAL, 0.9)
    assert rule.pooled == ["b", "c", "d"]
    assert rule.least["b"] == rule.least["c"] == rule.least["d"] == pytest.approx(0.2)
    too_few = fit_sets(rows[:-4], right[:-4], SEVERAL, 0.9)  # 5 texts of rare labels: all labels share
    assert too_few.pooled == ["b", "c", "d"]
    assert too_few.least["d"] == pytest.approx(0.2)
    assert too_few.least["a"] == pytest.approx(0.9)


def test_too_few_texts_are_an_error_with_both_numbers() -> None:
    rows = [{"a": 0.6, "b": 0.3, "c": 0.1}] * 12
    with pytest.raises(
        InvalidDataset, match=r"8 texts with scores and a right label; a coverage of 0.9 needs 9 or more"
    ):
        fit_sets(rows, [["a"]] * 8 + [[]] * 4, ONE, 0.9)
    assert fit_sets(rows, [["a"]] * 9 + [[]] * 3, ONE, 0.9).texts == 9


def test_a_label_that_was_not_scored_makes_its_rule_wider() -> None:
    """A shortlist leaves labels out: a right label without a score cannot be below a threshold."""
    rows = [{"a": 0.5} for _ in range(9)]
    rule = fit_sets(rows, [["b"]] * 9, ONE, 0.9)
    assert rule.limit is None
    assert rule.labels_of({"a": 0.5}) == ("a", "b", "c")
    several = fit_sets(rows, [["b"]] * 9, SEVERAL, 0.9)
    assert several.least["b"] is None
    assert "b" in several.labels_of({"a": 0.5})


def test_the_best_label_is_in_every_adaptive_set() -> None:
    rule = one_rule(limit=0.0)
    assert rule.labels_of({"a": 0.4, "b": 0.35, "c": 0.25}) == ("a",)
    assert rule.added(ANSWER).abstain is False
    wide = one_rule(limit=0.75)
    assert wide.added(ANSWER).set == ("a", "b")
    assert wide.added(ANSWER).abstain is True


def test_an_empty_set_and_one_above_the_most_right_labels_abstain() -> None:
    rule = SetRule(SEVERAL.names, 0.9, 20, 2, True, least=dict.fromkeys("abcd", 0.5))
    found = [
        rule.labels_of(dict(zip("abcd", scores, strict=True)))
        for scores in ([0.1] * 4, [0.9, 0.6, 0, 0], [0.9] * 3 + [0])
    ]
    assert [len(one) for one in found] == [0, 2, 3]
    assert [rule.abstains(one) for one in found] == [True, False, True]


def test_answers_without_scores_or_with_a_problem_have_no_set() -> None:
    rule = one_rule()
    for answer in (replace(ANSWER, scores={}), Prediction((), SOURCE, problem=Problem("busy", "later"))):
        assert rule.added(answer) is answer


def test_a_rule_is_for_one_source_and_one_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "coverage.json"
    SetStore(path, "now").put({SetStore.key(SOURCE): one_rule(state="now")})
    json.loads(path.read_text(), parse_constant=pytest.fail)
    store = SetStore(path, "now")
    assert store.added([ANSWER])[0].set == ("a",)
    others = {
        "model": replace(ANSWER, source=replace(SOURCE, model="another")),
        "taxonomy": replace(ANSWER, source=replace(SOURCE, taxonomy="letters@0")),
        "prompt": replace(ANSWER, source=replace(SOURCE, prompt="plot.v1@0", strategy="yes_no")),
        "learned": replace(ANSWER, learned="letters/000001"),
    }
    for answer in others.values():
        assert SetStore(path, "now").added([answer]) == [answer]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert store.added([others["model"]]) == [others["model"]]
        assert SetStore(path, "later").added([ANSWER]) == [ANSWER]
        unrelated = replace(ANSWER, source=AnswerSource("a-model", "genres@1"))
        assert store.added([unrelated]) == [unrelated]
    name = ONE.versioned_name
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        f"no prediction sets for answers of another {name}: the calibration in {path} is for a-model {name}",
        f"no prediction sets for answers of a-model {name}: the calibration in {path} is for other settings",
    ]


def test_a_refreshed_store_has_the_rules_and_the_settings_of_now(tmp_path: Path) -> None:
    path, states = tmp_path / "coverage.json", ["now"]
    store = SetStore(path, states[-1], lambda: states[-1])
    assert store.added([ANSWER]) == [ANSWER]
    SetStore(path).put({SetStore.key(SOURCE): one_rule(state="now")})
    assert store.added([ANSWER]) == [ANSWER], "without a refresh, all answers of a run have the same rules"
    store.refresh()
    assert store.added([ANSWER])[0].set == ("a",)
    states.append("later")  # such as other thresholds: the scores are not those of the calibration any more
    store.refresh()
    assert store.added([ANSWER]) == [ANSWER]
    SetStore(path).put({SetStore.key(SOURCE): one_rule(state="later")})
    store.refresh()
    assert store.added([ANSWER])[0].set == ("a",)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "coverage.json"
    path.write_text('{"a": {"labels": 1}}')
    with pytest.raises(InvalidSetting, match=r"coverage.json holds no SetRule .*; delete it and calibrate again"):
        SetStore(path)
