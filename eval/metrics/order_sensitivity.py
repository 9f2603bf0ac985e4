"""How many decisions of a system hang on the order in which the labels are shown; kept beside its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eval.run import EvaluationRun
from llm.wrappers.order_ensemble import flips

ORDER = "order.json"


def count(run: EvaluationRun, number: int) -> Mapping[str, Any]:
    """Ask about the run's first texts (those that were asked one by one) under so many orders, and keep what was found.

    Returns:
        ``orders``, ``texts``, and the fields of ``llm.wrappers.order_ensemble.OrderSensitivity``.
    """
    examples = run.material.examples[: run.asking.alone or None]
    classifier = run.system.open().classifier
    found = flips(classifier, [example.text for example in examples], run.material.taxonomy, number)
    kept = {"orders": number, "texts": len(examples), **vars(found)}
    (run.folder / ORDER).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return kept
