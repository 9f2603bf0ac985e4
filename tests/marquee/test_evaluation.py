"""``marquee.evaluate``: data of any form, baselines trained on a split, metrics, predictions and the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import pytest
from click.testing import CliRunner

import marquee
from eval.run_metrics import ResultsTable
from llm.classifier import AnswerSource
from llm.embedded.matcher import Matcher
from main import main
from prompts.errors import InvalidDataset, InvalidSetting, MarqueeError, UnknownName
from prompts.text import Text

PLOTS = {
    "Comedy": "A clumsy waiter causes one funny accident after another at a wedding",
    "War": "Soldiers defend a bridge while artillery fires through the night",
    "Western": "A sheriff waits for the outlaws at noon in a dusty frontier town",
}


@pytest.fixture(autouse=True)
def one_model(embedded: Matcher, away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests share one embedded classifier, and work in an empty folder."""
    # Modules that import the name are named first: imported under the patch, they would keep it.
    for module in ("marquee.factory", "marquee.sklearn.backend", "eval.baselines.untrained", "llm.embedded.matcher"):
        monkeypatch.setattr(f"{module}.matcher", lambda *_, **__: embedded)


def rows_of(copies: int, start: int = 0) -> list[dict[str, Any]]:
    """Labelled plots, each label so many times."""
    return [
        {"plot": f"{plot}, part {number}.", "genre": label}
        for number in range(start, start + copies)
        for label, plot in PLOTS.items()
    ]


@pytest.fixture
def frame() -> pandas.DataFrame:
    return pandas.DataFrame(rows_of(1), index=[10, 20, 30])


def test_a_dataframe_is_measured_with_the_labels_that_it_has(frame: pandas.DataFrame) -> None:
    run = marquee.evaluate(frame, text="plot", labels="genre")
    assert run.data.taxonomy.names == ("Comedy", "War", "Western")
    assert not run.data.taxonomy.multi
    assert run.metrics["embedded"]["micro-F1"] == 1
    assert list(run.predictions.index) == ["10", "20", "30"] or set(run.predictions.index) == {"10", "20", "30"}
    assert run.predictions.loc["20", "embedded"] == ["War"]
    assert run.table().loc["embedded", "micro-F1"] == 1


@pytest.mark.parametrize(
    "labels",
    [
        [["War", "Drama"], ["Comedy"]],
        ["War|Drama", "Comedy"],
        ["War, Drama", "Comedy"],
        ["['War', 'Drama']", "['Comedy']"],
        [("War", "Drama"), ("Comedy",)],
        [{"War", "Drama"}, {"Comedy"}],
    ],
    ids=["lists", "pipes", "commas", "written lists", "tuples", "sets"],
)
def test_a_column_of_labels_has_the_forms_that_files_have(labels: list[Any]) -> None:
    frame = pandas.DataFrame({"plot": [PLOTS["War"], PLOTS["Comedy"]], "genres": labels})
    run = marquee.evaluate(frame, text="plot")
    truth = {example.labels for example in run.data.examples}
    assert truth == {("Drama", "War"), ("Comedy",)}
    assert run.data.taxonomy.multi


@pytest.mark.parametrize("form", ["list of dicts", "csv", "parquet", "frame of arrays"])
def test_the_form_of_the_data_does_not_matter(form: str) -> None:
    rows = [{"id": name, "description": plot, "genres": [name]} for name, plot in PLOTS.items()]
    frame = pandas.DataFrame(rows)
    data: Any = rows
    if form == "csv":
        frame.assign(genres=list(PLOTS)).to_csv("films.csv", index=False)
        data = "films.csv"
    elif form == "parquet":
        frame.to_parquet("films.parquet")
        data = Path("films.parquet")
    elif form == "frame of arrays":
        frame.to_parquet("films.parquet")
        data = pandas.read_parquet("films.parquet")  # lists come back as numpy arrays
    run = marquee.evaluate(data, taxonomy="tmdb")
    assert {example.id: example.labels for example in run.data.examples} == {name: (name,) for name in PLOTS}


def test_rows_without_a_text_or_a_label_are_left_out_and_counted(frame: pandas.DataFrame) -> None:
    frame.loc[40] = [None, "War"]
    frame.loc[50] = ["A text", None]
    run = marquee.evaluate(frame, "plot", "genre")
    assert len(run.data.examples) == 3
    assert run.left_out == {"without a text": 1, "without a predictable label": 1}


def test_a_baseline_is_trained_on_one_part_and_every_system_is_measured_on_another() -> None:
    run = marquee.evaluate(rows_of(20), "plot", "genre", ["tfidf-lr", "embedded"], seed=3)
    assert len(run.data.examples) == 6
    assert run.data.split == "test"
    assert run.metrics["tfidf-lr"]["micro-F1"] == 1
    assert set(run.metrics) == {"tfidf-lr", "embedded"}
    again = marquee.evaluate(rows_of(20), "plot", "genre", "tfidf-lr, embedded", seed=3)
    assert [one.id for one in again.data.examples] == [one.id for one in run.data.examples]
    other = marquee.evaluate(rows_of(20), "plot", "genre", "prior", seed=4)
    assert {one.id for one in other.data.examples} != {one.id for one in run.data.examples}


def test_duplicates_of_a_test_text_are_not_learned() -> None:
    run = marquee.evaluate(rows_of(20), "plot", "genre", "tfidf-lr", test=rows_of(2))
    made = json.loads((run._folder.path / "models" / "tfidf-lr" / "manifest.json").read_text("utf-8"))
    assert {one.id for one in run.data.examples} == {"1", "2", "3", "4", "5", "6"}
    assert made["data"]["train"]["rows"] + made["data"]["validation"]["rows"] == 54, "60 rows, 6 of them in test"


def test_the_parts_that_the_data_has_are_used() -> None:
    parts = ["train", "train", "train", "validation", "test"]
    rows = [{**row, "split": parts[number // 3]} for number, row in enumerate(rows_of(5))]
    run = marquee.evaluate(rows, "plot", "genre", "prior")
    assert [one.split for one in run.data.examples] == ["test"] * 3


def test_a_loaded_classifier_is_measured_under_its_name(embedded: Matcher, frame: pandas.DataFrame) -> None:
    run = marquee.evaluate(frame, "plot", "genre", [embedded])
    assert run.metrics[embedded.name]["micro-F1"] == 1


def test_the_report_and_the_metrics_are_those_of_the_command_line(frame: pandas.DataFrame) -> None:
    frame.to_csv("films.csv", index=False)
    run = marquee.evaluate("films.csv", "plot", "genre", "embedded", taxonomy="tmdb")
    page = run.report("out")
    assert page == Path("out/report.html")
    assert "<html" in page.read_text("utf-8")
    options = ["--text-field", "plot", "--labels-field", "genre", "--taxonomy", "tmdb", "--systems", "embedded"]
    done = CliRunner().invoke(main, ["evaluate", "--data", "films.csv", *options, "--out", "cli"])
    assert done.exit_code == 0, done.output
    files = sorted(path.relative_to("cli") for path in Path("cli").rglob("*") if path.is_file())
    assert sorted(path.relative_to("out") for path in Path("out").rglob("*") if path.is_file()) == files
    kept = json.loads(Path("cli/embedded/metrics.json").read_text("utf-8"))
    for name in ("micro-F1", "macro-F1", "Jaccard"):
        assert run.metrics["embedded"][name] == kept[name]


def test_labels_and_errors_are_tables(frame: pandas.DataFrame) -> None:
    rows = [*rows_of(2), {"plot": f"{PLOTS['War']}, at last.", "genre": "Comedy"}]
    run = marquee.evaluate(rows, "plot", "genre", ["embedded", "minilm-plain"])
    labels = run.by_label()
    assert set(labels.columns) == {"texts", "embedded", "minilm-plain"}
    assert labels["texts"].to_dict() == {"Comedy": 3, "War": 2, "Western": 2}
    assert labels.loc["Western", "embedded"] == 1
    errors = run.errors("embedded", limit=1)
    assert errors[["missed", "wrong"]].to_numpy().tolist() == [["Comedy", "War"]]
    assert errors["text"].tolist() == [f"{PLOTS['War']}, at last."]
    with pytest.raises(UnknownName, match="did you mean 'embedded'"):
        run.errors("embeded")
    assert marquee.evaluate(frame, "plot", "genre").errors().empty


class AlwaysWar:
    name = "always-war"

    def classify(self, texts: Sequence[str | Text], taxonomy: marquee.Taxonomy) -> list[marquee.Prediction]:
        return [marquee.Prediction(("War",), AnswerSource(self.name, taxonomy.versioned_name)) for _ in texts]


def test_the_gate_compares_two_results_over_the_same_texts() -> None:
    rows = rows_of(8)
    good, bad = marquee.evaluate(rows, "plot", "genre"), marquee.evaluate(rows, "plot", "genre", AlwaysWar())
    assert good.gate(good).passed
    verdict = bad.gate(good, margin=0.05)
    assert not verdict.passed
    assert verdict.summary.startswith("gate failed")
    with pytest.raises(InvalidDataset):
        good.gate(marquee.evaluate(rows_of(8, start=8), "plot", "genre"))
    both = marquee.evaluate(rows, "plot", "genre", ["embedded", "minilm-plain"])
    with pytest.raises(InvalidSetting, match="compares one system; this evaluation has embedded, minilm-plain"):
        both.gate(good)


def test_a_result_shows_itself(frame: pandas.DataFrame) -> None:
    run = marquee.evaluate(frame, "plot", "genre")
    assert repr(run).startswith("3 texts, 3 labels\nsystem ")
    assert "micro-F1" in repr(run)
    assert "<table>" in run._repr_html_()
    assert "<td>1.000</td>" in run._repr_html_()
    with pytest.raises(AttributeError):
        run.metrics = {}  # type: ignore[misc]


def test_without_pandas_tables_print_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    run = marquee.evaluate(rows_of(1), "plot", "genre")
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = run.table()
    assert isinstance(table, ResultsTable)
    assert str(table).startswith("system ")
    assert isinstance(run.predictions, ResultsTable)
    assert len(run.predictions.rows) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"text": "plots"}, InvalidDataset, "text='plots': there is no such column; did you mean 'plot'?"),
        ({"labels": "x"}, InvalidDataset, "labels='x': there is no such column; columns: plot, genre"),
        ({"data": []}, InvalidDataset, "data has no rows"),
        ({"data": {"plot": ["x"]}}, InvalidDataset, "data is a dict; give a DataFrame, a list of dicts, or the path"),
        ({"data": ["a text"]}, InvalidDataset, "data holds a str; give a list of dicts, one per text"),
        ({"data": "no.csv"}, InvalidDataset, "no.csv"),
        ({"systems": []}, InvalidSetting, "systems is empty"),
        ({"systems": ["prior", "prior"]}, InvalidSetting, "systems has 'prior' more than once"),
        ({"systems": "embeded"}, UnknownName, "did you mean 'embedded'?"),
        ({"systems": "prior"}, InvalidDataset, "3 rows are too few: the split into train, validation, test leaves"),
        ({"taxonomy": ["Comedy", "War"]}, InvalidDataset, "label 'Western' is not in taxonomy 'custom'"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_to_do(
    change: dict[str, Any], error: type[MarqueeError], message: str
) -> None:
    with pytest.raises(error) as raised:
        marquee.evaluate(**{"data": rows_of(1), "text": "plot", "labels": "genre", **change})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_labels_may_be_left_out() -> None:
    run = marquee.evaluate(rows_of(1), "plot", "genre", taxonomy=["Comedy", "War"], drop_unknown_labels=True)
    assert len(run.data.examples) == 2
