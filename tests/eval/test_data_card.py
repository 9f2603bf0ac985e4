"""Data cards: figures that can be counted by hand, and pages that load nothing."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from eval.datasets import load
from eval.report.data_card import DatasetStatistics, FrequencyPoint, describe, write
from prompts import registry

ROWS = [
    {"id": 1, "title": "A", "year": 1, "description": "one two three", "genres": ["War", "Drama"], "split": "train"},
    {"id": 2, "title": "A", "year": 1, "description": "four", "genres": ["Drama"], "split": "test"},
    {
        "id": 3,
        "title": "B",
        "year": 2,
        "description": "FOUR!",
        "genres": ["Drama"],
        "split": "train",
        "truncated": True,
    },
    {"id": 4, "title": "<b>&C", "year": 3, "description": "five six", "genres": ["Music"], "complete_labels": False},
    {"id": 5, "title": "D", "year": 4, "description": "seven", "genres": ["Foreign"], "split": "train"},
]


@pytest.fixture
def found(tmp_path: Path) -> DatasetStatistics:
    path = tmp_path / "a<b>.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return describe(path.name, load(path, registry.taxonomy("tmdb")))


def test_what_a_card_counts(found: DatasetStatistics) -> None:
    assert found.splits == {"train": 2, "test": 1, "": 1}
    assert found.skipped == {"without a predictable label": 1}
    assert (found.words.quantiles[0], found.words.quantiles[-1], found.words.mean) == (1, 3, 1.75)
    assert sum(found.words.counts) == sum(found.characters.counts) == 4
    assert list(found.labels)[:3] == ["Drama", "Music", "War"]
    assert found.labels["Drama"] == {"train": 2, "test": 1, "": 0}
    assert found.labels_per_text == {1: 3, 2: 1}
    assert found.cooccurrence[:3, :3].tolist() == [[3, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert (found.descriptions.values, found.descriptions.examples) == (1, 2)
    assert (found.films.values, found.films.examples) == (1, 2)
    assert found.split_groups == 1, "one film stands in train and in test"
    assert (found.truncated["train"], found.incomplete[""]) == (1, 1)
    assert found.frequency == (FrequencyPoint(1, 3, 1.0), FrequencyPoint(3, 1, 0.75))


def test_a_page_loads_nothing_and_its_drawings_are_sound(found: DatasetStatistics, tmp_path: Path) -> None:
    page, _ = write(found, tmp_path / "cards" / "card.html")
    html = page.read_text()
    assert not re.search(r"(?:src|href)=|url\(|@import|<script|https?://", html)
    assert "prefers-color-scheme: dark" in html
    assert "a&lt;b&gt;.jsonl" in html
    assert "<b>" not in html
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        ElementTree.fromstring(drawing)
    assert "1 of 3 Drama are also War" in html


def test_the_twin_in_markdown_says_the_same(found: DatasetStatistics, tmp_path: Path) -> None:
    _, twin = write(found, tmp_path / "card.html")
    told = twin.read_text()
    assert "| Drama | 3 | 75.0% | 2 | 1 | 0 |\n" in told
    assert "| skipped: without a predictable label | 1 |" in told
    assert "- 1 groups of one film are in more than one split" in told
    assert "| 3 | 1 | 75.0% |" in told
    tables = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", told, re.MULTILINE)]
    assert "| 2 | 1 | 25.0% |" in told
    assert len(tables) == 7
    for table in tables:
        assert len({len(re.findall(r"\|", line)) for line in table}) == 1, "as many cells in every row"


def test_one_label_a_text_needs_no_map_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"description": n, "genres": "positive"}) + "\n" for n in ("x", "y")))
    page, _ = write(describe("a", load(path, registry.taxonomy("sentiment"))), tmp_path / "card.html")
    assert "co-occurrence" not in page.read_text()


def test_bins_of_a_histogram_hold_as_many_whole_lengths_each(tmp_path: Path) -> None:
    rows = [{"description": "w " * words, "genres": "positive"} for words in range(1, 101)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = describe("a", load(tmp_path / "a.jsonl", registry.taxonomy("sentiment"))).words
    assert words.edges[:3] == (0, 5, 10)
    assert words.counts[:3] == (4, 5, 5)
    assert sum(words.counts) == 100
