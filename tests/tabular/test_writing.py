"""What is written is read back as it was, in every form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from prompts.errors import InvalidSetting
from tabular import open_table
from tabular.table import Schema
from tabular.writing import check_schema, write_table, writer_of

TEXTS = [
    "plain",
    "a, b; c|d",
    'say "hi"',
    '"loose',
    "two\nlines",
    "a\rb",
    "ends\r",
    "tab\there",
    "",
    "caf\xe9 \u65e5\u672c",
    " x ",
]
FORMS = ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "tsv.gz", "jsonl.gz", "json.gz", "ndjson", "pq"]


def read(path: Path) -> list[dict[str, Any]]:
    rows = list(open_table(path).rows())
    assert not [row for row in rows if row.problem]
    return [dict(row.cells) for row in rows]


@pytest.mark.parametrize("form", FORMS)
def test_texts_come_back_as_they_were(tmp_path: Path, form: str) -> None:
    given = [{"id": str(n), "text": text, "last": text} for n, text in enumerate(TEXTS)]
    write_table(tmp_path / f"a.{form}", given)
    assert read(tmp_path / f"a.{form}") == given
    write_table(tmp_path / f"b.{form}", given)
    assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_types_come_back_as_they_were(tmp_path: Path, form: str) -> None:
    given: list[dict[str, Any]] = [
        {"n": 1, "x": 0.5, "yes": True, "list": ["a"]},
        {"n": 2**60, "x": None, "yes": None, "list": []},
    ]
    write_table(tmp_path / f"a.{form}", given)
    assert read(tmp_path / f"a.{form}") == given


def test_added_cells_stand_behind_a_rows_own_or_take_their_place(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": ""}, {"id": 2, "text": "y"}]
    added: list[dict[str, Any]] = [{"text": "x", "tags": ["a"]}, {"tags": []}]
    for form in ("csv", "jsonl", "parquet"):
        write_table(tmp_path / f"a.{form}", rows, added)
    assert (tmp_path / "a.csv").read_text() == 'id,text,tags\n1,x,"[""a""]"\n2,y,[]\n'
    assert read(tmp_path / "a.jsonl") == read(tmp_path / "a.parquet") == [
        {"id": 1, "text": "x", "tags": ["a"]},
        {"id": 2, "text": "y", "tags": []},
    ]  # fmt: skip


def test_no_rows_make_a_file_too(tmp_path: Path) -> None:
    for form in ("csv", "jsonl", "json", "parquet"):
        write_table(tmp_path / f"a.{form}", [])
    assert json.loads((tmp_path / "a.json").read_text()) == []
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 0


def test_columns_of_parquet_are_copied_as_arrow_has_them(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "text": ["x", "y", None],
            "at": pyarrow.array([1, 2**62, None], pyarrow.timestamp("ns", "UTC")),
            "day": pyarrow.array([2**31 - 1, -719_600, 0], pyarrow.int32()).cast(pyarrow.date32()),
            "price": pyarrow.array(["1.10", None, "2.20"]).cast(pyarrow.decimal128(20, 2)),
            "deep": pyarrow.array(
                [{"a": [1]}, None, {"a": []}], pyarrow.struct([("a", pyarrow.list_(pyarrow.int8()))])
            ),
            "words": pyarrow.array(["u", "v", "u"]).dictionary_encode(),
            "pairs": pyarrow.array([[("k", 1)], [], None], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "i.parquet", row_group_size=2)
    rows = [row.cells for row in open_table(tmp_path / "i.parquet").rows()]
    assert [row["text"] for row in rows] == ["x", "y", None]
    write_table(tmp_path / "o.parquet", [rows[0], rows[2], rows[1]], [{"n": n} for n in range(3)])
    found = pyarrow.parquet.read_table(tmp_path / "o.parquet")
    assert found.select(table.column_names).equals(table.take([0, 2, 1]))
    write_table(tmp_path / "o.jsonl", rows)  # every column is converted, odd ones to text
    first = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])
    assert (first["at"], first["price"], first["deep"]) == ("1970-01-01 00:00:00.000000001Z", "1.10", {"a": [1]})


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for name in ("o.xlsx", "o", "o.parquet.gz", "o.txt"):
        with pytest.raises(InvalidSetting, match="ends in none of"):
            writer_of(tmp_path / name)
    (tmp_path / "o.csv").mkdir()
    with pytest.raises(InvalidSetting, match="is a folder"):
        writer_of(tmp_path / "o.csv")
    (tmp_path / "i.jsonl").write_text('{"\\ud800": 1, "\\ud801": 2}\n')
    schema = Schema.of([open_table(tmp_path / "i.jsonl")])
    with pytest.raises(InvalidSetting, match="Parquet cannot hold two columns"):
        check_schema(tmp_path / "o.parquet", schema, {})


def test_nothing_of_the_time_is_in_a_packed_file(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv.gz", [{"x": 1}])
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == b"x\n1\n"
    assert (tmp_path / "a.csv.gz").read_bytes()[4:8] == b"\x00" * 4
