"""``main.py evaluate --suite``: families with their own labels, one table, resumed and scored again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.datasets import families
from eval.report import suite_results
from main import main
from prompts.errors import InvalidDataset, UnknownName

pytestmark = pytest.mark.usefixtures("away")
SPORT = ("The striker scored twice in the final.", "A marathon runner broke the record.")
FOOD = ("Fry the onions in butter.", "Bake the bread for an hour.", "The soup needs salt.")


def write_family(folder: Path, name: str, rows: Sequence[tuple[str, str, Sequence[str]]], **labels: Any) -> None:
    """Rows of text, split and labels."""
    folder.mkdir(exist_ok=True)
    lines = [
        {"id": f"{split}-{place}", "text": text, "labels": list(names), "split": split}
        for place, (text, split, names) in enumerate(rows)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / f"{name}.labels.json").write_text(json.dumps({"name": name, **labels}), encoding="utf-8")


@pytest.fixture
def folder(away: Path) -> Path:
    """Two families: one label a text, and several or none."""
    suite = away / "families"
    topics = [*((text, "test", ["sport"]) for text in SPORT), *((text, "train", ["food"]) for text in FOOD)]
    entries = [{"name": "sport", "description": "games  and races"}, {"name": "food"}]
    write_family(suite, "topics", topics, labels=entries, multi=False, attribute="topic")
    wishes = [("Loud and cheap.", "test", ["noise", "price"]), ("Hello.", "test", []), ("Cheap.", "train", ["price"])]
    write_family(suite, "wishes", wishes, labels=[{"name": "noise"}, {"name": "price"}], multi=True)
    return suite


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def evaluate(*more: str | Path) -> Result:
    return call("evaluate", "--suite", "families", "--out", "out", "--systems", "embedded,minilm-plain", *more)


def table_of(result: Result) -> Mapping[str, list[str]]:
    """Cells of the printed table by family and metric."""
    rows = [line.split("  ") for line in result.stdout.splitlines()[1:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {f"{name} {metric}": values for name, metric, *values in cells}


def test_a_taxonomy_is_made_of_the_labels_file_and_of_whether_texts_have_none(folder: Path) -> None:
    topics, wishes = (family.load(None) for family in families(folder))
    taxonomy = topics.dataset.taxonomy
    assert (taxonomy.name, taxonomy.multi, taxonomy.allow_none, taxonomy.attribute) == ("topics", False, False, "topic")
    assert [(label.name, label.description) for label in taxonomy.labels] == [
        ("sport", "games and races"),
        ("food", ""),
    ]
    assert (topics.split, topics.commonest, len(topics.dataset.examples)) == ("test", "food", len(SPORT))
    assert wishes.dataset.taxonomy.allow_none is True
    assert wishes.dataset.taxonomy.max_labels == 2
    assert sorted(example.labels for example in wishes.dataset.examples) == [(), ("noise", "price")]
    assert [len(family.load("train").dataset.examples) for family in families(folder)] == [3, 1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"labels": ["a"]}, "'labels' must be a list of objects with a 'name'"),
        ({"labels": [{"name": "a"}], "multi": "yes"}, "'multi' is 'yes'; give true or false"),
        ({"labels": [{"name": "a"}], "attribute": 3}, "'attribute' is 3; give a word"),
    ],
)
def test_a_damaged_labels_file_is_named(folder: Path, body: Mapping[str, Any], said: str) -> None:
    (folder / "topics.labels.json").write_text(json.dumps(body))
    with pytest.raises(InvalidDataset, match=r"topics\.labels\.json: ") as error:
        families(folder)
    assert said in str(error.value)


def test_missing_families_files_and_splits_are_named(folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'topics'"):
        families(folder, ["topic"])
    with pytest.raises(InvalidDataset, match="'validation'; its splits: test, train"):
        families(folder)[0].load("validation")
    (folder / "topics.jsonl").unlink()
    with pytest.raises(InvalidDataset, match=r"there is no topics\.jsonl\.gz beside it"):
        families(folder)
    with pytest.raises(InvalidDataset, match="has no family"):
        families(folder.parent)


def test_one_table_has_every_family_system_and_mean_and_is_resumed_and_scored_again(folder: Path) -> None:
    first = evaluate()
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines()[0].split() == ["family", "metric", "commonest", "embedded", "minilm-plain"]
    table = table_of(first)
    assert table["topics accuracy"][:2] == ["0.000", "1.000"]
    assert table["wishes micro-F1"][0] == "0.500"  # price: one right, one wrong ("Hello."); noise is missed
    assert table["mean of all families accuracy or micro-F1"][0] == "0.250"
    report = Path("out/report.md").read_text()
    assert "mean of single\\-label families" in report or "mean of single-label families" in report
    found = json.loads(Path("out/suite.json").read_text())
    assert [(one["family"], one["metric"], one["texts"]) for one in found["families"]] == [
        ("topics", "accuracy", 2), ("wishes", "micro-F1", 2),
    ]  # fmt: skip
    values = found["families"][0]["systems"]["embedded"]["accuracy"]
    assert (values["value"], values["low"], values["high"]) == (1, 1, 1)
    rows = {path: path.read_bytes() for path in Path("out").glob("*/*/rows.jsonl")}
    assert len(rows) == 6
    again = evaluate()
    assert again.stdout == first.stdout
    assert {path: path.read_bytes() for path in rows} == rows
    assert "topics embedded: 2 of 2 texts are answered there" in again.stderr
    for path in Path("out").glob("*/*/metrics.json"):
        path.unlink()
    assert call("evaluate", "--rescore", "out").stdout == first.stdout
    assert call("report", "out").stdout.split() == ["out/report.html", "out/report.md", "out/suite.json"]


def test_the_mean_of_systems_has_an_interval_of_paired_resamples(folder: Path) -> None:
    assert evaluate().exit_code == 0
    suite = suite_results.read(Path("out"))
    group, metric, count, means = next(suite.means())
    assert (group, metric, count) == ("all families", "accuracy or micro-F1", 2)
    for system, (value, draws) in means.items():
        each = [family.draws[system][family.main] for family in suite.families]
        assert value == pytest.approx(sum(one for one, _ in each) / 2)
        assert draws == pytest.approx((each[0][1] + each[1][1]) / 2)


def test_families_are_chosen_and_a_family_without_a_run_is_no_part_of_the_means(folder: Path) -> None:
    chosen = evaluate("--families", "topics", "--limit", "1", "--json")
    body = json.loads(chosen.stdout)
    assert [(one["family"], one["texts"]) for one in body["families"]] == [("topics", 1)]
    call("evaluate", "--suite", "families", "--out", "out", "--systems", "embedded", "--families", "wishes")
    report = Path("out/report.md").read_text()
    assert "wishes has no run of minilm-plain; it is not part of the means" in report.replace("\\", "")
    means = json.loads(Path("out/suite.json").read_text())["means"]
    assert {mean["families"] for mean in means} == {1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "families", "--data", "x.csv"], "--data is for one data set"),
        (["--suite", "families", "--taxonomy", "tmdb"], "--taxonomy is for one data set"),
        (["--suite", "families", "--orders", "3"], "--orders is for one data set"),
        (["--families", "topics", "--data", "x.csv"], "give the folder with --suite"),
        (["--suite", "families", "--families", "topcs"], "did you mean 'topics'"),
        (["--suite", "none"], "has no family"),
        ([], "give --data or --suite"),
    ],
)
def test_options_that_make_no_sense_with_a_suite_are_errors(folder: Path, arguments: list[str], said: str) -> None:
    result = call("evaluate", *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
