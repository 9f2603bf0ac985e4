"""How cosines of plain MiniLM become probabilities where a taxonomy is far from films: a handful of numbers.

They are fitted by logistic regression on labelled texts of many kinds (``data/sample/general.jsonl``, validation
rows), over taxonomies of three to twelve labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from eval.calibration import fit_logistic
from llm.embedded.label_vectors import described
from llm.embedded.weights import MatcherWeights
from prompts import registry
from prompts.taxonomy import Label, Taxonomy

if TYPE_CHECKING:
    from similarity.encoders.minilm import MiniLM, Vectors

_REGULARISATION = 100.0
# Cosines to the nearest wording of training. Of a taxonomy's labels, three quarters lie above .68 to .75 where they
# are sub-genres held out of training, above .25 to .58 where they are the labels of texts far from films.
BOUNDS = {"near from": 0.75, "near to": 0.9, "film from": 0.66, "film to": 0.72}


@dataclass(frozen=True)
class Labelled:
    """Texts that share a taxonomy, and their labels."""

    taxonomy: Taxonomy
    texts: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]


def general(folder: Path, split: str) -> list[Labelled]:
    """The texts of many kinds that come with the program, by taxonomy."""
    rows = [json.loads(line) for line in (folder / "general.jsonl").read_text(encoding="utf-8").splitlines()]
    bare = yaml.safe_load((folder / "general_taxonomies.yaml").read_text(encoding="utf-8"))
    found = []
    for name in dict.fromkeys(row["taxonomy"] for row in rows):
        chosen = [row for row in rows if row["taxonomy"] == name and row["split"] == split]
        taxonomy = _bare(name, bare[name]) if name in bare else registry.taxonomy(name)
        texts, labels = tuple(row["text"] for row in chosen), tuple(tuple(row["labels"]) for row in chosen)
        found.append(Labelled(taxonomy, texts, labels))
    return found


def _bare(name: str, entry: Mapping[str, Any]) -> Taxonomy:
    return Taxonomy(name, tuple(map(Label, entry["labels"])), entry["multi"], entry.get("max_labels", 1))


def with_far(learnt: MatcherWeights, encoder: MiniLM, sets: Sequence[Labelled]) -> MatcherWeights:
    """What was learnt, with the centre of texts and the numbers for taxonomies far from films."""
    vectors = [encoder.encode(one.texts) for one in sets]
    centre = np.concatenate(vectors).mean(axis=0)
    rows = [_features(found, one, encoder, centre) for found, one in zip(vectors, sets, strict=True)]
    features, true = np.concatenate([one for one, _ in rows]), np.concatenate([two for _, two in rows])
    (cosine, standing, crowd), bias = fit_logistic(features, true, _REGULARISATION)
    (lone,), lone_bias = fit_logistic(features[:, :1], true, _REGULARISATION)
    numbers = {"far scale": cosine, "standing": standing, "crowd": crowd, "far bias": bias}
    numbers |= {"lone scale": lone, "lone bias": lone_bias, **BOUNDS}
    return replace(learnt, centre=centre, numbers={**learnt.numbers, **numbers})


def _features(vectors: Vectors, one: Labelled, encoder: MiniLM, centre: Any) -> tuple[Any, Any]:
    """Of every text and label: centred cosine, how far it stands out, and the logarithm of the number of labels."""
    labels = one.taxonomy.predictable
    plain = encoder.encode([label.name for label in labels]) + encoder.encode([described(label) for label in labels])
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    cosines = (vectors - centre) @ plain.T
    spread = cosines - cosines.mean(axis=1, keepdims=True)
    standing = spread / spread.std(axis=1, keepdims=True)
    crowd = np.full(cosines.shape, np.log(len(labels)))
    true = np.array([[name in names for name in one.taxonomy.names] for names in one.labels])
    return np.stack([cosines, standing, crowd], axis=-1).reshape(-1, 3), true.reshape(-1)
