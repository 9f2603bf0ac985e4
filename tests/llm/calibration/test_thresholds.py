"""From scores to labels: thresholds, learnt and set, and the label-free correction of bias."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.calibration.thresholds import LabelThreshold, ThresholdStore, batch_calibration, default, fit
from prompts.errors import InvalidSetting
from prompts.taxonomy import Label, Taxonomy

ABC = Taxonomy("abc", (Label("a"), Label("b"), Label("c")), max_labels=2)


def test_labels_from_the_threshold_on_best_first_and_no_more_than_allowed() -> None:
    assert LabelThreshold(0.5).choose({"a": 0.6, "b": 0.9, "c": 0.7}, ABC) == ("b", "c")
    assert LabelThreshold(0.8).choose({"a": 0.6, "b": 0.9, "c": 0.7}, ABC) == ("b",)


def test_the_best_one_at_least_unless_none_is_an_answer() -> None:
    scores = {"a": 0.1, "b": 0.3, "c": 0.2}
    assert LabelThreshold(0.5).choose(scores, ABC) == ("b",)
    assert LabelThreshold(0.5).choose(scores, ABC.shaped(allow_none=True)) == ()


def test_fit_finds_the_threshold_that_labelled_texts_ask_for() -> None:
    scores = [{"a": 0.9, "b": 0.3, "c": 0.1}, {"a": 0.2, "b": 0.35, "c": 0.1}, {"a": 0.1, "b": 0.2, "c": 0.8}]
    truth = [["a", "b"], ["b"], ["c"]]
    decision = fit(scores, truth, ABC)
    assert [set(decision.choose(some, ABC)) for some in scores] == [set(names) for names in truth]


def test_batch_calibration_takes_away_what_a_model_prefers_whatever_the_text_is() -> None:
    biased = [{"a": 0.70, "b": 0.20, "c": 0.10}, {"a": 0.60, "b": 0.35, "c": 0.05}, {"a": 0.65, "b": 0.20, "c": 0.15}]
    decision = batch_calibration(biased, mutually_exclusive=True, threshold=0.1)
    best = [next(iter(decision.adjusted(some, mutually_exclusive=True))) for some in biased]
    assert best == ["a", "b", "c"]
    assert sum(decision.adjusted(biased[0], mutually_exclusive=True).values()) == pytest.approx(1)


def test_batch_calibration_of_single_questions_keeps_how_often_yes_is_said_on_the_whole() -> None:
    scores = [{"a": 0.9, "b": 0.1, "c": 0.2}, {"a": 0.8, "b": 0.3, "c": 0.1}]
    decision = batch_calibration(scores, mutually_exclusive=False, threshold=0.5)
    assert sum(decision.logit_offsets.values()) == pytest.approx(0)
    assert decision.logit_offsets["a"] < 0 < decision.logit_offsets["b"]


def test_none_is_chosen_where_it_has_the_largest_share() -> None:
    several = ABC.shaped(allow_none=True)
    assert LabelThreshold(0.1).choose({"a": 0.12, "b": 0.02, "c": 0.01}, several, mutually_exclusive=True) == ()
    assert LabelThreshold(0.1).choose({"a": 0.4, "b": 0.25, "c": 0.0}, several, mutually_exclusive=True) == ("a", "b")
    assert LabelThreshold(0.1).choose({"a": 0.12, "b": 0.02, "c": 0.01}, ABC, mutually_exclusive=True) == ("a",)
    assert "none" in LabelThreshold(0.1).rule(several, mutually_exclusive=True)
    assert LabelThreshold(0.1).rule(several, mutually_exclusive=True) != LabelThreshold(0.1).rule(several)


def test_fit_counts_a_text_that_none_wins_as_one_without_labels() -> None:
    several = ABC.shaped(allow_none=True)
    scores = [{"a": 0.3, "b": 0.0, "c": 0.0}, {"a": 0.28, "b": 0.3, "c": 0.2}]
    decision = fit(scores, [[], ["b", "a"]], several, mutually_exclusive=True)
    assert decision.choose(scores[0], several, mutually_exclusive=True) == ()
    assert set(decision.choose(scores[1], several, mutually_exclusive=True)) == {"a", "b"}
    assert decision.threshold <= 0.28, "the first text does not force the threshold above its .3"


def test_batch_calibration_takes_away_a_preference_for_none_too() -> None:
    biased = [{"a": 0.2, "b": 0.1, "c": 0.0}, {"a": 0.1, "b": 0.25, "c": 0.05}, {"a": 0.05, "b": 0.05, "c": 0.0}]
    decision = batch_calibration(biased, mutually_exclusive=True, threshold=0.1)
    several = ABC.shaped(allow_none=True)
    found = [decision.adjusted(some, mutually_exclusive=True) for some in biased]
    assert all(sum(some.values()) < 1 for some in found)
    chosen = [decision.choose(some, several, mutually_exclusive=True) for some in found]
    assert [names[:1] for names in chosen] == [("a",), ("c",), ()]


@given(
    st.lists(st.fixed_dictionaries({name: st.floats(0, 1) for name in "abc"}), min_size=1, max_size=20), st.booleans()
)
def test_calibrated_scores_stay_probabilities(scores: list[dict[str, float]], mutually_exclusive: bool) -> None:
    decision = batch_calibration(scores, mutually_exclusive, 0.5)
    for some in scores:
        adjusted = decision.adjusted(some, mutually_exclusive)
        assert set(adjusted) == {"a", "b", "c"}
        assert all(0 <= score <= max(1.0, sum(some.values())) + 1e-9 for score in adjusted.values())
        assert list(adjusted.values()) == sorted(adjusted.values(), reverse=True)


def test_decisions_are_kept_by_key_and_a_set_threshold_goes_before(tmp_path: Path) -> None:
    path = tmp_path / "var" / "decisions.json"
    ThresholdStore(path).put("model letters", LabelThreshold(0.3, {"a": 0.5}))
    ThresholdStore(path).put("model yes_no", LabelThreshold(0.7))
    line = LabelThreshold(0.2, {"a": 0.5}, {"a": 2.0}, separate=True)
    ThresholdStore(path).put("model lines", line)
    again = ThresholdStore(path)
    assert again.get("model lines", mutually_exclusive=True) == line
    assert ThresholdStore(path, threshold=0.9).get("model lines", True) == replace(line, threshold=0.9)
    assert again.get("model letters", mutually_exclusive=True) == LabelThreshold(0.3, {"a": 0.5})
    assert again.get("other", mutually_exclusive=True) == default(mutually_exclusive=True)
    assert again.get("other", mutually_exclusive=False) == LabelThreshold(0.5)
    assert ThresholdStore(path, threshold=0.9).get("model letters", mutually_exclusive=True) == LabelThreshold(
        0.9, {"a": 0.5}
    )


def test_the_parts_for_the_cache_key_are_those_of_earlier_versions_where_no_line_is_learned() -> None:
    assert LabelThreshold(0.3, {"a": 1.0}).parts == {"threshold": 0.3, "logit_offsets": {"a": 1.0}}
    assert LabelThreshold(0.0).parts == {"threshold": 0.0, "logit_offsets": {}}
    assert LabelThreshold(0.0, {}, {"a": 2.0}).parts == {"threshold": 0.0, "logit_offsets": {}, "slopes": {"a": 2.0}}


def test_a_damaged_file_is_told_and_no_file_is_no_fault(tmp_path: Path) -> None:
    for content, message in (("[1]", "must be a JSON object"), ('{"a": 1}', "calibrate again")):
        (tmp_path / "d.json").write_text(content)
        with pytest.raises(InvalidSetting, match=message):
            ThresholdStore(tmp_path / "d.json")
    assert ThresholdStore(tmp_path / "none.json").get("x", mutually_exclusive=False).threshold == 0.5
    with pytest.raises(InvalidSetting, match="MARQUEE_THRESHOLDS_PATH"):
        ThresholdStore().put("x", LabelThreshold(0.1))


def test_a_changed_file_is_read_again_where_the_owner_of_the_store_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "thresholds.json"
    store = ThresholdStore(path)

    def threshold() -> float:
        return store.get("k", mutually_exclusive=False).threshold

    assert not store.refresh()
    for value in (0.3, 0.7):  # the file is new, then replaced
        before = threshold()
        ThresholdStore(path).put("k", LabelThreshold(value))
        assert threshold() == before, "a run that does not refresh has one rule for all texts"
        assert store.refresh()
        assert threshold() == value
        assert not store.refresh()
    path.write_text("{")
    with caplog.at_level(logging.ERROR):
        assert [store.refresh(), store.refresh()] == [True, False]
    assert threshold() == 0.7, "a damaged file leaves what was read before"
    assert [record.getMessage() for record in caplog.records] == [
        f"not used, and the values before it stay in use: {path}:1 is not JSON; correct the file or delete it"
    ]
    path.unlink()
    assert store.refresh()
    assert threshold() == 0.5, "no file, no threshold"


@pytest.mark.parametrize("separate", [False, True])
def test_a_probability_of_each_label_below_a_tenth_is_out_of_scope_however_it_was_calibrated(separate: bool) -> None:
    taxonomy = Taxonomy("t", (Label("a"), Label("b")), max_labels=2, allow_none="out_of_scope")
    threshold = LabelThreshold(0.5, separate=separate)
    assert threshold.choose({"a": 0.09, "b": 0.02}, taxonomy, mutually_exclusive=separate) == ()
    assert threshold.choose({"a": 0.2, "b": 0.02}, taxonomy, mutually_exclusive=separate) == ("a",)
    assert "none below 0.1" in threshold.rule(taxonomy, mutually_exclusive=separate)
