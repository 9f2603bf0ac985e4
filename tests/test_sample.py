"""The sample of general texts, far from films, is what it says: known labels, no text twice, both splits whole."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prompts import registry
from prompts.taxonomy import Label, Taxonomy

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
ROWS = [json.loads(line) for line in (SAMPLE / "general.jsonl").read_text(encoding="utf-8").splitlines()]
SHIPPED = ("emotions", "intents", "news", "tickets")


def _bare() -> Iterator[Taxonomy]:
    """The taxonomies of bare names that no file of the program holds."""
    for name, entry in yaml.safe_load((SAMPLE / "general_taxonomies.yaml").read_text(encoding="utf-8")).items():
        yield Taxonomy(name, tuple(map(Label, entry["labels"])), entry["multi"], entry.get("max_labels", 1))


TAXONOMIES = [*map(registry.taxonomy, SHIPPED), *_bare()]
each_vocabulary = pytest.mark.parametrize("taxonomy", TAXONOMIES, ids=lambda taxonomy: taxonomy.name)


def _of(taxonomy: Taxonomy) -> list[dict[str, Any]]:
    return [row for row in ROWS if row["taxonomy"] == taxonomy.name]


def test_every_row_has_the_same_fields_and_a_taxonomy() -> None:
    fields = ["id", "taxonomy", "labels", "split", "hard", "text"]
    assert {tuple(row) for row in ROWS} == {tuple(fields)}
    assert {row["taxonomy"] for row in ROWS} == {taxonomy.name for taxonomy in TAXONOMIES}


def test_no_id_and_no_text_stands_twice() -> None:
    assert len(ROWS) == len({row["id"] for row in ROWS}) == len({row["text"].casefold() for row in ROWS})


@each_vocabulary
def test_labels_are_of_the_taxonomy_and_no_more_than_it_allows(taxonomy: Taxonomy) -> None:
    for row in _of(taxonomy):
        assert 1 <= len(row["labels"]) <= taxonomy.max_labels, row["id"]
        assert set(row["labels"]) <= set(taxonomy.names), row["id"]
        assert len(row["labels"]) == len(set(row["labels"])), row["id"]


@each_vocabulary
def test_both_splits_are_of_one_size_and_hold_every_label(taxonomy: Taxonomy) -> None:
    assert Counter(row["split"] for row in _of(taxonomy)) == dict.fromkeys(
        ("validation", "test"), 30 if taxonomy.name in SHIPPED else 15
    )
    for split in ("validation", "test"):
        labels = {label for row in _of(taxonomy) if row["split"] == split for label in row["labels"]}
        assert labels == set(taxonomy.names), split


@each_vocabulary
def test_a_third_is_hard_and_says_none_of_its_labels(taxonomy: Taxonomy) -> None:
    hard = [row for row in _of(taxonomy) if row["hard"]]
    assert 3 * len(hard) == len(_of(taxonomy))
    for row in hard:
        own = [label for label in taxonomy.labels if label.name in row["labels"]]
        said = [
            word for label in own for word in (label.name, *label.aliases) if word.casefold() in row["text"].casefold()
        ]
        assert not said, row["id"]


def test_reworded_plots_are_of_sixty_films_and_share_few_words_with_them() -> None:
    plots = {row["id"]: row["plot"] for row in _lines("films.jsonl")}
    reworded = {row["id"]: row["text"] for row in _lines("paraphrases.jsonl")}
    assert len(reworded) == 60
    for id, text in reworded.items():
        ours, theirs = ({word.strip(".,;:").casefold() for word in one.split()} for one in (text, plots[id]))
        assert len(ours & theirs) / len(ours | theirs) < 0.35, id


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]
