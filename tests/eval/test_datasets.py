"""Examples from files: what is read, and what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from eval.datasets import Fields, load, sample
from prompts import registry
from prompts.errors import InvalidDataset
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy import Taxonomy

TMDB = registry.taxonomy("tmdb")
ROW = {"id": "1", "description": "a plot", "genres": ["War", "Drama"], "title": "T", "split": "test"}


def written(path: Path, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rows_become_examples_with_labels_in_taxonomy_order(tmp_path: Path, name: str) -> None:
    (example,) = load(written(tmp_path / name, ROW), TMDB, Fields(title="title")).examples
    assert (example.id, example.text.body, example.text.title) == ("1", "a plot", "T")
    assert example.labels == ("Drama", "War")


def test_aliases_count_and_labels_that_are_never_answered_do_not(tmp_path: Path) -> None:
    rows = [ROW | {"id": 2, "genres": ["sci-fi", "Foreign"]}, ROW | {"id": 3, "genres": ["TV Movie"]}]
    loaded = load(written(tmp_path / "a.jsonl", *rows), TMDB)
    assert [example.labels for example in loaded.examples] == [("Science Fiction",)]
    assert loaded.skipped["without a predictable label"] == 1


def test_one_name_may_stand_for_a_list(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"id": 1, "text": "x", "sentiment": "positive"})
    (example,) = load(path, registry.taxonomy("sentiment"), Fields("text", "sentiment")).examples
    assert example.labels == ("positive",)


def test_a_named_column_of_labels_may_be_missing_in_some_lines_and_not_in_all(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ROW, ROW | {"id": 2, "moods": ["War"]})
    loaded = load(path, TMDB, Fields(labels="moods"))
    assert [example.id for example in loaded.examples] == ["2"]
    assert loaded.skipped["without a predictable label"] == 1
    with pytest.raises(InvalidDataset, match="no column 'mood'"):
        load(path, TMDB, Fields(labels="mood"))


def test_a_split_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ROW, ROW | {"id": "2", "split": "train"})
    assert [example.id for example in load(path, TMDB, split="train").examples] == ["2"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has no labelled example"),
        ([ROW | {"genres": ["Cooking"]}], "line 1: label 'Cooking' is not in taxonomy 'tmdb'"),
        ([ROW, {"id": 1, "genres": []}], "line 2: no column 'description'; columns: id, genres"),
        (["{"], "line 1: not JSON"),
    ],
)
def test_a_faulty_file_is_refused_with_the_line(tmp_path: Path, rows: list[Any], said: str) -> None:
    with pytest.raises(InvalidDataset, match=said):
        load(written(tmp_path / "a.jsonl", *rows), TMDB)


SHOP = Hierarchy.of({"Electronics": ["Cameras", "Phones"], "Books": ["Novels"]}, name="shop", multi=False)


@pytest.mark.parametrize(
    ("label", "taxonomy", "found"),
    [
        ("Electronics > Cameras", SHOP, "Electronics > Cameras"),
        ("cameras", SHOP, "Electronics > Cameras"),
        ("cameras", cut(SHOP, level=1), "Electronics"),
        ("Electronics", cut(SHOP, leaves_only=False), "Electronics"),
        ("Electronics", cut(SHOP, level=1), "Electronics"),
    ],
)
def test_labels_of_a_hierarchy_are_paths_or_own_names(
    tmp_path: Path, label: str, taxonomy: Taxonomy, found: str
) -> None:
    (example,) = load(written(tmp_path / "a.jsonl", ROW | {"genres": [label]}), taxonomy).examples
    assert example.labels == (found,)


def test_a_label_above_the_leaves_is_dropped_in_words(tmp_path: Path) -> None:
    rows = [ROW | {"genres": ["Electronics"]}, ROW | {"id": "2", "genres": ["Novels"]}]
    loaded = load(written(tmp_path / "a.jsonl", *rows), SHOP)
    assert [example.id for example in loaded.examples] == ["2"]
    (words,) = loaded.changed
    assert words == "'Electronics' dropped, which has labels below it; leaves_only: false in the taxonomy keeps it"


def test_a_misspelt_path_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="did you mean 'Electronics > Cameras'"):
        load(written(tmp_path / "a.jsonl", ROW | {"genres": ["Electronics > Camras"]}), SHOP)


def test_rare_leaves_take_their_group_with_them(tmp_path: Path) -> None:
    labels = ["Cameras", "Cameras", "Novels"]
    rows = [ROW | {"id": str(place), "genres": [name], "split": "train"} for place, name in enumerate(labels)]
    loaded = load(written(tmp_path / "a.jsonl", *rows), SHOP, min_label_count=2)
    assert loaded.taxonomy.names == ("Electronics > Cameras",)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="No such file"):
        load(tmp_path / "none.jsonl", TMDB)


def test_a_sample_is_the_same_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [ROW | {"id": str(number)} for number in range(50)]
    examples = load(written(tmp_path / "a.jsonl", *rows), TMDB).examples
    assert sample(examples, 10) == sample(examples[::-1], 10)
    assert len(sample(examples, None)) == 50
    assert sample(examples, 10) != list(examples[:10])


def test_the_shipped_sample_is_what_it_says(tmp_path: Path) -> None:
    folder = Path(__file__).parent.parent.parent / "data" / "sample"
    for name in ("tmdb", "imdb"):
        loaded = load(folder / "films.jsonl", registry.taxonomy(name), Fields("plot", f"{name}_genres", title="title"))
        assert len(loaded.examples) + loaded.skipped["without a predictable label"] == 200
        assert len({example.id for example in loaded.examples}) == len(loaded.examples)
        assert {label for example in loaded.examples for label in example.labels} == set(registry.taxonomy(name).names)
    reviews = load(folder / "reviews.jsonl", registry.taxonomy("sentiment"), Fields("text", "sentiment")).examples
    assert sorted(label for review in reviews for label in review.labels) == ["negative"] * 20 + ["positive"] * 20
