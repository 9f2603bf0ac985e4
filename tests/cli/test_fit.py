"""`main.py fit`, and what it makes: in the service, in an evaluation and in Python."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner, Result

import marquee
from main import main
from tests.support.process import ServiceProcess

pytestmark = pytest.mark.usefixtures("away")
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "general.jsonl"
COLUMNS = ("--text-field", "text", "--labels-field", "topic")
ROWS = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
NEWS = [row for row in ROWS if row["taxonomy"] == "news"]
SPORT = "The striker scored twice in the final."


def table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(one: dict[str, list[str]], **more: str) -> dict[str, str]:
    return {"text": str(one["text"]), "topic": one["labels"][0], **more}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["fit", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def desk(away: Path) -> Path:
    """Texts of a newspaper with labels that no bundled taxonomy has."""
    return table(away / "desk.csv", [row(one) for one in NEWS])


def test_the_labels_of_the_table_are_the_taxonomy_without_one(desk: Path, away: Path) -> None:
    result = call(desk, *COLUMNS)
    assert result.exit_code == 0, result.output
    head, fitted, zero_shot, difference = result.stdout.splitlines()
    assert head.split() == ["cross-validated", "accuracy", "macro-F1"]
    assert fitted.startswith("fitted")
    assert zero_shot.startswith("embedded, zero-shot")
    assert difference.startswith("difference")
    assert "10 labels with fewer than 8 examples: Business (6), " in result.stderr
    assert "60 texts, 10 labels" in result.stderr
    folder = away / "var" / "models" / "few-examples-desk"
    assert f"main.py serve --trained {folder.relative_to(away)}" in result.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["kind"], manifest["taxonomy"]["name"]) == ("few-examples", "desk")
    assert manifest["data"]["name"] == "desk.csv"


def test_it_is_served_and_evaluated_as_any_trained_model(desk: Path, away: Path) -> None:
    call(desk, *COLUMNS, "--out", away / "made")
    running = ServiceProcess("--trained", str(away / "made"))
    try:
        url, body = f"{running.url}/classify", json.dumps({"text": SPORT}).encode()
        with urlopen(Request(url, body, {"Content-Type": "application/json"})) as reply:
            found = json.load(reply)
        assert (found["model"], found["labels"]) == ("trained/few-examples", ["Sport"])
        assert found["taxonomy"].startswith("desk@")
    finally:
        assert running.stop() == 0
    options = ("--systems", f"few-examples:{away / 'made'}", "--taxonomy", str(away / "made" / "desk.yaml"))
    arguments = ["evaluate", "--data", str(desk), *COLUMNS, *options, "--limit", "20", "--out", str(away / "run")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "few-examples" in result.stdout
    labelled = ("--system", options[1], *options[2:], "--text-field", "text", "--out", str(away / "labelled.csv"))
    result = CliRunner().invoke(main, ["bulk", str(desk), *labelled], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with (away / "labelled.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(one["topic"] in one["labels"] for one in rows) > 50


def test_the_test_split_is_left_out_and_counted(away: Path) -> None:
    path = table(away / "desk.csv", [row(one, split=str(one["split"])) for one in NEWS])
    result = call(path, *COLUMNS, "--json")
    tested = sum(one["split"] == "test" for one in NEWS)
    body = json.loads(result.stdout)
    assert body["texts"] == len(NEWS) - tested
    assert set(body["cross_validation"]) == {"parts", "fitted", "zero-shot", "difference"}
    assert f"left out: {tested} rows with the split 'test'" in result.stderr
    assert "the test split is for reporting" in call(path, *COLUMNS, "--split", "test").stderr


def test_a_label_outside_the_taxonomy_is_named_or_dropped(away: Path) -> None:
    rows = [*(row(one) for one in NEWS), {"text": "A recipe for bread.", "topic": "Sports"}]
    path = table(away / "desk.csv", rows)
    (away / "topics.yaml").write_text(
        json.dumps({"multi": False, "labels": [*sorted({one["labels"][0] for one in NEWS}), "Food"]})
    )
    refused = call(path, *COLUMNS, "--taxonomy", "topics.yaml")
    assert refused.exit_code == 1
    assert "desk.csv, line 62: label 'Sports' is not in taxonomy 'topics' (did you mean 'Sport'?)" in refused.stderr
    result = call(path, *COLUMNS, "--taxonomy", "topics.yaml", "--unknown-labels", "drop")
    assert result.exit_code == 0, result.output
    assert "the unknown label 'Sports' dropped" in result.stderr
    assert "1 label without examples: Food; the zero-shot score answers for them" in result.stderr


def test_python_fits_and_uses_it_at_once(away: Path) -> None:
    fitted = marquee.fit([row(one) for one in NEWS], "text", "topic")
    (found,) = marquee.classify([SPORT], taxonomy=fitted.taxonomy, classifier=fitted.classifier)
    assert found.labels == ("Sport",)
    fitted.save(away / "made")
    again = marquee.load_classifier(f"few-examples:{away / 'made'}", fitted.taxonomy)
    assert again.classify([SPORT], fitted.taxonomy)[0].labels == ("Sport",)
    assert repr(fitted).startswith("cross-validated")
