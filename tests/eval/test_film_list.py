"""Films of a catalogue, from the formats that data sets have."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from eval.datasets.film_list import FilmColumns, Films
from prompts.errors import InvalidDataset
from similarity.index.catalog import Film

ROWS = [
    {"id": "a", "title": "One", "year": 1999, "genres": ["Drama", "War"], "description": "A war."},
    {"id": "b", "title": "Two", "year": None, "genres": [], "description": "No genre."},
]
FILMS = [Film("a", "One", 1999, ("Drama", "War"), "A war."), Film("b", "Two", None, (), "No genre.")]


def as_json_lines(folder: Path) -> Path:
    path = folder / "films.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    return path


def as_csv(folder: Path) -> Path:
    path = folder / "films.csv"
    path.write_text("id,title,year,genres,description\na,One,1999.0,Drama|War,A war.\nb,Two,,,No genre.\n")
    return path


def as_parquet(folder: Path) -> Path:
    path = folder / "films.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def as_tmdb(folder: Path) -> Path:
    path = folder / "tmdb_5000_movies.csv"
    genres = json.dumps([{"name": "Drama"}, {"name": "War"}]).replace('"', '""')
    path.write_text(f'id,title,release_date,genres,overview\n7,One,1999-05-01,"{genres}",A war.\n')
    return path


@pytest.mark.parametrize("write", [as_json_lines, as_csv, as_parquet])
def test_tables_of_every_format_give_the_same_films(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    films = Films(write(tmp_path))
    assert list(films) == FILMS
    assert list(films) == FILMS  # a second time too


def test_tmdbs_own_table_is_read_by_its_own_names(tmp_path: Path) -> None:
    assert list(Films(as_tmdb(tmp_path))) == [Film("7", "One", 1999, ("Drama", "War"), "A war.")]


def test_columns_go_by_other_names_where_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("key,plot,kind,when\na,A war.,War;Drama,1999-05-01\n")
    columns = FilmColumns(id="key", text="plot", genres="kind", year="when")
    assert list(Films(path, columns)) == [Film("a", "", 1999, ("War", "Drama"), "A war.")]


@pytest.mark.parametrize(
    ("content", "columns", "said"),
    [
        ("title,description\nOne,A war.\n", FilmColumns(), "line 2: no column 'id'"),
        ("id,title\na,One\n", FilmColumns(), "no column 'description'"),
        ("id,description\na,A war.\n", FilmColumns(title="name"), "no column 'name'"),
        ("id,description\n,A war.\n", FilmColumns(), "line 2: no id"),
        ("id,description\na,A war.,1\n", FilmColumns(), "3 cells where the first line names 2"),
        ("id,description,genres\na,A war.,[oops\n", FilmColumns(), "not a list of labels"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(
    tmp_path: Path, content: str, columns: FilmColumns, said: str
) -> None:
    path = tmp_path / "films.csv"
    path.write_text(content)
    with pytest.raises(InvalidDataset, match=said):
        list(Films(path, columns))


def test_a_year_that_is_none_is_left_empty_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("id,description,year\na,A war.,II\nb,A war.,1999\n")
    films = Films(path)
    assert [film.year for film in films] == [None, 1999]
    assert sum(films.noted.values()) == 1


def test_the_origin_changes_with_the_bytes_and_with_how_they_are_read(tmp_path: Path) -> None:
    path = as_csv(tmp_path)
    first = Films(path).origin
    assert first == Films(path).origin != Films(path, FilmColumns(text="title")).origin
    path.write_text(path.read_text() + "c,Three,2000,,More.\n")
    assert Films(path).origin != first
