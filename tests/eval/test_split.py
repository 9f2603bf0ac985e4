"""Groups, splits, frozen splits, and labels that are too rare."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.datasets import Example, Fields, divide, load
from eval.datasets.split import SplitFile, assign
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def films(count: int = 60) -> list[dict[str, Any]]:
    genres = ["Drama", "Comedy", "War"]
    return [
        {"id": str(n), "title": f"T{n}", "description": f"plot {n}", "genres": [genres[n % 3]]} for n in range(count)
    ]


# --- groups ---


def test_same_title_and_year_or_same_description_is_one_group_along_the_whole_chain(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "title": "The Quay", "year": 1990, "description": "A ferry waits."},
        {"id": "b", "title": "the quay!", "year": 1990, "description": "Told anew."},
        {"id": "c", "title": "Le quai", "year": 1990, "description": "told  ANEW"},
        {"id": "d", "title": "The Quay", "year": 2010, "description": "A harbour burns."},
        {"id": "e", "title": "", "year": 1990, "description": "a harbour burns"},
        {"id": "f", "title": "", "year": 1990, "description": "Alone."},
    ]
    path = written(tmp_path / "a.jsonl", [row | {"genres": ["Drama"]} for row in rows])
    group = {one.id: one.group for one in load(path, TMDB).examples}
    assert group["a"] == group["b"] == group["c"]
    assert group["d"] == group["e"]
    assert len({group["a"], group["d"], group["f"]}) == 3
    written(path, [row | {"genres": ["Drama"]} for row in rows[::-1]])
    assert {one.id: one.group for one in load(path, TMDB).examples} == group, "whatever the order of the rows"


# --- split ---


@st.composite
def data_sets(draw: st.DrawFn) -> list[Example]:
    groups = draw(st.lists(st.integers(1, 4), min_size=30, max_size=60))
    kinds = st.lists(st.sampled_from(["A", "B", "C"]), max_size=2, unique=True)
    return [
        Example(f"{group}-{member}", Text("x"), tuple(draw(kinds)), group=str(group))
        for group, size in enumerate(groups)
        for member in range(size)
    ]


@settings(max_examples=12, deadline=None)
@given(data_sets(), st.integers(0, 5))
def test_groups_stay_whole_and_order_does_not_matter(examples: list[Example], seed: int) -> None:
    sides = assign(examples, SHARES, seed)
    assert sides.keys() == {example.id for example in examples}
    by_group: dict[str, set[str]] = {}
    for example in examples:
        by_group.setdefault(example.group, set()).add(sides[example.id])
    assert all(len(found) == 1 for found in by_group.values())
    shuffled = random.Random(seed).sample(examples, len(examples))
    assert assign(shuffled, SHARES, seed) == sides


def test_every_side_has_its_share_of_rows_and_of_every_label_even_of_rare_ones() -> None:
    chance = random.Random(3)
    names = {"Common": 0.6, "Middle": 0.2, "Rare": 0.01}
    examples = [
        Example(str(n), Text("x"), tuple(name for name, often in names.items() if chance.random() < often), str(n // 2))
        for n in range(6000)
    ]
    sides = assign(examples, SHARES, 0)
    rows = Counter(sides.values())
    assert {side: round(count / 6000, 2) for side, count in rows.items()} == SHARES
    for name in names:
        having = [example for example in examples if name in example.labels]
        found = Counter(sides[example.id] for example in having)
        for side, share in SHARES.items():
            assert abs(found[side] - share * len(having)) <= 2, f"{name} in {side}: {found}"


def test_another_seed_gives_another_split() -> None:
    examples = [Example(str(n), Text("x"), ("A",), str(n)) for n in range(100)]
    assert assign(examples, SHARES, 1) != assign(examples, SHARES, 2)


@pytest.mark.parametrize("shares", [{"train": 0.9, "test": 0.2}, {"train": 1.0, "test": 0.0}, {}])
def test_impossible_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting, match="sum to 1"):
        assign([], shares, 0)


# --- frozen ---


def test_a_frozen_split_is_read_back_and_refused_for_other_data(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", films())
    frozen, examples = divide(path, TMDB, Fields(), SHARES, 7)
    frozen.write(tmp_path / "split.json")
    assert SplitFile.read(tmp_path / "split.json") == frozen
    sides = {one.id: one.split for one in load(path, TMDB, split_file=tmp_path / "split.json").examples}
    assert sides == {one.id: one.split for one in examples}
    assert Counter(sides.values()) == {"train": 48, "validation": 6, "test": 6}
    chosen = load(path, TMDB, split="test", split_file=tmp_path / "split.json").examples
    assert {one.id for one in chosen} == {name for name, side in sides.items() if side == "test"}
    written(path, [*films()[:-1], films()[-1] | {"description": "another ending"}])
    with pytest.raises(InvalidDataset, match="made for other rows"):
        load(path, TMDB, split_file=tmp_path / "split.json")


def test_a_split_that_was_edited_or_is_none_is_refused(tmp_path: Path) -> None:
    path, kept = written(tmp_path / "a.jsonl", films()), tmp_path / "split.json"
    frozen, _ = divide(path, TMDB, Fields(), SHARES, 0)
    frozen.write(kept)
    body = json.loads(kept.read_text())
    body["test"] = body["sides"]["test"].pop()
    kept.write_text(json.dumps(body))
    with pytest.raises(InvalidDataset, match="changed after it was written"):
        load(path, TMDB, split_file=kept)
    for content in ("{}", "no", '{"format": "marquee-split-1"}'):
        kept.write_text(content)
        with pytest.raises(InvalidDataset, match=r"not a split|is not JSON"):
            load(path, TMDB, split_file=kept)
    with pytest.raises(InvalidDataset, match="No such file"):
        load(path, TMDB, split_file=tmp_path / "none.json")


def test_a_given_test_half_stays_and_its_films_are_barred_from_the_rest(tmp_path: Path) -> None:
    rows = [row | {"split": "test" if n < 20 else "train"} for n, row in enumerate(films())]
    rows.append({"id": "copy", "title": "T0", "description": "told anew", "genres": ["War"], "split": "train"})
    path = written(tmp_path / "a.jsonl", rows)
    frozen, _ = divide(path, TMDB, Fields(), {"train": 0.45, "validation": 0.05, "test": 0.5}, 0)
    frozen.write(tmp_path / "split.json")
    loaded = load(path, TMDB, split_file=tmp_path / "split.json")
    found = Counter(one.split for one in loaded.examples)
    assert found["test"] == 20
    assert found["validation"] in (3, 4), "a tenth of the 40 that test leaves, as near as three genres allow"
    assert {one.id for one in loaded.examples if one.split == "test"} == {str(n) for n in range(20)}
    assert loaded.skipped == {"of a film in the test split": 1}


def test_splits_of_its_own_are_not_overruled_unless_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [row | {"split": "validation"} for row in films()])
    with pytest.raises(InvalidDataset, match=r"splits of its own \(validation\).*--ignore-splits"):
        divide(path, TMDB, Fields(), SHARES, 0)
    _, examples = divide(path, TMDB, Fields(), SHARES, 0, ignore_splits=True)
    assert {one.split for one in examples} == set(SHARES)


def test_a_split_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", films(3))
    with pytest.raises(InvalidDataset, match=r"split 'test'; it has no splits; make them with `main\.py split`"):
        load(path, TMDB, split="test")
    written(path, [row | {"split": "train"} for row in films(3)])
    with pytest.raises(InvalidDataset, match="its splits: train"):
        load(path, TMDB, split="test")


# --- rare labels ---


def test_labels_too_rare_in_train_are_dropped_whatever_test_has(tmp_path: Path) -> None:
    rows = [row | {"split": "train" if n < 9 else "test"} for n, row in enumerate(films(30))]
    rows[0]["genres"] = ["Western"]
    rows += [{"id": f"w{n}", "description": f"w {n}", "genres": ["Western"], "split": "test"} for n in range(9)]
    loaded = load(written(tmp_path / "a.jsonl", rows), TMDB, min_label_count=3)
    assert loaded.kept_labels == {"Comedy": 3, "War": 3}
    assert [loaded.dropped_labels[name] for name in ("Drama", "Western", "Music")] == [2, 1, 0]
    assert loaded.taxonomy.names == ("Comedy", "War")
    assert loaded.taxonomy.known("Western") == "Western", "still known, never answered"
    assert {label for one in loaded.examples for label in one.labels} == {"Comedy", "War"}
    assert loaded.skipped["without a predictable label"] == 10 + 9


def test_a_minimum_that_no_label_reaches_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", films(9))
    with pytest.raises(InvalidDataset, match="no label has 100 training examples; the most frequent label has 3"):
        load(path, TMDB, min_label_count=100)
    written(path, [row | {"split": "test"} for row in films(9)])
    with pytest.raises(InvalidDataset, match="no example has split 'train'"):
        load(path, TMDB, min_label_count=2)
