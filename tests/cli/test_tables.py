"""Every command that reads a table says the same about it, in one line."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from main import main
from tests.outside.test_files import ADVICE

CASES = {
    "a quote that never closes": ADVICE["a quote that never closes"],
    "two columns of one name": ADVICE["two columns of one name"],
    "ZIP": ADVICE["ZIP"],
    "an Excel workbook": ADVICE["an Excel workbook"],
    "UTF-16 without a mark": ADVICE["UTF-16 without a mark"],
    "a page of an error or a login": ADVICE["a page of an error or a login"],
    "gzip that is cut off": (
        "a.csv.gz",
        gzip.compress(b"id,title,text,genres\n" + b"".join(b"%d,One,x,War\n" % n for n in range(40)))[:-9],
        r"cannot read .*a\.csv\.gz.*: the gzip data ends too early",
    ),
    "gzip with a wrong byte": (
        "a.csv.gz",
        gzip.compress(b"id,title,text,genres\n1,One,x,War\n", mtime=0)[:-6] + b"\x00" * 6,
        "the gzip data is damaged",
    ),
    "a missing file": ("", b"", r"cannot read a\.csv: No such file or directory"),
}
COMMANDS = {
    "bulk": ("bulk", "{}", "--out", "out.csv", "--text-field", "text"),
    "data": ("data", "{}", "--text-field", "text"),
    "evaluate": ("evaluate", "--data", "{}", "--systems", "prior", "--out", "run", "--text-field", "text"),
    "split": ("split", "{}", "--out", "split.json", "--text-field", "text"),
    "index": ("index", "{}", "--out", "index", "--text-field", "text"),
    "enrich": ("enrich", "{}", "--out", "out.csv", "--title-field", "id", "--text-field", "text"),
    "corpus": ("corpus", "corpus.yaml"),
}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", CASES)
def test_a_file_that_cannot_be_read_is_one_line_in_every_command(
    away: Path, monkeypatch: pytest.MonkeyPatch, command: str, case: str
) -> None:
    name, content, said = CASES[case]
    if name:
        (away / name).write_bytes(content)
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb")
    monkeypatch.setenv("MARQUEE_TMDB_KEY", "0123456789abcdef")
    (away / "corpus.yaml").write_text(f"source: {{path: {name or 'a.csv'}}}\nout: made\nenrich: {{lookup: false}}\n")
    found = call(*(part.format(name or "a.csv") for part in COMMANDS[command]))
    assert found.exit_code == 1, found.output
    last = found.output.strip().splitlines()[-1]
    assert last.startswith("Error: "), found.output
    assert re.search(said, last), last
    assert not (away / "out.csv").exists()


def test_bulk_reads_a_tsv_with_a_loose_quote_for_a_taxonomy_of_a_file(away: Path) -> None:
    taxonomy = "multi: false\nlabels:\n  - {name: Billing}\n  - {name: Delivery}\n"
    (away / "shop.yaml").write_text(taxonomy, encoding="utf-8")
    texts = ['"The invoice is wrong', "The parcel is late", "\\N", "NULL", "My card was charged twice"]
    (away / "mail.tsv").write_text("id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(texts)))
    found = call("bulk", "mail.tsv", "--out", "out.jsonl", "--taxonomy", "shop.yaml", "--system", "embedded")
    assert found.exit_code == 0, found.output
    assert "5 rows, 3 different texts, 2 rows with a problem" in found.output
    assert "2 empty: 2, 3" in found.output
    rows = [json.loads(line) for line in (away / "out.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [row["labels"] is None for row in rows] == [False, False, True, True, False]


def test_data_counts_texts_that_are_none_and_reads_numpys_lists(away: Path) -> None:
    (away / "a.csv").write_text("id,description,genres\n1,A duel,['Animation' 'Comedy']\n2,NaN,['War']\n3,#N/A,War\n")
    found = call("data", "a.csv", "--taxonomy", "tmdb")
    assert found.exit_code == 0, found.output
    assert "left out: 2 rows without a text" in found.output
    (away / "a.csv").write_text("id,description,genres\n1,A duel,\"['Animation' 'Comedy', 'War']\"\n")
    broken = call("data", "a.csv", "--taxonomy", "tmdb")
    assert "Error: a.csv, line 2: " in broken.output
    assert "is not a list of labels" in broken.output


def test_a_semicolon_file_in_another_encoding_is_read_where_it_is_named(away: Path) -> None:
    (away / "a.csv").write_bytes("id;description;genres\n1;Un duel à l'épée, la nuit;War\n".encode("cp1252"))
    refused = call("data", "a.csv", "--taxonomy", "tmdb")
    assert "a.csv, line 2: not UTF-8" in refused.output
    assert "--encoding cp1252" in refused.output
    assert call("data", "a.csv", "--taxonomy", "tmdb", "--encoding", "cp1252").exit_code == 0
    wrong = call("data", "a.csv", "--taxonomy", "tmdb", "--encoding", "cp12520")
    assert "there is no encoding 'cp12520'" in wrong.output


def test_enrich_copies_columns_of_parquet_that_it_does_not_read(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb")
    monkeypatch.setenv("MARQUEE_TMDB_KEY", "0123456789abcdef")
    odd = pyarrow.array([2**31 - 1, None], pyarrow.int32()).cast(pyarrow.date32())
    moments = pyarrow.array([1, 2**62], pyarrow.timestamp("ns"))
    table = pyarrow.table({"title": ["One", "Two"], "description": ["A duel.", "A feud."], "day": odd, "at": moments})
    pyarrow.parquet.write_table(table, "i.parquet")
    found = call("enrich", "i.parquet", "--out", "o.parquet")
    assert found.exit_code == 0, found.output
    written = pyarrow.parquet.read_table("o.parquet")
    assert written.select(["title", "description", "day", "at"]).equals(table)
    assert written["text_from"].to_pylist() == ["given", "given"]
