"""Every format comes in and goes out with the rows' own columns as they were, and a broken row stops nobody."""

import csv
import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bulk.inputs import TextColumns, input_files, text_columns
from prompts.errors import InvalidDataset, InvalidSetting
from tests.bulk.words import ByWords, label, read_lines, rows, write_lines

ROWS: list[dict[str, Any]] = [
    {"id": "a", "plot": 'A sword, and a\nship "sails".', "year": 1999, "share": 0.1, "tags": ["x", "y"], "seen": True},
    {"id": "b", "plot": "Nothing\tat all.", "year": None, "share": 2, "tags": [], "seen": None},
    {"id": "c", "plot": "A heart 🎬 日本.", "year": 2001, "share": None, "tags": None, "seen": False},
]


def write(path: Path) -> Path:
    """``ROWS`` in the format of a name."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif name.endswith(".jsonl"):
        packed(path, "".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(ROWS[0]), *(mark.join(quoted(cell) for cell in row.values()) for row in ROWS)]
        packed(path, "".join(line + "\r\n" for line in lines))
    return path


def quoted(cell: Any) -> str:
    return "" if cell is None else '"' + str(cell).replace('"', '""') + '"'


def packed(path: Path, words: str) -> None:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(words.encode(), mtime=0))
    else:
        path.write_text(words, encoding="utf-8", newline="")


def read(path: Path) -> list[dict[str, Any]]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return list(pyarrow.parquet.read_table(path).to_pylist())
    words = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in words.splitlines()]
    return list(csv.DictReader(words.splitlines(keepends=True), delimiter="\t" if name.endswith(".tsv") else ","))


@pytest.mark.parametrize("out", ["o.csv", "o.csv.gz", "o.tsv", "o.jsonl", "o.jsonl.gz", "o.parquet"])
@pytest.mark.parametrize("given", ["i.csv", "i.tsv.gz", "i.jsonl", "i.jsonl.gz", "i.parquet"])
def test_any_format_becomes_any_other(tmp_path: Path, given: str, out: str) -> None:
    summary = label(write(tmp_path / given), tmp_path / out)
    assert summary is not None
    assert (summary.rows, summary.problems) == (3, {})
    found = read(tmp_path / out)
    assert [row["id"] for row in found] == ["a", "b", "c"]
    assert [row["plot"] for row in found] == [row["plot"] for row in ROWS]
    labels = [row["labels"] if isinstance(row["labels"], list) else json.loads(row["labels"]) for row in found]
    assert labels == [["War", "Sea, deep"], [], ["Love"]]
    scores = [row["scores"] if isinstance(row["scores"], dict) else json.loads(row["scores"]) for row in found]
    assert [set(one) for one in scores] == [{"War", "Love", "Sea, deep"}] * 3
    assert all(row["source"].startswith("by-words kinds@") and not row["problem"] for row in found)


@pytest.mark.parametrize("name", ["i.jsonl", "i.parquet"])
def test_numbers_lists_and_gaps_keep_their_types_in_parquet(tmp_path: Path, name: str) -> None:
    label(write(tmp_path / name), tmp_path / "o.parquet")
    found = read(tmp_path / "o.parquet")
    assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS
    schema = pyarrow.parquet.read_schema(tmp_path / "o.parquet")
    assert [str(schema.field(name).type) for name in ("year", "share", "seen")] == ["int64", "double", "bool"]


def test_parquet_keeps_types_that_json_does_not_know(tmp_path: Path) -> None:
    moment, day = 1_700_000_000_000_000_001, datetime.date(2020, 2, 29)
    table = pyarrow.table(
        {"plot": ["A sword."], "at": pyarrow.array([moment], pyarrow.timestamp("ns")), "day": [day], "raw": [b"\xff"]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "i.parquet")
    label(tmp_path / "i.parquet", tmp_path / "o.parquet")
    kept = pyarrow.parquet.read_table(tmp_path / "o.parquet").select(table.column_names)
    assert kept.equals(table)
    label(tmp_path / "i.parquet", tmp_path / "o.jsonl")
    (row,) = read(tmp_path / "o.jsonl")
    assert (row["at"], row["day"], row["raw"]) == ("2023-11-14 22:13:20.000000001", "2020-02-29", "\\xff")


def test_a_column_of_several_kinds_becomes_text_in_a_table(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [
        {"plot": "A sword.", "odd": 2**70},
        {"plot": "b", "odd": {"x": 1}},
        {"plot": "c", "odd": "word\ud800"},
    ]
    label(write_lines(tmp_path / "i.jsonl", given), tmp_path / "o.parquet")
    assert [row["odd"] for row in read(tmp_path / "o.parquet")] == [str(2**70), '{"x": 1}', "word\ufffd"]
    label(tmp_path / "i.jsonl", tmp_path / "o.jsonl")
    assert [row["odd"] for row in read(tmp_path / "o.jsonl")] == [row["odd"] for row in given]


def test_a_folder_and_a_pattern_are_read_by_name_and_the_output_in_it_is_not(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", [{"id": 2, "plot": "A heart."}])
    (tmp_path / "a.csv").write_text("id,plot\n1,A sword.\n")
    (tmp_path / "notes.txt").write_text("no table")
    label(tmp_path, tmp_path / "o.jsonl")
    assert [(str(row["id"]), row["labels"]) for row in read_lines(tmp_path / "o.jsonl")] == [
        ("1", ["War"]),
        ("2", ["Love"]),
    ]
    label(tmp_path, tmp_path / "o.jsonl", overwrite=True)  # the output is not read as a part of the input
    assert len(read_lines(tmp_path / "o.jsonl")) == 2
    label(f"{tmp_path}/*.csv", tmp_path / "p.parquet")
    assert [row["id"] for row in read(tmp_path / "p.parquet")] == ["1"]


def test_every_broken_row_becomes_a_row_that_says_why(tmp_path: Path) -> None:
    lines = [
        b'{"id": 1, "plot": "A sword."}',
        b"{broken",
        b"[1]",
        b'{"id": 4}',
        b'{"plot": ["x"]}',
        b'{"plot": "\xff"}',
    ]
    (tmp_path / "i.jsonl").write_bytes(b"\n".join([*lines, b"", b'{"id": 8, "plot": "A heart."}']))
    summary = label(tmp_path / "i.jsonl", tmp_path / "o.jsonl")
    found = read_lines(tmp_path / "o.jsonl")
    assert [row["labels"] for row in found] == [["War"], None, None, None, None, None, ["Love"]]
    assert [row["problem"] for row in found][1:6] == [
        "malformed: i.jsonl, line 2: the line is not JSON",
        "malformed: i.jsonl, line 3: the line is JSON, but no object of named columns",
        "empty: there is no text to label",
        "malformed: i.jsonl, line 5: column 'plot' holds a list, not text",
        "malformed: i.jsonl, line 6: the line is not UTF-8",
    ]
    assert summary is not None
    assert summary.problems == {"malformed": 4, "empty": 1}
    assert summary.examples["empty"] == ["4"]


def test_a_line_of_too_many_or_too_few_cells_loses_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_bytes(b"id,plot\n1,A sword.\n2\n3,A heart.,x,y\n\n4,\xff\n5,A ship.\n")
    label(tmp_path / "i.csv", tmp_path / "o.jsonl")
    found = read_lines(tmp_path / "o.jsonl")
    assert [row["id"] for row in found] == ["1", "2", "3", "4", "5"]
    assert [row["labels"] for row in found] == [["War"], None, None, None, ["Sea, deep"]]
    assert "1 cells where the first line names 2" in found[1]["problem"]
    assert "['x', 'y'] beyond them" in found[2]["problem"]
    assert "not UTF-8" in found[3]["problem"]


def test_an_own_column_is_never_written_over(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", [{"plot": "A sword."}, {"plot": "A ship.", "labels": "mine"}])
    with pytest.raises(InvalidDataset, match=r"line 2: the rows have a column 'labels' already.*--prefix"):
        label(given, tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()


def test_columns_are_guessed_by_name_and_named_ones_must_be_there(tmp_path: Path) -> None:
    source = input_files(
        str(write_lines(tmp_path / "i.jsonl", [{"Overview": "x", "TITLE": "y", "imdb_id": "z", "k": 1}]))
    )
    assert text_columns(source) == TextColumns("Overview", "TITLE", "imdb_id")
    assert text_columns(source, text="k", title="") == TextColumns("k", None, "imdb_id")
    with pytest.raises(InvalidDataset, match="no column 'plot' for --text-field; columns: Overview, TITLE"):
        text_columns(source, text="plot")
    other = input_files(str(write_lines(tmp_path / "j.jsonl", [{"words": "x"}])))
    with pytest.raises(InvalidDataset, match="name it with --text-field; columns: words"):
        text_columns(other)


def test_a_file_without_the_column_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("plot\nA sword.\n")
    (tmp_path / "b.csv").write_text("words\nA heart.\n")
    with pytest.raises(InvalidDataset, match=r"b\.csv has no column 'plot'"):
        label(tmp_path, tmp_path / "out" / "o.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("i.jsonl.gz", gzip.compress(b'{"plot": "A sword."}\n' * 9_000, mtime=0)[:-40], "cannot read"),
        ("i.parquet", b"no parquet", "as Parquet"),
        ("i.csv", b"plot,plot\n", "two columns 'plot'"),
        ("i.csv", b"", "holds no row"),
        ("i.xlsx", b"PK\x03\x04", "is a damaged ZIP archive"),
    ],
)
def test_a_file_broken_as_a_whole_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidDataset, match=told):
        label(tmp_path / name, tmp_path / "o.jsonl")


def test_an_output_without_a_format_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    classifier = ByWords()
    with pytest.raises(InvalidSetting, match=r"o\.txt ends in none of"):
        label(write_lines(tmp_path / "i.jsonl", rows(3)), tmp_path / "o.txt", classifier)
    assert classifier.requests == []


LATE = b"id,plot\n" + b"1,A sword.\n" * 900


@pytest.mark.parametrize(
    ("name", "content", "out", "told"),
    [
        ("i.csv", LATE + b'2,"A heart.\n3,A ship.\n', "o.jsonl", "line 902: a quote opens"),
        ("i.csv.gz", gzip.compress(LATE, mtime=0)[:-9], "o.jsonl", "the gzip data ends too early"),
        ("i.csv", b"id,plot,r\xe9sum\xe9\n1,A sword.,x\n", "o.parquet", "line 1: not UTF-8"),
        ("i.jsonl", b'{"plot": "x"}\n' * 900 + b'{"plot": "y", "labels": 1}\n', "o.jsonl", "a column 'labels' already"),
        ("i.jsonl", b'{"plot": "x"}\n' * 900 + b'{"\\ud800": 1, "\\ud801": 2}\n', "o.parquet", "Parquet cannot hold"),
    ],
)
def test_what_is_wrong_at_the_end_is_told_before_the_first_text_is_asked_about(
    tmp_path: Path, name: str, content: bytes, out: str, told: str
) -> None:
    classifier = ByWords()
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InvalidDataset, InvalidSetting), match=told):
        label(tmp_path / name, tmp_path / out, classifier)
    assert classifier.requests == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_that_is_an_input_or_a_folder_is_refused(tmp_path: Path) -> None:
    given = write_lines(tmp_path / "i.jsonl", rows(3))
    with pytest.raises(InvalidSetting, match="is a file that is read"):
        label(given, given, overwrite=True)
    (tmp_path / "o.jsonl").mkdir()
    with pytest.raises(InvalidSetting, match="is a folder"):
        label(given, tmp_path / "o.jsonl")


def test_words_for_a_missing_text_are_counted_as_empty_and_never_labelled(tmp_path: Path) -> None:
    words = ["NaN", "None", "NULL", "null", "\\N", "#N/A", "N/A", "", " ", "A sword."]
    (tmp_path / "i.csv").write_text("id,plot\n" + "".join(f"{n},{word}\n" for n, word in enumerate(words)))
    summary = label(tmp_path / "i.csv", tmp_path / "o.csv")
    assert summary is not None
    assert summary.problems == {"empty": 9}
    assert [row["plot"] for row in read(tmp_path / "o.csv")] == words
