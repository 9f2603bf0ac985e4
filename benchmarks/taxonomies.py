"""Evidence for ``taxonomies check`` and ``taxonomies suggest`` on labelled texts: what similar labels cost, and groups.

The folder has a ``NAME.jsonl.gz`` (``text``, ``labels``, ``split``) and a ``NAME.labels.json`` per set of labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import click
import numpy as np

from benchmarks.measure import table
from llm.embedded.cosine import described
from llm.embedded.matcher import matcher
from prompts.taxonomy import Label
from similarity.clustering import cluster
from similarity.encoders.minilm import MiniLM
from tabular import strict_rows

_SETS = (
    "agnews", "trec", "goemotions", "stackoverflow", "nlupp_banking", "nlupp_hotels", "support_tickets_bitext",
    "tweet_emotion", "reuters21578", "hwu64", "schema_guided", "huffpost", "dbpedia14", "arxiv", "cuad", "sst5",
)  # fmt: skip
_GROUPED = ("agnews", "dbpedia14", "stackoverflow", "support_tickets_bitext", "hwu64", "schema_guided", "huffpost")
_BOUNDS = (-1.0, 0.15, 0.3, 0.45, 0.6, 0.7, 1.01)
_LEAST = 4  # texts of a label


@dataclass(frozen=True)
class LabelSet:
    """Validation texts with one label each."""

    name: str
    labels: Sequence[Label]
    texts: Sequence[str]
    members: Sequence[int]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--limit", default=600, show_default=True, help="Texts per set.")
def main(folder: Path, limit: int) -> None:
    """Print how often MiniLM ranks the true label of a pair first, by the similarity of the two, and agreements."""
    encoder = MiniLM()
    centre = matcher(encoder=encoder).weights.centre
    pairs: list[tuple[float, float]] = []
    groups = []
    for found in _read(folder, limit):
        vectors = encoder.encode(found.texts)
        labels = encoder.encode(list(map(described, found.labels)))
        pairs += _pairs((vectors - centre) @ labels.T, labels @ labels.T, np.array(found.members))
        if found.name in _GROUPED:
            divided = cluster(vectors, range(3, max(3, min(15, len(vectors) // 12)) + 1))  # as ``suggest``
            agreement = _agreement(np.array(found.members), divided.members)
            counts = len(set(found.members)), len(divided.centres)
            groups.append((found.name, *map(str, counts), f"{agreement:.2f}"))
    rows = []
    for low, high in pairwise(_BOUNDS):
        right = [one for similarity, one in pairs if low <= similarity < high]
        if right:
            span = f"below {high:.2f}" if high <= 1 else f"{low:.2f} and more"
            rows.append((span, f"{len(right):,}", f"{np.mean(right):.0%}"))
    click.echo(table(("similarity of the labels", "pairs", "true label first"), rows))
    click.echo(table(("texts", "labels", "groups", "agreement"), groups))


def _read(folder: Path, limit: int) -> Iterator[LabelSet]:
    for name in _SETS:
        if not (folder / f"{name}.labels.json").exists():
            continue
        entries = json.loads((folder / f"{name}.labels.json").read_text(encoding="utf-8"))["labels"]
        labels = [Label(one["name"], one.get("description") or "") for one in entries]
        places = {one.name: place for place, one in enumerate(labels)}
        cells = (row.cells for row in strict_rows(folder / f"{name}.jsonl.gz"))
        rows = [row for row in cells if row["split"] == "validation"]
        single = [(row["text"][:1_500], places[row["labels"][0]]) for row in rows if len(row["labels"]) == 1]
        step = max(1.0, len(single) / limit)
        chosen = [single[int(place * step)] for place in range(min(limit, len(single)))]
        yield LabelSet(name, labels, [text for text, _ in chosen], [member for _, member in chosen])


def _pairs(scores: np.ndarray, similarities: np.ndarray, members: np.ndarray) -> Iterator[tuple[float, float]]:
    """Similarity of two labels, and the mean share of their texts whose true label has the higher score."""
    frequent = [int(one) for one in np.flatnonzero(np.bincount(members) >= _LEAST)]
    for a, b in combinations(frequent, 2):
        first, second = scores[members == a], scores[members == b]
        right = (np.mean(first[:, a] > first[:, b]) + np.mean(second[:, b] > second[:, a])) / 2
        yield float(similarities[a, b]), float(right)


def _agreement(true: np.ndarray, found: np.ndarray) -> float:
    """Normalised mutual information: 0 independent, 1 the same groups."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(true, found))


if __name__ == "__main__":
    main()
