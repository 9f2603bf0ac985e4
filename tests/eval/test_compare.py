"""Two runs over the same texts: how they are paired, what is found, and how it is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.compare import Comparison, compare, compare_with_others
from eval.metrics import METRICS
from eval.results import RunResults
from eval.significance import Sums, group_numbers, holm, randomisation_test
from prompts.errors import InvalidDataset
from tests.eval.runs import noisy_rows, row, write_run

TEXTS = 300


def made(folder: Path, right: float, seed: int) -> RunResults:
    return RunResults.read(write_run(folder, noisy_rows(TEXTS, right, seed)))


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A clearly better second run."""
    folder = tmp_path_factory.mktemp("clear")
    return compare(made(folder / "old", 0.8, 1), made(folder / "new", 0.9, 2))


def written(folder: Path, *rows: dict[str, Any], **more: Any) -> RunResults:
    return RunResults.read(write_run(folder, rows, **more))


def test_a_clear_difference_is_told_with_its_size_interval_and_chance(clear: Comparison) -> None:
    micro = clear.differences[0]
    assert (micro.metric, micro.better) == ("micro-F1", "B")
    assert micro.difference == pytest.approx(micro.b - micro.a)
    assert 0 < micro.low < micro.difference < micro.high
    interval = f"{micro.difference:.3f} [{micro.low:.3f}, {micro.high:.3f}]"
    assert clear.verdict.startswith(f"B is better on micro-F1 by {interval}, p<0.001, macro-F1 by")


def test_the_verdict_turns_with_the_runs(clear: Comparison) -> None:
    turned = compare(clear.pair.b, clear.pair.a)
    assert turned.verdict == clear.verdict.replace("B is better", "A is better")
    assert turned.differences[0].difference == pytest.approx(-clear.differences[0].difference)


def test_chance_alone_is_told_as_no_difference(tmp_path: Path) -> None:
    found = compare(made(tmp_path / "a", 0.8, 1), made(tmp_path / "b", 0.8, 2))
    assert found.verdict == (
        "No difference found on micro-F1, macro-F1, samples-F1, Jaccard, subset accuracy, AL-1 and AL-2."
    )
    assert all(one.low < 0 < one.high for one in found.differences)


def test_as_json_everything_is_there(clear: Comparison) -> None:
    body = clear.as_json()
    assert (body["a"]["system"], body["b"]["system"]) == ("old", "new")
    assert (body["texts"], body["groups"], body["notes"]) == (TEXTS, TEXTS // 2, [])
    assert body["differences"][0].keys() == {"metric", "a", "b", "difference", "low", "high", "p", "better"}
    assert body["verdict"] == clear.verdict


def test_texts_and_labels_may_stand_in_another_order(clear: Comparison, tmp_path: Path) -> None:
    backwards = RunResults.read(write_run(tmp_path, list(reversed(noisy_rows(TEXTS, 0.9, 2))), labels=("c", "a", "b")))
    again = compare(clear.pair.a, backwards)
    assert [one.difference for one in again.differences] == pytest.approx([one.difference for one in clear.differences])


def test_average_precision_is_compared_by_its_interval_alone(tmp_path: Path) -> None:
    def scored(folder: Path, right: float, seed: int) -> RunResults:
        rows = noisy_rows(60, right, seed)
        scores = [{label: float(label in one["labels"]) for label in "abc"} for one in rows]
        return RunResults.read(
            write_run(folder, [{**one, "scores": mine} for one, mine in zip(rows, scores, strict=True)])
        )

    last = compare(scored(tmp_path / "a", 0.7, 1), scored(tmp_path / "b", 0.9, 2)).differences[-1]
    assert (last.metric, last.p, last.better) == ("macro-AP", None, None)
    assert 0 < last.low < last.difference < last.high


def test_other_texts_are_refused_unless_the_common_ones_will_do(tmp_path: Path) -> None:
    a = written(tmp_path / "a", row("1", ["a"], ["a"]), row("2", ["b"], ["a"]))
    b = written(tmp_path / "b", row("2", ["b"], ["b"]), row("3", ["c"], ["c"]), row("4", ["c"], []))
    with pytest.raises(InvalidDataset, match=r"in both runs: 1, only in A: 1, only in B: 2.*--common"):
        compare(a, b)
    found = compare(a, b, common=True)
    assert found.pair.a.ids == found.pair.b.ids == ("2",)
    assert found.pair.notes == ("texts in both runs: 1, only in A: 1, only in B: 2; compared over those in both",)


@pytest.mark.parametrize(
    ("other", "labels", "said"),
    [
        (row("2", ["a"], []), "abc", "no text in common"),
        (row("1", ["b"], []), "abc", "other true labels in B"),
        (row("1", ["a"], [], group="g"), "abc", "group '1' in A and 'g' in B"),
        (row("1", ["a"], []), "abd", "only A has c; only B has d"),
        (row("1", ["a"], [], complete=False), "abc", "nothing can be measured"),
    ],
)
def test_runs_that_cannot_be_paired_say_why(other: dict[str, Any], labels: str, said: str, tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", row("1", ["a"], [])), written(tmp_path / "b", other, labels=labels)
    with pytest.raises(InvalidDataset, match=said):
        compare(a, b, common=True)


def test_what_else_differs_is_told(tmp_path: Path) -> None:
    rows = [row("1", ["a", "b"], ["a"]), row("2", ["b"], ["b"]), row("3", ["b"], [], complete=False)]
    found = compare(written(tmp_path / "a", *rows), written(tmp_path / "b", *rows, data="d2", taxonomy="t2"))
    data, taxonomy, excluded = found.pair.notes
    assert "the texts themselves may not be the same" in data
    assert "differ otherwise" in taxonomy
    assert excluded == "excluded, because their true labels are not all known: 1"


def test_where_texts_have_one_label_accuracy_is_compared(tmp_path: Path) -> None:
    a = written(tmp_path / "a", row("1", ["a"], ["a"]), row("2", ["b"], []))
    assert [one.metric for one in compare(a, a).differences] == ["accuracy", "macro-F1"]


def test_runs_over_a_hierarchy_are_compared_by_their_paths_too(tmp_path: Path) -> None:
    labels = ["A > 1", "A > 2", "B"]
    near = written(tmp_path / "near", row("1", ["A > 1"], ["A > 2"]), row("2", ["B"], ["B"]), labels=labels)
    far = written(tmp_path / "far", row("1", ["A > 1"], ["B"]), row("2", ["B"], ["B"]), labels=labels)
    last = compare(far, near).differences[-1]
    assert last.metric == "hierarchical F1"
    assert [last.a, last.b] == pytest.approx([0.4, 2 / 3])


def test_a_run_that_was_not_finished_is_told(tmp_path: Path) -> None:
    whole = written(tmp_path / "a", row("1", ["a"], ["a"]))
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({**manifest, "texts": 3}))
    assert compare(whole, RunResults.read(tmp_path / "a")).pair.notes == ("B has 1 of its 3 texts",)


def test_p_of_several_comparisons_is_corrected_together(tmp_path: Path) -> None:
    best = made(tmp_path / "a", 0.9, 1)
    others = [made(tmp_path / "b", 0.87, 2), made(tmp_path / "c", 0.89, 3)]
    found = compare_with_others(best, others)
    metrics = {name: METRICS[name] for name in ("micro-F1", "macro-F1")}
    sums = [Sums.of(metrics, run.true, run.predicted, group_numbers(run.groups)) for run in (best, *others)]
    raw = {(k, name): p for k, other in enumerate(sums[1:]) for name, p in randomisation_test(other, sums[0]).items()}
    assert {(k, row.metric): row.p for k, one in enumerate(found) for row in one.differences} == holm(raw)
    assert [one.pair.b.system for one in found] == ["a", "a"]
    assert [one.pair.a.system for one in found] == ["b", "c"]
