"""A run of a classifier over examples: one JSON line per text, and the metrics over all of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from eval.datasets import Example
from eval.metrics import METRICS, indicator
from llm.classifier import Classifier, Prediction, Usage
from llm.prices import cost
from llm.readings.reading import add_usage
from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class Row:
    """One text's outcome; ``seconds`` is the time of the call that answered it, alone."""

    example: Example
    prediction: Prediction
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The row as it is written."""
        found, source = self.prediction, self.prediction.source
        return {
            "id": self.example.id,
            "truth": list(self.example.labels),
            "labels": list(found.labels),
            "scores": dict(found.scores),
            "problem": found.problem and {"kind": found.problem.kind, "detail": found.problem.detail},
            "dropped": list(found.dropped),
            "cached": found.cached,
            "source": {"model": source.model, "prompt": source.prompt, "taxonomy": source.taxonomy},
            "tokens": [found.usage.prompt_tokens, found.usage.cached_tokens, found.usage.completion_tokens],
            "seconds": round(self.seconds, 4),
        }


def record(
    classifier: Classifier, examples: Sequence[Example], taxonomy: Taxonomy, folder: Path, told: Callable[[], None]
) -> list[Row]:
    """Ask about each text alone, as a single request would, and write its row at once to ``rows.jsonl``.

    Args:
        classifier: whom to ask.
        examples: the texts and what is true of them.
        taxonomy: the vocabulary.
        folder: where the rows go; made if missing.
        told: called after every row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as out:
        for row in _ask(classifier, examples, taxonomy):
            out.write(json.dumps(row.as_json(), ensure_ascii=False) + "\n")
            rows.append(row)
            told()
    return rows


def summarise(rows: Sequence[Row], taxonomy: Taxonomy, folder: Path) -> dict[str, float]:
    """Every metric, also written to ``metrics.json``; a text with a problem counts as one without labels."""
    true = indicator([row.example.labels for row in rows], taxonomy)
    predicted = indicator([row.prediction.labels for row in rows], taxonomy)
    figures = {name: float(metric(true, predicted)) for name, metric in METRICS.items()} | {
        "labels per text": float(predicted.sum(axis=1).mean()),
        "texts": len(rows),
        "problems": sum(row.prediction.problem is not None for row in rows),
        "p50 ms": 1000 * median(row.seconds for row in rows),
        **_spent(rows),
    }
    (folder / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _spent(rows: Sequence[Row]) -> dict[str, float]:
    """How many answers each model gave, and the tokens a text took; nothing where no language model was asked."""
    models = Counter(row.prediction.source.model for row in rows)
    answered = {f"by {model}": count for model, count in models.items()} if len(models) > 1 else {}
    used = add_usage([row.prediction.usage for row in rows])
    if not used.prompt_tokens:
        return dict(answered)
    costs = [cost(row.prediction.source.model, row.prediction.usage) for row in rows if row.prediction.usage != Usage()]
    priced = {"cost USD": sum(one for one in costs if one is not None)} if None not in costs else {}
    return (
        answered
        | priced
        | {
            "prompt tokens": used.prompt_tokens / len(rows),
            "cached tokens": used.cached_tokens / len(rows),
            "written tokens": used.completion_tokens / len(rows),
        }
    )


def _ask(classifier: Classifier, examples: Sequence[Example], taxonomy: Taxonomy) -> Iterator[Row]:
    for example in examples:
        start = time.perf_counter()
        (prediction,) = classifier.classify([example.text], taxonomy)
        yield Row(example, prediction, time.perf_counter() - start)
