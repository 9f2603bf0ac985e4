"""The formats that people have: how each is told from the others, what it gives and what it leaves out."""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eval.datasets import Example, Fields, load, texts_of
from eval.datasets.registry import FORMATS, format_of
from prompts import registry
from prompts.errors import InvalidDataset, UnknownName

TMDB, IMDB, SENTIMENT = (registry.taxonomy(name) for name in ("tmdb", "imdb", "sentiment"))


def table(path: Path, *rows: Sequence[Any], delimiter: str = ",") -> Path:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    path.write_bytes(gzip.compress(out.getvalue().encode()) if path.suffix == ".gz" else out.getvalue().encode())
    return path


def labels(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    return [example.labels for example in examples]


# --- named columns ---


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('["War", "sci-fi"]', ("Science Fiction", "War")),
        ("['War', 'Drama']", ("Drama", "War")),
        ('[{"id": 18, "name": "Drama"}]', ("Drama",)),
        ("War|Drama", ("Drama", "War")),
        ("War; Drama", ("Drama", "War")),
        ("War, Drama,", ("Drama", "War")),
        ("War", ("War",)),
    ],
)
def test_labels_of_a_cell_may_be_written_in_many_ways(tmp_path: Path, cell: str, expected: tuple[str, ...]) -> None:
    path = table(tmp_path / "a.csv", ("id", "description", "genres"), ("1", "two armies meet", cell))
    assert labels(load(path, TMDB).examples) == [expected]


def test_a_label_with_a_comma_in_its_name_is_not_taken_apart(tmp_path: Path) -> None:
    from prompts.taxonomy import Label, Taxonomy

    own = Taxonomy("own", (Label("Bread, fresh"), Label("Cake")))
    path = table(tmp_path / "a.csv", ("description", "genres"), ("x", "Bread, fresh"), ("y", "Cake|Bread, fresh"))
    assert labels(load(path, own).examples) == [("Bread, fresh",), ("Bread, fresh", "Cake")]


@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.csv", ","), ("a.CSV.gz", ","), ("a.tsv", "\t"), ("a.tsv.gz", "\t")]
)
def test_tables_of_separated_values(tmp_path: Path, name: str, delimiter: str) -> None:
    path = table(
        tmp_path / name,
        ("id", "plot", "kind", "title", "year", "split", "complete_labels", "truncated", "interests"),
        ("7", "a line\nand another", "War", "T", "1999", "test", "False", "true", "Epic|Trench"),
        delimiter=delimiter,
    )
    (example,) = load(path, TMDB, Fields("plot", "kind", title="title")).examples
    assert (example.id, example.text.body, example.text.title) == ("7", "a line\nand another", "T")
    assert (example.split, example.complete, example.truncated) == ("test", False, True)
    assert example.film == "t (1999)"


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {"id": [1, 2], "description": ["a duel", "a wedding"], "genres": [["Western"], ["Romance", "Comedy"]]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    loaded = load(tmp_path / "a.parquet", TMDB)
    assert [example.id for example in loaded.examples] == ["1", "2"]
    assert labels(loaded.examples) == [("Western",), ("Comedy", "Romance")]


def test_further_labels_come_along(tmp_path: Path) -> None:
    row = {"id": 1, "description": "x", "genres": ["War"], "interests": ["Trench", "Epic"], "complete_labels": False}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (example,) = load(tmp_path / "a.jsonl", IMDB).examples
    assert (example.extra, example.complete) == (("Trench", "Epic"), False)


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ("description", "genres"), ("x", "War"), ("y", "War"))
    assert [example.id for example in load(path, TMDB).examples] == ["1", "2"]


def test_a_row_without_a_text_is_left_out_and_counted(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.csv", ("id", "title", "description", "genres"), (1, "T", " ", "War"), (2, "U", "x", "War")
    )
    assert load(path, TMDB).skipped == {"without a text": 1}
    assert len(load(path, TMDB, Fields(title="title")).examples) == 2, "a title is a text"


def test_a_copy_of_a_row_is_left_out_and_one_id_for_two_texts_is_refused(tmp_path: Path) -> None:
    head = ("id", "description", "genres")
    path = table(tmp_path / "a.csv", head, (1, "x", "War"), (1, "x", "War"))
    loaded = load(path, TMDB)
    assert (len(loaded.examples), loaded.skipped) == (1, {"with a repeated id": 1})
    with pytest.raises(InvalidDataset, match=r"line 3: id '1' is also the id of another text .*line 2"):
        load(table(path, head, (1, "x", "War"), (1, "y", "War")), TMDB)


def test_unknown_labels_are_refused_or_dropped_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ("id", "description", "genres"), (1, "x", "War|Cooking"), (2, "y", "Cooking"))
    with pytest.raises(InvalidDataset, match=r"a\.csv, line 2: label 'Cooking' is not in taxonomy 'tmdb'.*drop"):
        load(path, TMDB)
    loaded = load(path, TMDB, drop_unknown=True)
    assert labels(loaded.examples) == [("War",)]
    assert loaded.changed == {"the unknown label 'Cooking' dropped": 2}
    assert loaded.skipped["without a predictable label"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.csv is empty"),
        (b"id,description,genres\n", "no labelled example"),
        (b"id,text,genres\n1,x,War\n", "line 2: no column 'description'; columns: id, text, genres"),
        (b"id,description,genres\n1,x,War\n2,caf\xe9,War\n", "line 3: not UTF-8; .*--encoding"),
        (b"id,description,genres\n1,x, y,War\n", "line 2: 4 cells where the first line names 3"),
        (b"id,description,genres\n1,x,[War\n", r"line 2: '\[War' is not a list of labels"),
        (b"id,description,genres,truncated\n1,x,War,perhaps\n", "line 2: 'perhaps' is neither true nor false"),
    ],
)
def test_a_faulty_table_is_refused_with_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InvalidDataset, match=said):
        load(tmp_path / "a.csv", TMDB)


def test_files_that_are_not_what_their_name_says_are_refused(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl.gz", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(InvalidDataset, match="cannot read"):
            load(tmp_path / name, SENTIMENT)
    (tmp_path / "a.doc").write_bytes(b"")
    with pytest.raises(InvalidDataset, match=r"no known format; name one: aclimdb: .*parquet"):
        load(tmp_path / "a.doc", TMDB)


def test_a_format_may_be_named(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.txt", ("description", "genres"), ("x", "War"))
    assert labels(load(path, TMDB, format="csv").examples) == [("War",)]
    with pytest.raises(UnknownName, match="did you mean 'csv'"):
        load(path, TMDB, format="cvs")


def test_texts_need_neither_ids_nor_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", ("plot", "name"), ("x", "T"), ("", "U"), ("y", "V"))
    assert [text.body for text in texts_of(path, "plot")] == ["x", "", "y"]
    assert [text.title for text in texts_of(path, "plot", 2, title="name")] == ["T", "U"]


# --- TMDB ---

TMDB_HEAD = ("adult", "genres", "id", "overview", "release_date", "title")


def test_tmdb_genres_are_read_as_json_and_as_python_and_broken_rows_are_counted(tmp_path: Path) -> None:
    path = table(
        tmp_path / "movies_metadata.csv",
        TMDB_HEAD,
        ("False", '[{"id": 18, "name": "Drama"}]', "5", "a widow sails home", "1995-12-15", "Harbour"),
        ("False", "[{'id': 35, 'name': 'Comedy'}]", "6", "two cooks quarrel", "12/10/2009", "Stew"),
        ("False", "[{'id': 35, 'name': 'Comedy'}]", "6", "two cooks quarrel", "", "Stew"),
        ("- the cut cell", "7.7"),
        ("False", "[]", "1997-08-20", "shifted cells", "1", ""),
        ("False", "[{'id': 35", "8", "torn", "", "Torn"),
        ("False", "[]", "9", "genres nobody gave", "", "Nameless"),
        ("False", "[{'id': 35, 'name': 'Comedy'}]", "10", "No overview found.", "", "Empty"),
    )
    assert format_of(path) == "tmdb"
    loaded = load(path, TMDB, Fields(title="title"))
    assert [(one.id, one.labels, one.film) for one in loaded.examples] == [
        ("5", ("Drama",), "harbour (1995)"),
        ("6", ("Comedy",), "stew (2009)"),
        ("10", ("Comedy",), "empty ()"),
    ]
    assert loaded.examples[0].text.title == "Harbour"
    assert loaded.skipped == {
        "broken by the export": 3,
        "with a repeated id": 1,
        "without a predictable label": 1,
    }
    assert load(path, TMDB).skipped["without a text"] == 1, "without its title the last film has nothing to read"


# --- IMDb by genre ---

IMDB_HEAD = ("movie_id", "movie_name", "year", "genre", "description")


@pytest.fixture
def by_genre(tmp_path: Path) -> Path:
    table(
        tmp_path / "crime.csv",
        IMDB_HEAD,
        (
            "tt1",
            "Vault",
            "1990",
            "Crime, Drama",
            "Four clerks rob their own bank, one coin at a time,... See full summary\u00a0»",
        ),
        ("tt2", "Alibi", "I", "Crime", "Add a Plot"),
        ("tt3", "Ledger", "2001", "Crime, Drama, Mystery", "A bookkeeper finds a page too many."),
    )
    table(
        tmp_path / "drama.csv",
        IMDB_HEAD,
        ("tt1", "Vault", "1990", "Drama, Romance", "Four clerks rob their own bank, one coin at a time, and marry."),
        ("tt4", "Quay", "", "Drama", "A ferry waits ..."),
    )
    return tmp_path


def test_files_by_genre_become_one_row_a_film_with_the_union_of_its_genres(by_genre: Path) -> None:
    assert format_of(by_genre) == "imdb-by-genre"
    loaded = load(by_genre, IMDB)
    found = {one.id: one for one in loaded.examples}
    assert found.keys() == {"tt1", "tt3", "tt4"}
    assert found["tt1"].labels == ("Crime", "Drama", "Romance")
    assert found["tt1"].text.body.endswith("and marry."), "the whole description is taken, not the one that breaks off"
    assert not found["tt1"].truncated
    assert loaded.changed == {
        "'Add a Plot' removed": 1,
        "'See full summary' removed": 1,
        "merged into another row of the same film": 1,
    }
    assert loaded.skipped == {"without a text": 1}


def test_three_genres_may_be_more_and_dots_mean_a_text_that_breaks_off(by_genre: Path) -> None:
    found = {one.id: one for one in load(by_genre, IMDB).examples}
    assert {name: one.complete for name, one in found.items()} == {"tt1": False, "tt3": False, "tt4": True}
    assert (found["tt4"].truncated, found["tt4"].text.body) == (True, "A ferry waits…")


def test_one_file_of_that_folder_is_known_too(by_genre: Path) -> None:
    assert format_of(by_genre / "crime.csv") == "imdb-by-genre"
    (cut, _) = load(by_genre / "crime.csv", IMDB).examples
    assert cut.truncated
    assert cut.text.body == "Four clerks rob their own bank, one coin at a time,…"


@pytest.mark.parametrize(
    ("description", "is_one"),
    [
        ("Plot unknown.", False),
        ("Plot kept under wraps.", False),
        ("Plot details are currently under wraps", False),
        ("The plot is being kept confidential.", False),
        ("ADD A PLOT »", False),
        ("A plot unknown to the king is kept under wraps.", True),
        ("Add a plot to a garden and a feud to a village.", True),
    ],
)
def test_a_placeholder_is_no_description(tmp_path: Path, description: str, is_one: bool) -> None:
    head = table(tmp_path / "a.csv", IMDB_HEAD, ("1", "T", "", "War", description), ("2", "U", "", "War", "A siege."))
    assert len(load(head, IMDB).examples) == 1 + is_one


# --- aclImdb ---

REVIEWS = {
    "train/pos/0_9": "Warm and<br /><br />funny.",
    "train/pos/1_8": "The same words stand twice!",
    "train/neg/0_2": "Dull from end to end.",
    "test/pos/0_10": "the same words stand twice",
    "test/neg/0_1": "I left early.",
    "test/neg/1_1": "I left early.",
    "train/unsup/0_0": "Nobody said what this is.",
}


@pytest.fixture(params=["folder", "folder above", "tarball"])
def reviews(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, words in REVIEWS.items():
        path = tmp_path / "aclImdb" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words, encoding="utf-8")
    if request.param != "tarball":
        return tmp_path / "aclImdb" if request.param == "folder" else tmp_path
    with tarfile.open(tmp_path / "reviews.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "aclImdb", "aclImdb")
    return tmp_path / "reviews.tar.gz"


def test_reviews_are_read_and_none_stands_in_both_halves(reviews: Path) -> None:
    assert format_of(reviews) == "aclimdb"
    loaded = load(reviews, SENTIMENT)
    found = {one.id: one for one in loaded.examples}
    assert found.keys() == REVIEWS.keys() - {"train/pos/1_8", "train/unsup/0_0"}
    assert found["train/pos/0_9"].text.body == "Warm and funny."
    assert (found["train/pos/0_9"].labels, found["test/neg/0_1"].labels) == (("positive",), ("negative",))
    assert found["test/neg/0_1"].group == found["test/neg/1_1"].group != found["train/neg/0_2"].group
    assert loaded.skipped == {"of train with a text of test": 1}
    assert {one.split for one in load(reviews, SENTIMENT, split="test").examples} == {"test"}


def test_every_format_says_what_it_is() -> None:
    assert all(format.about for format in FORMATS.values())
