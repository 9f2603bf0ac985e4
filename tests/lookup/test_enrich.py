"""`main.py enrich`: missing plots filled in, every row with a note of where its text came from."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lookup.enrich import EnrichColumns, enriched
from lookup.lookup import Lookup
from lookup.providers import tmdb
from main import main
from tabular import strict_rows
from tabular.writing import write_table
from tests.lookup.film_server import LANTERN, SALT, TMDB_KEY, FilmServer, film, film_server
from tests.support.misbehaving import hangs

pytestmark = pytest.mark.usefixtures("away")
ROOT = Path(__file__).parent.parent.parent
ROWS: list[dict[str, Any]] = [
    {"id": 1, "title": "Salt & Mule", "year": 1999, "description": "Add a Plot", "genres": ["War"]},
    {"id": 2, "title": "The Paper Lantern", "year": None, "description": "", "genres": []},
    {"id": 3, "title": "The Paper Lantern", "year": 1984, "description": None, "genres": []},
    {"id": 4, "title": "Its own", "year": 2000, "description": "A text of its own.", "genres": ["Drama"]},
    {"id": 5, "title": "zzz", "year": 2000, "description": "N/A", "genres": []},
    {"id": 6, "title": "", "year": 2000, "description": "", "genres": []},
    {"id": 7, "title": "Nothing Told", "year": 2001, "description": "", "genres": []},
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FilmServer]:
    with film_server() as running:
        for name, value in environment(running).items():
            monkeypatch.setenv(name, value)
        yield running


def environment(server: FilmServer) -> dict[str, str]:
    return {
        "MARQUEE_TMDB_URL": server.tmdb,
        "MARQUEE_TMDB_KEY": TMDB_KEY,
        "MARQUEE_LOOKUP_PROVIDERS": "tmdb",
    }


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["enrich", *arguments])


def table(name: str, rows: list[dict[str, Any]] = ROWS) -> str:
    write_table(Path(name), rows)
    return name


def read(name: str) -> list[dict[str, Any]]:
    return [dict(row.cells) for row in strict_rows(Path(name))]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "jsonl.gz", "csv.gz", "parquet"])
def test_missing_plots_are_filled_in_and_every_row_says_where_its_text_came_from(server: FilmServer, form: str) -> None:
    result = call(table(f"films.{form}"), "--out", f"out.{form}")
    assert result.exit_code == 0, result.output
    rows = read(f"out.{form}")
    assert [str(row["id"]) for row in rows] == [str(row["id"]) for row in ROWS]
    assert [row["text_from"] or "" for row in rows] == ["tmdb: overview", "", "tmdb: overview", "given", "", "", ""]
    assert [row["description"] or "" for row in rows] == [SALT, "", LANTERN, "A text of its own.", "", "", ""]
    genres = rows[2]["known_genres"]
    assert (json.loads(genres) if isinstance(genres, str) else genres) == ["Drama", "Mystery"]
    assert rows[0]["text_url"] == "https://www.themoviedb.org/movie/14"
    assert "or more films match" in rows[1]["lookup_note"]
    assert "the text was 'N/A'" in rows[4]["lookup_note"]
    assert "exactly 'zzz'" in rows[4]["lookup_note"]
    for count, what in ((2, "found by tmdb"), (1, "had a text"), (1, "ambiguous"), (1, "not found")):
        assert any(line.split()[0] == str(count) and what in line for line in result.stdout.splitlines()), what


def test_cells_keep_their_types_where_the_form_has_types(server: FilmServer) -> None:
    call(table("films.jsonl"), "--out", "out.parquet")
    rows = read("out.parquet")
    assert (rows[0]["id"], rows[0]["year"], rows[0]["genres"], rows[1]["year"]) == (1, 1999, ["War"], None)


def test_the_best_known_film_is_taken_where_that_is_asked_for(server: FilmServer) -> None:
    call(table("films.csv"), "--out", "out.csv", "--ambiguous", "best-known")
    row = read("out.csv")[1]
    assert (row["description"], row["lookup_note"]) == (LANTERN, "The Paper Lantern (1984), the most popular of 2")


def test_enriching_twice_changes_nothing_and_asks_nobody(server: FilmServer) -> None:
    call(table("films.csv"), "--out", "once.csv")
    asked = len(server.requests)
    again = json.loads(call("once.csv", "--out", "twice.csv", "--json").stdout)
    assert (again["file"], again["unanswered"]) == ("twice.csv", 0)
    assert Path("once.csv").read_text().replace("the text was 'N/A'; ", "") == Path("twice.csv").read_text()
    assert len(server.requests) == asked


def test_columns_may_have_other_names(server: FilmServer) -> None:
    row = {"name": "Salt & Mule", "released": "1999-03-04", "overview": "Add a plot"}
    names = ("--title-field", "name", "--year-field", "released", "--text-field", "overview")
    assert call(table("films.csv", [row]), "--out", "out.csv", *names).exit_code == 0
    assert read("out.csv")[0]["overview"] == SALT
    wrong = call("films.csv", "--out", "out.csv")
    assert wrong.exit_code == 1
    assert "no column 'title'; columns: name, released, overview" in wrong.output


def test_rows_without_an_answer_are_written_told_and_asked_about_again(server: FilmServer) -> None:
    server.faults = [hangs(0.1)] * 12
    result = call(table("films.csv"), "--out", "out.csv", "--patience", "0.5")
    assert result.exit_code == 1
    assert "the same command again" in result.output
    assert len(read("out.csv")) == len(ROWS)
    server.faults.clear()
    assert call("films.csv", "--out", "out.csv").exit_code == 0
    assert read("out.csv")[0]["text_from"] == "tmdb: overview"


def test_where_nobody_answers_not_every_title_is_tried() -> None:
    with film_server() as gone:
        pass
    lookup = Lookup((tmdb(TMDB_KEY, gone.tmdb),))
    rows = [{"title": f"Film {n}", "description": ""} for n in range(500)]
    found = enriched(rows, EnrichColumns(), lookup, patience=0.05)
    assert (found.unanswered, len(found.rows)) == (500, 500)
    assert "not queried" in found.rows[-1]["lookup_note"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("films.csv", "--out", "films.csv"), "would replace the input"),
        (("films.csv", "--out", "out.xlsx"), "ends in none of"),
        (("films.csv", "--out", "out.parquet.gz"), "ends in none of"),
        (("none.csv", "--out", "out.csv"), "No such file"),
        (("films.txt", "--out", "out.csv"), "films.txt has no column 'title'"),
    ],
)
def test_what_cannot_be_done_is_told_before_anybody_is_asked(
    server: FilmServer, arguments: tuple[str, ...], said: str
) -> None:
    table("films.csv")
    Path("films.txt").write_text("x")
    result = call(*arguments)
    assert result.exit_code
    assert said in result.output
    assert server.requests == []


def test_without_any_provider_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_LOOKUP_PROVIDERS", "tmdb,omdb")
    result = call(table("films.csv"), "--out", "out.csv")
    assert result.exit_code == 1
    assert "MARQUEE_LOOKUP_PROVIDERS" in result.output
    assert not Path("out.csv").exists()


def test_killed_in_the_middle_it_goes_on_where_it_was(server: FilmServer, away: Path) -> None:
    titles = [f"Film number {n}" for n in range(40)]
    server.films = tuple(film(n, title, 2000, f"Plot {n}.") for n, title in enumerate(titles))
    table("films.csv", [{"title": title, "year": 2000, "description": ""} for title in titles])
    command = [sys.executable, str(ROOT / "main.py"), "enrich", "films.csv", "--out", "out.csv"]
    first = subprocess.Popen(command, cwd=away, env={**os.environ, **environment(server)}, stderr=subprocess.DEVNULL)
    for _ in range(3_000):
        if len(server.requests) >= 24:
            break
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert not Path("out.csv").exists()
    before = {path for path, _, _ in server.requests if path.startswith("/3/movie/")}
    server.requests.clear()
    subprocess.run(command, cwd=away, env={**os.environ, **environment(server)}, check=True, capture_output=True)
    assert [row["description"] for row in read("out.csv")] == [f"Plot {n}." for n in range(40)]
    again = before & {path for path, _, _ in server.requests}
    assert len(before) >= 4
    assert len(again) <= 8, "only what was under way when it was killed is asked again"
