"""Tables as programs really write them: the bytes of a file, and the rows or the one line of advice that they give.

A new report of a file that is read wrongly becomes a row here.
"""

import gzip
import io
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prompts.errors import InvalidDataset
from tabular import TableDialect, open_table

UTF8_MARK = b"\xef\xbb\xbf"
Cells = Sequence[Sequence[Any]]


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "id,text\n1,A sword.\n")
    return out.getvalue()


def rows_of(path: Path, dialect: TableDialect = TableDialect()) -> list[list[Any]]:
    """The names of the columns, and the cells of every row; a problem stands after the cells of its row."""
    table = open_table(path, dialect)
    rows = [[*row.cells.values(), *([f"! {row.problem}"] if row.problem else [])] for row in table.rows()]
    return [list(table.columns), *rows]


PLAIN = [["id", "text"], ["1", "A sword."], ["2", "A heart."]]
PLAIN_CSV = b"id,text\n1,A sword.\n2,A heart.\n"
PLAIN_LINES = b'{"id": "1", "text": "A sword."}\n{"id": "2", "text": "A heart."}\n'

READ: dict[str, tuple[str, bytes, Cells]] = {
    # --- separators, line ends, marks ---
    "plain": ("a.csv", PLAIN_CSV, PLAIN),
    "Windows line ends": ("a.csv", PLAIN_CSV.replace(b"\n", b"\r\n"), PLAIN),
    "old Mac line ends": ("a.csv", PLAIN_CSV.replace(b"\n", b"\r"), PLAIN),
    "no line end at the end": ("a.csv", PLAIN_CSV[:-1], PLAIN),
    "Excel's CSV UTF-8 with a byte order mark": ("a.csv", UTF8_MARK + PLAIN_CSV, PLAIN),
    "Excel's Unicode text: UTF-16 with tabs": (
        "a.txt",
        "id\ttext\r\n1\tcaf\xe9\r\n".encode("utf-16"),
        [["id", "text"], ["1", "caf\xe9"]],
    ),
    "UTF-16, the other byte order": (
        "a.csv",
        b"\xfe\xff" + "id,text\n1,\u65e5\n".encode("utf-16-be"),
        [["id", "text"], ["1", "\u65e5"]],
    ),
    "UTF-32": ("a.csv", "id,text\n1,x\n".encode("utf-32"), [["id", "text"], ["1", "x"]]),
    "JSON lines in UTF-16": ("a.jsonl", PLAIN_LINES.decode().encode("utf-16"), PLAIN),
    "JSON lines with a mark": ("a.jsonl", UTF8_MARK + PLAIN_LINES, PLAIN),
    "Excel of a country with decimal commas": (
        "a.csv",
        b"id;text;score\r\n1;A man, a plan;1,5\r\n",
        [["id", "text", "score"], ["1", "A man, a plan", "1,5"]],
    ),
    "semicolons and many commas in the text": (
        "a.csv",
        b"id;text\n" + b"1;a, b, c, d\n" * 3,
        [["id", "text"], *[["1", "a, b, c, d"]] * 3],
    ),
    "commas and semicolons in the text": (
        "a.csv",
        b"id,text\n1,a; b; c\n2,d; e\n",
        [["id", "text"], ["1", "a; b; c"], ["2", "d; e"]],
    ),
    "Excel's separator line": ("a.csv", b"sep=;\r\nid;text\r\n1;a, b\r\n", [["id", "text"], ["1", "a, b"]]),
    "Excel's separator line in quotes": ("a.csv", b'"sep=|"\nid|text\n1|a; b\n', [["id", "text"], ["1", "a; b"]]),
    "tabs under .csv": ("a.csv", b"id\ttext\n1\ta, b\n", [["id", "text"], ["1", "a, b"]]),
    "commas under .tsv": ("a.tsv", PLAIN_CSV, PLAIN),
    "pipes": ("a.csv", b"id|text|genres\n1|a, b|War\n", [["id", "text", "genres"], ["1", "a, b", "War"]]),
    "spaces after the commas": (
        "a.csv",
        b'id, title, text\n1, One, "a, b"\n',
        [["id", "title", "text"], ["1", "One", "a, b"]],
    ),
    "spaces around names": ("a.csv", b"id , text \n1,x\n", [["id", "text"], ["1", "x"]]),
    "one column whose texts have commas": (
        "a.csv",
        b'text\nA man, a plan\n"b, c"\n',
        [["text"], ["A man, a plan"], ["b, c"]],
    ),
    "a separator in a quoted name": ("a.csv", b'id,"text, English"\n1,x\n', [["id", "text, English"], ["1", "x"]]),
    "empty lines between": ("a.csv", b"\n\nid,text\n\n1,x\n\n\n2,y\n\n", [["id", "text"], ["1", "x"], ["2", "y"]]),
    "names and no row": ("a.csv", b"id,text\n", [["id", "text"]]),
    "nothing": ("a.csv", b"", [[]]),
    "nothing but a mark": ("a.csv", UTF8_MARK, [[]]),
    # --- quotes ---
    "IMDb's TSV: a quote opens a title and closes nowhere": (
        "title.tsv",
        b'id\ttitle\ttext\n1\t"Weird Al\tx\n2\tTwo\ty\n3\t"Rome" in Flames\tz\n4\tFour\t"Oh\n5\t\\N\tends"\n',
        [
            ["id", "title", "text"],
            ["1", '"Weird Al', "x"],
            ["2", "Two", "y"],
            ["3", '"Rome" in Flames', "z"],
            ["4", "Four", '"Oh'],
            ["5", "\\N", 'ends"'],
        ],
    ),
    "two such quotes in a row": (
        "a.tsv",
        b'id\ttext\n1\t"a\n2\t"b\n3\tc\n',
        [["id", "text"], ["1", '"a'], ["2", '"b'], ["3", "c"]],
    ),
    "such a quote around two cells": (
        "a.tsv",
        b'id\tone\ttwo\n1\t"a\tb"\n2\tc\td\n',
        [["id", "one", "two"], ["1", '"a', 'b"'], ["2", "c", "d"]],
    ),
    "such a quote before pipes": ("a.csv", b'id|text\n1|"a\n2|b\n', [["id", "text"], ["1", '"a'], ["2", "b"]]),
    "pandas' TSV: cells in quotes": (
        "a.tsv",
        b'id\ttext\n1\t"a\tb"\n2\t"say ""hi"""\n3\t"two\nlines"\n4\tx\n',
        [["id", "text"], ["1", "a\tb"], ["2", 'say "hi"'], ["3", "two\nlines"], ["4", "x"]],
    ),
    "quoted lines before other cells": (
        "a.tsv",
        b'id\ttext\tn\n1\t"two\nlines"\t7\n2\tx\t8\n',
        [["id", "text", "n"], ["1", "two\nlines", "7"], ["2", "x", "8"]],
    ),
    "quotes around every cell": (
        "a.csv",
        b'"id","text"\r\n"1","a, b"\r\n"2","say ""hi"""\r\n',
        [["id", "text"], ["1", "a, b"], ["2", 'say "hi"']],
    ),
    "a text of several lines": (
        "a.csv",
        b'id,text\n1,"a\nb, c\n\nd"\n2,x\n',
        [["id", "text"], ["1", "a\nb, c\n\nd"], ["2", "x"]],
    ),
    "a quote inside a text": ("a.csv", b'id,text\n1,5" wide\n2,x\n', [["id", "text"], ["1", '5" wide'], ["2", "x"]]),
    "quotes inside a text in quotes, as MySQL and Spark write them": (
        "a.csv",
        b'id,text\n1,"say \\"hi\\", he said"\n2,"5\\" wide"\n3,"two\n\\"lines\\""\n4,"C:\\dir"\n5,"a \\",\nb"\n6,x\n',
        [
            ["id", "text"],
            ["1", 'say "hi", he said'],
            ["2", '5" wide'],
            ["3", 'two\n"lines"'],
            ["4", "C:\\dir"],
            ["5", 'a ",\nb'],
            ["6", "x"],
        ],
    ),
    "JSON in a cell, quotes with backslashes": (
        "a.csv",
        b'id,text\n1,"{\\"a\\": \\"b\\"}"\n2,x\n',
        [["id", "text"], ["1", '{"a": "b"}'], ["2", "x"]],
    ),
    "a backslash at the end of a text in quotes": (
        "a.csv",
        b'id,text\n1,"a\\"\n2,"b"\n',
        [["id", "text"], ["1", "a\\"], ["2", "b"]],
    ),
    "a name in quotes that a text begins with": (
        "a.csv",
        b'id,text\n1,"Rome" in Flames\n2,"Rome" in "Flames"\n3,"a, b" \n4,c\n',
        [["id", "text"], ["1", '"Rome" in Flames'], ["2", '"Rome" in "Flames"'], ["3", "a, b"], ["4", "c"]],
    ),
    "quotes inside a text in quotes that are not doubled": (
        "a.csv",
        b'id,text\n1,"Rome, city" in Flames\n2,c\n',
        [
            ["id", "text"],
            ["1", '"Rome', "! a quote in the middle of a cell in quotes; double the quotes inside it"],
            ["2", "c"],
        ],
    ),
    "spaces before quotes, none in the names": (
        "a.csv",
        b'id,text\n1, "a, b"\n2, "c\nd, e"\n3, f\n',
        [["id", "text"], ["1", "a, b"], ["2", "c\nd, e"], ["3", " f"]],
    ),
    "a text of 100,000 characters and of 30,000 lines": (
        "a.csv",
        b'id,text\n1,"' + b"x, y\n" * 30_000 + b'"\n2,' + b"x " * 50_000 + b"\n3,z\n",
        [["id", "text"], ["1", "x, y\n" * 30_000], ["2", "x " * 50_000], ["3", "z"]],
    ),
    "line separators of Unicode": (
        "a.csv",
        "id,text\n1,a\u2028b\n2,c\x85d\n3,e\x0cf\n".encode(),
        [["id", "text"], ["1", "a\u2028b"], ["2", "c\x85d"], ["3", "e\x0cf"]],
    ),
    # --- columns ---
    "invisible characters around names": (
        "a.csv",
        UTF8_MARK + "\ufeffid,\u200btext\u00a0\n1,x\n".encode(),
        [["id", "text"], ["1", "x"]],
    ),
    "pandas' default to_csv": (
        "a.csv",
        b",id,text\n0,1,A sword.\n1,2,A heart.\n",
        [["Unnamed: 0", "id", "text"], ["0", "1", "A sword."], ["1", "2", "A heart."]],
    ),
    "Excel's empty columns": (
        "a.csv",
        b"id,text,,\n1,x,,\n2,y\n",
        [["id", "text", "Unnamed: 2", "Unnamed: 3"], ["1", "x", "", ""], ["2", "y", "", ""]],
    ),
    "separators after the last cell": ("a.csv", b"id,text\n1,x,\n2,y,,\n", [["id", "text"], ["1", "x"], ["2", "y"]]),
    "short and long rows": (
        "a.csv",
        b"id,text\n1\n2,x\n3,y,z\n",
        [
            ["id", "text"],
            ["1", "! 1 cells where the first line names 2"],
            ["2", "x"],
            ["3", "y", "! 3 cells where the first line names 2, ['z'] beyond them"],
        ],
    ),
    "a zero byte": (
        "a.csv",
        b"id,text\n1,a\x00b\n2,x\n",
        [["id", "text"], ["1", "a\x00b", "! a zero byte (NUL) in a cell"], ["2", "x"]],
    ),
    # --- JSON ---
    "JSON lines": ("a.jsonl", PLAIN_LINES, PLAIN),
    "JSON lines under .csv": ("a.csv", PLAIN_LINES, PLAIN),
    "JSON lines under .json": ("a.json", PLAIN_LINES, PLAIN),
    "CSV under .jsonl": ("a.jsonl", PLAIN_CSV, PLAIN),
    "an array on one line": (
        "a.json",
        b'[{"id": 1, "text": "x"}, {"id": 2, "text": "y"}]',
        [["id", "text"], [1, "x"], [2, "y"]],
    ),
    "an array of many lines under .jsonl": (
        "a.jsonl",
        b'[\n  {"id": 1,\n   "text": "x"},\n  {"id": 2, "text": "y"}\n]\n',
        [["id", "text"], [1, "x"], [2, "y"]],
    ),
    "an empty array": ("a.json", b"[]", [[]]),
    "one object of many lines under .jsonl": (
        "a.jsonl",
        b'{\n  "id": 1,\n  "text": "x"\n}\n',
        [["id", "text"], [1, "x"]],
    ),
    "jq's output: objects of many lines": ("a.jsonl", b'{\n "id": 1\n}\n{\n "id": 2\n}\n', [["id"], [1], [2]]),
    "an item that is no object": (
        "a.json",
        b'[{"id": 1}, 7]',
        [["id"], [1], ["! the item is JSON, but no object of named columns"]],
    ),
    "a line that is broken": (
        "a.jsonl",
        b'{"id": 1}\n{"id": \n{"id": 3}\n',
        [["id"], [1], ["! the line is not JSON"], [3]],
    ),
    "the first line is broken": ("a.jsonl", b'{"id": \n{"id": 2}\n', [["id"], ["! the line is not JSON"], [2]]),
    "two values of one name": (
        "a.jsonl",
        b'{"text": "x", "text": "y"}\n',
        [[], ["! two values for 'text': a column has one name and one value"]],
    ),
    "SQL Server's names in brackets": ("a.csv", b"[id],[text]\n1,x\n", [["[id]", "[text]"], ["1", "x"]]),
    # --- gzip by its bytes ---
    "gzip": ("a.csv.gz", gzip.compress(PLAIN_CSV, mtime=0), PLAIN),
    "gzip under .csv": ("a.csv", gzip.compress(PLAIN_CSV, mtime=0), PLAIN),
    "no gzip under .gz": ("a.csv.gz", PLAIN_CSV, PLAIN),
    "gzip of two parts": (
        "a.csv.gz",
        gzip.compress(PLAIN_CSV[:8], mtime=0) + gzip.compress(PLAIN_CSV[8:], mtime=0),
        PLAIN,
    ),
    "gzip whose first part is empty": (
        "a.csv.gz",
        gzip.compress(b"", mtime=0) + gzip.compress(PLAIN_CSV, mtime=0),
        PLAIN,
    ),
    "gzip with zeros after its end": ("a.csv.gz", gzip.compress(PLAIN_CSV, mtime=0) + bytes(512), PLAIN),
    "gzipped JSON array": ("a.json.gz", gzip.compress(b'[{"id": 1}]', mtime=0), [["id"], [1]]),
}

ADVICE: dict[str, tuple[str, bytes, str]] = {
    "a quote that never closes": ("a.csv", b'id,text\n1,x\n2,"A heart\n3,y\n', r"a\.csv, line 3: a quote opens"),
    "a quote that never closes in the last line": ("a.csv", b'id,text\n1,x\n2,"y', r"a\.csv, line 3: a quote opens"),
    "a quote that the next quoted cell seems to close": (
        "a.csv",
        b'id,text\n1,"A sword\n2,"A heart"\n3,x\n',
        r"a\.csv, line 2: a quote opens",
    ),
    "the same with quotes around every cell": (
        "a.csv",
        b'"id","text"\n"1","A sword\n"2","A heart"\n',
        r"a\.csv, line 2: a quote opens",
    ),
    "a quote that never closes, one column": ("a.csv", b'text\n"A sword\nA heart\n', r"a\.csv, line 2: a quote opens"),
    "a quote that never closes, semicolons": ("a.csv", b'id;text\n1;"x\n2;y\n', r"a\.csv, line 2: a quote opens"),
    "two columns of one name": (
        "a.csv",
        b"id,text,text\n1,x,y\n",
        r"a\.csv has two columns 'text' \(columns 2 and 3\); rename one",
    ),
    "two columns of one name but for spaces": ("a.csv", b"text, text\nx,y\n", "two columns 'text'"),
    "a name in Latin-1": (
        "a.csv",
        "id,r\xe9sum\xe9\n1,x\n".encode("latin-1"),
        r"a\.csv, line 1: not UTF-8; .*--encoding cp1252",
    ),
    "UTF-16 without a mark": ("a.csv", "id,text\n1,x\n".encode("utf-16-le"), "give --encoding utf-16-le"),
    "ZIP": ("films.csv", zipped("films.csv"), r"films\.csv is a ZIP archive of films\.csv: unpack it first"),
    "an Excel workbook": (
        "films.csv",
        zipped("[Content_Types].xml", "xl/workbook.xml"),
        "is an Excel workbook: save it as CSV",
    ),
    "an OpenDocument table": ("a.csv", zipped("mimetype", "content.xml"), "is an OpenDocument file: save it as CSV"),
    "a ZIP that is cut off": ("a.csv", zipped("a.csv")[:50], "is a damaged ZIP archive"),
    "an old Excel workbook": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9, "is an old Excel or Word document"),
    "bzip2": ("a.csv", b"BZh91AY&SY" * 9, "is a bzip2 archive, not a table: unpack it first: bunzip2 a.csv"),
    "xz": ("a.csv", b"\xfd7zXZ\x00" * 9, "is an xz archive"),
    "Zstandard": ("a.jsonl", b"\x28\xb5\x2f\xfd" * 9, "is a Zstandard archive"),
    "SQLite": ("a.csv", b"SQLite format 3\x00" * 9, "is an SQLite database"),
    "a pickle": ("a.csv", b"\x80\x04\x95" + b"\x00" * 50, "is a Python pickle"),
    "a page of an error or a login": (
        "a.csv",
        b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
        "is a web page",
    ),
    "a page that begins with its title": ("a.csv", b"<title>Sign in</title>", "is a web page"),
    "S3's answer to a request without rights": ("a.csv", b"<Error><Code>AccessDenied</Code></Error>", "is XML or HTML"),
    "a pointer of git-annex": ("a.csv", b"/annex/objects/SHA256E-s123--abc.csv\n", "git annex get a.csv"),
    "rich text": ("a.csv", b"{\\rtf1\\ansi id,text}", "is a rich text document"),
    "UTF-16 with half a character": (
        "a.csv",
        b"\xff\xfe" + "id,text\n1,".encode("utf-16-le") + b"\x3d\xd8\n\x00",
        "is damaged UTF-16",
    ),
    "XML": ("a.csv", b"<?xml version='1.0'?><rows/>", "is XML"),
    "a pointer of Git LFS": ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    "an image": ("a.csv", b"\x89PNG\r\n\x1a\n" * 9, "is a PNG image"),
    "other bytes": ("a.csv", bytes(range(256)) * 4, "holds binary data"),
    "text under .parquet": ("a.parquet", PLAIN_CSV, "as Parquet: it is text"),
    "Parquet that is cut off": ("a.parquet", b"PAR1" + b"x" * 90, "as Parquet: it is damaged or cut off"),
    "gzip that is cut off": (
        "a.csv.gz",
        gzip.compress(PLAIN_CSV * 50, mtime=0)[:-9],
        r"cannot read .*a\.csv\.gz.*the gzip data ends too early",
    ),
    "gzip of which the first bytes alone are left": (
        "a.csv.gz",
        gzip.compress(PLAIN_CSV, mtime=0)[:10],
        "the gzip data ends too early",
    ),
    "gzip with other bytes after its end": (
        "a.csv.gz",
        gzip.compress(PLAIN_CSV, mtime=0) + b"garbage",
        "the gzip data is damaged",
    ),
    "gzip with a wrong byte": (
        "a.csv.gz",
        gzip.compress(PLAIN_CSV, mtime=0)[:-6] + b"\x00" * 6,
        "the gzip data is damaged",
    ),
    "gzip inside gzip": ("a.csv.gz", gzip.compress(gzip.compress(PLAIN_CSV), mtime=0), "is gzip inside gzip"),
    "tar inside gzip": ("a.csv.gz", gzip.compress(b"x" * 257 + b"ustar" + b"\x00" * 250, mtime=0), "is a tar archive"),
    "an array that is cut off": ("a.json", b'[{"id": 1}, {"id": ', "not JSON: the file ends in the middle"),
    "an array without a comma": ("a.json", b'[{"id": 1}\n {"id": 2}]', "line 2: not JSON: no comma between two items"),
    "an array with an error": ("a.json", b'[{"id": 1},\n {"id": x}]', r"a\.json, line 2: not JSON at 'x}]'"),
    "an answer of an API": ("a.json", b'{"page": 1, "results": [{"id": 1}]}', "around the rows in 'results'"),
    "pandas' default to_json": ("a.json", b'{"id": {"0": 1}, "text": {"0": "x"}}', "orient='records'"),
    "pandas' to_json of lists": ("a.json", b'{"id": [1, 2], "text": ["x", "y"]}', "one object a row"),
    "pandas' to_json of one column": ("a.json", b'{"text": {"0": "x", "1": "y"}}', "orient='records'"),
    "pandas' to_json of one column as a list": ("a.json", b'{"text": ["x", "y"]}', "one object a row"),
    "a number that is too long": ("a.jsonl", b'{"id": ' + b"9" * 5_000 + b"}\n", "a number of too many digits"),
    "JSON that is text": ("a.json", b"id is 1", "not JSON"),
}


@pytest.mark.parametrize("case", READ)
def test_a_file_gives_its_rows(tmp_path: Path, case: str) -> None:
    name, content, expected = READ[case]
    (tmp_path / name).write_bytes(content)
    assert rows_of(tmp_path / name) == [list(row) for row in expected]


@pytest.mark.parametrize("case", ADVICE)
def test_a_file_that_cannot_be_read_gives_one_line_of_advice(tmp_path: Path, case: str) -> None:
    name, content, said = ADVICE[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidDataset) as caught:
        rows_of(tmp_path / name)
    message = str(caught.value)
    assert re.search(said, message), message
    assert "\n" not in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("content", "dialect", "expected"),
    [
        ("id,text\n1,caf\xe9\n".encode("cp1252"), TableDialect(encoding="cp1252"), [["id", "text"], ["1", "caf\xe9"]]),
        (
            "id,text\n1,\u65e5\u672c\n".encode("shift_jis"),
            TableDialect(encoding="shift_jis"),
            [["id", "text"], ["1", "\u65e5\u672c"]],
        ),
        ("id,text\n1,x\n".encode("utf-16-le"), TableDialect(encoding="utf-16-le"), [["id", "text"], ["1", "x"]]),
        (b"id~text\n1~a, b\n", TableDialect(separator="~"), [["id", "text"], ["1", "a, b"]]),
        (b"a;b,c\n1;2,3\n", TableDialect(separator="semicolon"), [["a", "b,c"], ["1", "2,3"]]),
    ],
)
def test_an_encoding_and_a_separator_may_be_named(
    tmp_path: Path, content: bytes, dialect: TableDialect, expected: Cells
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert rows_of(tmp_path / "a.csv", dialect) == expected


def test_a_file_that_is_not_there_and_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_bytes(PLAIN_CSV)
    with pytest.raises(InvalidDataset, match=r"No such file or directory; did you mean 'films\.csv'\?"):
        open_table(tmp_path / "film.csv")
    with pytest.raises(InvalidDataset, match="is a folder"):
        open_table(tmp_path)


def test_a_pipe_is_told_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("-"), Path("/dev/null")):
        with pytest.raises(InvalidDataset, match="is a pipe, and a table is read more than once; save it as a file"):
            open_table(path)
