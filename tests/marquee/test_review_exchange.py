"""Review files, and their round trips through tables, Label Studio and Argilla."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.classifier import AnswerSource
from marquee.feedback.entries import RecordedAnswer, text_digest
from marquee.review.exchange import FORMATS, export_review, import_labels
from marquee.review.review_file import LiveReview, Review, ReviewText, read_review
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

NAMES = ("Café & Bar", 'The "Best"', "a, b; c|d", "Наука")
TAXONOMY = Taxonomy(
    "topics", (Label(NAMES[0], "food <and> drink"), *map(Label, NAMES[1:])), multi=True, max_labels=3, allow_none=True
)
TEXTS = (
    Text('She said "yes", then left;\nnext line\twith tab', "A, title"),
    Text("Ünïcode \U0001f920 and 日本語\u2028line separator", 'Quote " title'),
    Text("=SUM(A1)\r\n\r\nlast"),
    Text("'single' \\backslash\\ <b>&amp;</b>"),
    Text("plain"),
)
RIGHT = ((NAMES[2],), (NAMES[3], NAMES[0]), (), (NAMES[1],))  # the last text is not reviewed
FILES = {
    "table": ("r.csv", "r.tsv", "r.jsonl", "r.json", "r.parquet"),
    "label-studio": ("t.json",),
    "argilla": ("a.json",),
}
EACH = [(name, file) for name, files in FILES.items() for file in files]


def review_of(taxonomy: Taxonomy = TAXONOMY) -> Review:
    names = taxonomy.names
    source = AnswerSource("embedded/matcher.v2", taxonomy.versioned_name)
    answers = [
        RecordedAnswer(
            text_digest(text), taxonomy, (names[0],), dict.fromkeys(names, 0.25), "probability", source, text=text
        )
        for text in TEXTS
    ]
    ids = ("1", "film:2", "строка 3", "4,5", "05")
    texts = tuple(ReviewText(id, answer, 0.5, "why") for id, answer in zip(ids, answers, strict=True))
    return Review.of(taxonomy, texts)


def right(review: Review) -> dict[str, tuple[str, ...]]:
    return {one.answer.digest: labels for one, labels in zip(review.texts, RIGHT, strict=False)}


def answered(name: str, path: Path, labels: dict[str, list[str]]) -> None:
    """What a person does in Argilla: its export then has responses."""
    if name == "argilla":
        records = json.loads(path.read_text(encoding="utf-8"))
        for record in records:
            if record["id"] in labels:
                record["responses"] = {"labels": [{"value": labels[record["id"]], "user_id": "0e8b"}]}
        path.write_text(json.dumps(records), encoding="utf-8")


def test_a_review_file_keeps_everything(tmp_path: Path) -> None:
    review = review_of()
    review.write(tmp_path / "r.jsonl")
    again = read_review(tmp_path / "r.jsonl")
    assert [one.row() for one in again.texts] == [one.row() for one in review.texts]
    assert [one.text for one in again.texts] == list(TEXTS)
    assert again.taxonomy.versioned_name == TAXONOMY.versioned_name
    assert again.taxonomy.names == NAMES
    assert again.descriptions == {NAMES[0]: "food <and> drink"}
    assert [one.answer.digest for one in again.texts] == [text_digest(text) for text in TEXTS]


@pytest.mark.parametrize(("name", "file"), EACH)
def test_labels_texts_and_ids_survive_a_round_trip(tmp_path: Path, name: str, file: str) -> None:
    review, path = review_of(), tmp_path / file
    export_review(path, review, {} if name == "argilla" else right(review), name)
    answered(name, path, {one.id: list(labels) for one, labels in zip(review.texts, RIGHT, strict=False)})
    found = import_labels(path, review, name)
    assert [(one.id, {*labels}) for one, labels in found.labels] == [
        (one.id, {*labels}) for one, labels in zip(review.texts, RIGHT, strict=False)
    ]
    assert found.skipped == {"no labels yet": 1}


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_no_person_has_changed_has_nothing_to_import(tmp_path: Path, name: str) -> None:
    review, path = review_of(), tmp_path / FILES[name][0]
    export_review(path, review, {}, name)
    found = import_labels(path, review, name)
    assert (found.labels, found.skipped) == ((), {"no labels yet": len(TEXTS)})


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def test_a_spreadsheet_may_name_labels_without_json(tmp_path: Path) -> None:
    review, path = review_of(), tmp_path / "r.csv"
    export_review(path, review, {}, "table")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [text.body for text in TEXTS]
    for row, labels in zip(rows, (NAMES[2], "cafe & bar; the best", "[]", "НАУКА", " "), strict=True):
        row["labels"] = labels.replace("cafe", "Café")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = [labels for _, labels in import_labels(path, review, "table").labels]
    assert found == [(NAMES[2],), (NAMES[0], NAMES[1]), (), (NAMES[3],)]


def test_label_studio_gets_tasks_predictions_annotations_and_a_configuration(tmp_path: Path) -> None:
    review = review_of()
    task_file, config = export_review(tmp_path / "tasks.json", review, right(review), "label-studio")
    task = rows_of(task_file)[0]
    assert task["data"] == {"review_id": "1", "title": "A, title", "text": TEXTS[0].body, "why": "why"}
    result = {"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": [NAMES[0]]}}
    assert task["predictions"] == [{"model_version": "embedded/matcher.v2", "score": 0.5, "result": [result]}]
    assert task["annotations"] == [{"result": [{**result, "value": {"choices": [NAMES[2]]}}]}]
    view = ElementTree.fromstring(config.read_text(encoding="utf-8"))
    choices = view.find("Choices")
    assert choices is not None
    assert choices.attrib == {"name": "labels", "toName": "text", "choice": "multiple", "required": "false"}
    assert [one.attrib["value"] for one in choices] == list(NAMES)


def test_argilla_gets_records_with_a_suggestion(tmp_path: Path) -> None:
    review = review_of()
    (path,) = export_review(tmp_path / "a.json", review, right(review), "argilla")
    reviewed, *_, pending = rows_of(path)
    assert pending["id"] == "05"
    assert pending["fields"] == {"title": "", "text": "plain"}
    assert pending["suggestions"]["labels"] == {"value": [NAMES[0]], "score": [0.25], "agent": "embedded/matcher.v2"}
    assert pending["responses"] == {}
    assert reviewed["suggestions"]["labels"] == {"value": [NAMES[2]], "score": None, "agent": "feedback"}


def test_a_single_label_is_a_string_in_argilla(tmp_path: Path) -> None:
    review = review_of(TAXONOMY.shaped(multi=False))
    (path,) = export_review(tmp_path / "a.json", review, {}, "argilla")
    assert rows_of(path)[0]["suggestions"]["labels"]["value"] == NAMES[0]
    answered("argilla", path, {"05": NAMES[3]})  # type: ignore[dict-item]
    assert [labels for _, labels in import_labels(path, review, "argilla").labels] == [(NAMES[3],)]


Change = Callable[[list[dict[str, Any]]], object]


def annotate(*annotations: dict[str, Any]) -> Change:
    return lambda rows: rows[0].update(annotations=list(annotations))


def choosing(*labels: str, control: str = "labels", **more: Any) -> dict[str, Any]:
    value = {"choices": list(labels)}
    return {"result": [{"from_name": control, "to_name": "text", "type": "choices", "value": value}], **more}


def responding(*responses: dict[str, Any]) -> Change:
    return lambda rows: rows[0].update(responses={"labels": list(responses)})


@pytest.mark.parametrize(
    ("name", "change", "labels", "reason"),
    [
        ("label-studio", annotate(choosing(NAMES[1], was_cancelled=True)), None, "a skipped annotation"),
        ("label-studio", annotate(choosing(NAMES[1]), choosing(NAMES[2])), None, "annotations that differ"),
        ("label-studio", annotate(choosing(NAMES[1]), choosing(NAMES[1])), {NAMES[1]}, ""),
        ("label-studio", annotate(choosing(NAMES[1]), choosing(NAMES[2], ground_truth=True)), {NAMES[2]}, ""),
        ("label-studio", annotate({"result": []}), set(), ""),
        ("argilla", responding({"value": [NAMES[1]], "status": "draft"}), None, "a skipped annotation"),
        ("argilla", responding({"value": [NAMES[1]]}, {"value": [NAMES[2]]}), None, "annotations that differ"),
        ("argilla", responding({"value": [NAMES[1]], "status": "submitted"}), {NAMES[1]}, ""),
    ],
)
def test_what_people_leave_open_is_not_guessed(
    tmp_path: Path, name: str, change: Change, labels: set[str] | None, reason: str
) -> None:
    review, path = review_of(), tmp_path / "f.json"
    export_review(path, review, {}, name)
    rows = rows_of(path)
    change(rows)
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = import_labels(path, review, name)
    assert [{*one} for _, one in found.labels] == ([] if labels is None else [labels])
    assert any(one.startswith(reason) for one in found.skipped)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("table", lambda rows: rows[1].update(labels=["Наукa"]), "no label 'Наукa' in topics; did you mean 'Наука'?"),
        ("table", lambda rows: rows[1].update(labels=list(NAMES)), "4 labels; a text has 3 at most under topics"),
        ("table", lambda rows: rows[1].update(labels={"a": 1}), "is not a list of labels"),
        ("table", lambda rows: rows[1].update(id="film:3"), "no text 'film:3' in the review file; did you mean"),
        ("table", lambda rows: rows[1].update(id=None), "it has no id"),
        ("table", lambda rows: rows[1].update(text="another"), "the text of 'film:2' is not that of the review file"),
        ("table", lambda rows: rows[1].update(rows[0], labels=["Наука"]), "the id '1' is in"),
        ("table", lambda rows: rows[1].pop("labels"), "is not in the format table"),
        ("label-studio", lambda rows: rows[1].update(annotations=[choosing("Nope")]), "there is no label 'Nope'"),
        ("label-studio", lambda rows: rows[1].update(annotations=[choosing("x", control="t")]), "choices are of 't'"),
        ("label-studio", lambda rows: rows[1].pop("data"), "is not in the format label-studio"),
        ("argilla", lambda rows: rows[1].update(responses={"labels": [{"value": "Nope"}]}), "there is no label 'Nope'"),
        ("argilla", lambda rows: rows[1].update(responses=["labels"]), "is not in the format argilla"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_an_error_with_its_place_and_a_proposal(
    tmp_path: Path, name: str, change: Change, said: str
) -> None:
    review, path = review_of(), tmp_path / "f.json"
    export_review(path, review, {}, name)
    rows = rows_of(path)
    for row in rows[:1]:
        row.update(labels=["Наука"])
    change(rows)
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    with pytest.raises(InvalidDataset) as error:
        import_labels(path, review, name)
    assert said in str(error.value)
    assert str(error.value).startswith("f.json, ")


def test_a_tool_that_reads_json_gets_json(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"argilla is written to a file that ends in \.json"):
        export_review(tmp_path / "a.csv", review_of(), {}, "argilla")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "is no review file; make one with"),
        ('{"id": "1"}\n', "is no review file; make one with"),
        ('{"review": 1}\n', ":1 has no taxonomy that can be read"),
        ("{HEAD}\n[]\n", ":2 is no JSON object"),
        ("{HEAD}\n{\n", ":2 is not JSON"),
        ('{HEAD}\n{"id": "1", "text": "x", "model": "m"}\n', ":2 has no 'suggested'"),
        ('{HEAD}\n{"id": "1", "text": "x", "model": "m", "suggested": ["Nauka"]}\n', "there is no label 'Nauka'"),
        ('{HEAD}\n{"id": "1", "text": 1, "model": "m", "suggested": []}\n', ":2 is no text of a review file"),
        ("{HEAD}\n{ROW}\n{ROW}\n", "has two texts with the id '1'"),
    ],
)
def test_a_damaged_review_file_is_an_error_with_its_line(tmp_path: Path, lines: str, said: str) -> None:
    path = tmp_path / "r.jsonl"
    review_of().write(path)
    head, row, *_ = path.read_text(encoding="utf-8").split("\n")
    path.write_text(lines.replace("{HEAD}", head).replace("{ROW}", row), encoding="utf-8")
    with pytest.raises(InvalidDataset) as error:
        read_review(path)
    assert said in str(error.value)


def test_a_changed_review_file_is_read_again(tmp_path: Path) -> None:
    path, review = tmp_path / "r.jsonl", review_of()
    with pytest.raises(InvalidDataset, match="cannot read"):
        LiveReview(path)()
    review.write(path)
    live = LiveReview(path)
    assert live() is live()
    Review(review.taxonomy, review.texts[:2]).write(path)
    assert len(live().texts) == 2
