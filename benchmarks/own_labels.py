"""Labels that training never saw, over real texts of many fields: how many texts get no label, how good the labels are.

Reads a folder of families, each ``NAME.jsonl.gz`` (``text``, ``labels``, ``split``) beside ``NAME.labels.json``
(``labels`` with a ``name`` each), and TMDB's films under the genre names of four catalogues (``catalogues.yaml``). The
texts of a family are in scope, those of all others out of scope, but for families of one field. Validation parts only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from benchmarks.measure import table
from prompts.taxonomy import Label, Taxonomy
from tabular import strict_rows

if TYPE_CHECKING:
    from llm.embedded.matcher import Matcher

# The first chose the constants of llm/embedded/scope.py and the share of the best label; the second confirmed them.
CHOSEN_ON = (
    "goemotions", "reuters21578", "nlupp_hotels", "stackoverflow", "agnews", "support_tickets_bitext", "trec",
    "catalogue-a", "catalogue-b",
)  # fmt: skip
CONFIRMED_ON = (
    "arxiv", "nlupp_banking", "hwu64", "huffpost", "dbpedia14", "cuad", "schema_guided", "tweet_emotion", "onet_tasks",
    "catalogue-c", "catalogue-d",
)  # fmt: skip
_ONE_FIELD = ({"nlupp_banking", "nlupp_hotels"}, {"goemotions", "tweet_emotion"})
_CATALOGUE = "catalogue-"
_OTHERS = 10  # texts of each other family


@dataclass(frozen=True)
class Family:
    """Texts that share a taxonomy, and their true labels."""

    name: str
    taxonomy: Taxonomy
    texts: list[str]
    labels: list[list[str]]

    def apart(self, other: Family) -> bool:
        """Whether the texts of the other are out of scope here."""
        films = self.name.startswith(_CATALOGUE) and other.name.startswith(_CATALOGUE)
        return not films and not any({self.name, other.name} <= alike for alike in _ONE_FIELD)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--films", type=click.Path(path_type=Path, exists=True), help="TMDB's genres, .jsonl.gz.")
@click.option("--limit", default=200, show_default=True, help="Texts of a family.")
def main(folder: Path, films: Path | None, limit: int) -> None:
    """Print, for each family, the share of texts without a label and the quality of the labels."""
    from llm.embedded.matcher import matcher

    names = [name for name in (*CHOSEN_ON, *CONFIRMED_ON) if films or not name.startswith(_CATALOGUE)]
    read = [_catalogue(name, films, limit) if name.startswith(_CATALOGUE) else _family(folder, name, limit)
            for name in names]  # fmt: skip
    classifier = matcher()
    heads = ("family", "labels", "no label: in scope", "out of scope", "labels a text", "true", "micro-F1", "macro-AP")
    click.echo(table(heads, [_row(classifier, one, read) for one in read]))


def _family(folder: Path, name: str, limit: int) -> Family:
    entries = json.loads((folder / f"{name}.labels.json").read_text(encoding="utf-8"))["labels"]
    rows = _rows(folder / f"{name}.jsonl.gz")
    kept = [(row["text"], row["labels"]) for row in rows if row["split"] == "validation" and row["labels"]][:limit]
    return _of(name, [entry["name"] for entry in entries], kept)


def _catalogue(name: str, films: Path | None, limit: int) -> Family:
    assert films is not None
    names = yaml.safe_load(Path(__file__).with_name("catalogues.yaml").read_text(encoding="utf-8"))[name]
    more = names.pop("also", [])
    pairs = [
        (row["description"], list({names[genre]: None for genre in row["genres"] if genre in names}))
        for row in _rows(films)
        if row["split"] == "validation"
    ]
    return _of(name, [*dict.fromkeys(names.values()), *more], [pair for pair in pairs if pair[1]][:limit])


def _of(name: str, labels: Sequence[str], pairs: Sequence[tuple[str, list[str]]]) -> Family:
    taxonomy = Taxonomy("own", tuple(map(Label, labels)), max_labels=len(labels), allow_none=True)
    return Family(name, taxonomy, [text for text, _ in pairs], [labels for _, labels in pairs])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [dict(row.cells) for row in strict_rows(path)]


def _row(classifier: Matcher, one: Family, families: Sequence[Family]) -> tuple[str, ...]:
    from sklearn.metrics import average_precision_score

    found = classifier.classify(one.texts, one.taxonomy)
    apart = [text for other in families if one.apart(other) for text in other.texts[:_OTHERS]]
    silent = np.mean([not answer.labels for answer in classifier.classify(apart, one.taxonomy)])
    true = np.array([[name in labels for name in one.taxonomy.names] for labels in one.labels])
    given = np.array([[name in answer.labels for name in one.taxonomy.names] for answer in found])
    scores = np.array([[answer.scores[name] for name in one.taxonomy.names] for answer in found])
    seen = true.any(axis=0)
    return (
        one.name,
        str(len(one.taxonomy.names)),
        f"{np.mean(~given.any(axis=1)):.1%}",
        f"{silent:.1%}",
        f"{given.sum(axis=1).mean():.2f}",
        f"{true.sum(axis=1).mean():.2f}",
        f"{2 * (given & true).sum() / (given.sum() + true.sum()):.3f}",
        f"{average_precision_score(true[:, seen], scores[:, seen]):.3f}",
    )


if __name__ == "__main__":
    main()
