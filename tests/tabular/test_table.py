"""Tables as streams: positions, endless files, and Parquet whose columns are converted when they are read."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from prompts.errors import InvalidDataset
from tabular import ReadPosition, column_names, open_table, strict_rows


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_the_position_goes_from_the_first_row_to_the_last(tmp_path: Path, form: str) -> None:
    from tabular.writing import write_table

    path = tmp_path / f"a.{form}"
    write_table(path, [{"id": n, "text": "x" * 200} for n in range(5_000)])
    position = ReadPosition(path.stat().st_size)
    rows = open_table(path).rows(position)
    next(rows)
    first = position.share
    assert len(list(islice(rows, 4_000))) == 4_000
    assert first < 0.5 < position.share <= 1.0


def test_a_json_array_is_read_as_a_stream(tmp_path: Path) -> None:
    items = [{"n": n, "text": "]}," * 50 + '\\"\n'} for n in range(3_000)]
    (tmp_path / "a.json").write_text(json.dumps(items))
    assert [row.cells["n"] for row in open_table(tmp_path / "a.json").rows()] == list(range(3_000))
    long = {"text": "x" * 1_000_000}
    (tmp_path / "a.json").write_text(json.dumps([long, long], indent=1))
    assert [row.where for row in open_table(tmp_path / "a.json").rows()] == ["a.json, line 2", "a.json, line 5"]


def test_a_column_of_parquet_that_is_not_read_is_not_converted(tmp_path: Path) -> None:
    odd = pyarrow.array([2**31 - 1], pyarrow.int32()).cast(pyarrow.date32())
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"], "day": odd}), tmp_path / "a.parquet")
    (row,) = open_table(tmp_path / "a.parquet").rows()
    assert row.cells["text"] == "x"
    assert list(row.cells) == ["text", "day"]
    assert "2147483647" in row.cells["day"]


def test_two_columns_of_one_name_in_parquet_are_told(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidDataset, match=r"a\.parquet has two columns 'a' \(columns 1 and 2\)"):
        open_table(tmp_path / "a.parquet")


def test_a_table_that_must_be_whole_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,x\n2\n")
    with pytest.raises(InvalidDataset, match=r"a\.csv, line 3: 1 cells where the first line names 2"):
        list(strict_rows(tmp_path / "a.csv"))
    with pytest.raises(InvalidDataset, match=r"a\.csv has no column 'plot'; columns: id, text"):
        open_table(tmp_path / "a.csv").require("id", "plot")
    assert column_names(tmp_path / "none.csv") == ()


def test_a_cell_beyond_the_limit_is_a_quote_that_never_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import csv

    before = csv.field_size_limit(1_000)
    try:
        (tmp_path / "a.csv").write_text('id,text\n1,"x\n' + "2,y\n" * 999)
        with pytest.raises(InvalidDataset, match="line 2: a quote opens a cell here and is never closed"):
            list(open_table(tmp_path / "a.csv").rows())
    finally:
        csv.field_size_limit(before)
