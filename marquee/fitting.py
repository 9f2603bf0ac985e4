"""Fit a classifier to a few labelled texts: ``marquee.fit``, and what `main.py fit` calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.baselines import TrainingPlan
from eval.baselines.fitting import KIND, FittedTable, fit_table
from eval.baselines.thresholds import Objective, Rule
from eval.datasets import Fields, LoadedDataset, as_file, load
from marquee.classification import TaxonomyLike
from marquee.evaluation import taxonomy_for
from prompts.installation import naming_extras

_TEST = "test"


@naming_extras("marquee.fit")
def fit(
    data: Any,
    text: str | None = None,
    labels: str | None = None,
    *,
    taxonomy: TaxonomyLike | None = None,
    title: str | None = None,
    id: str | None = None,
    folds: int = 5,
    decode: Rule | None = None,
    objective: Objective = "macro",
    seed: int = 0,
    drop_unknown_labels: bool = False,
) -> FittedTable:
    """Fit a classifier to labelled texts, 8 to 200 per label; most of the time is for encoding them.

    The result has the ``classifier``, its quality by cross-validation beside the embedded classifier without examples,
    and warnings about the data. ``save`` writes a folder that ``main.py serve --trained`` and ``load_classifier`` read.

    Args:
        data: a pandas DataFrame, a list of dicts, or the path of a file that ``main.py fit`` reads. Rows whose column
            ``split`` is ``test`` are left out.
        text: the column of texts; None: ``description``.
        labels: the column of labels: lists of names, or strings with ``|``, ``;`` or ``,`` between; None: ``genres``.
        taxonomy: as in ``load_taxonomy``. None: the labels that occur in the data.
        title: a column of titles, which are read with the texts.
        id: a column of unique ids, for warnings. None: ``id``, or else the index or the number of the row.
        folds: parts of the cross-validation.
        decode: how probabilities become labels where a text may have several; None: a threshold per label.
        objective: the F1 that thresholds maximise.
        seed: of the parts of the cross-validation.
        drop_unknown_labels: leave out labels that are not in the taxonomy instead of raising an error.

    Raises:
        InvalidDataset: a missing column, a label that is not in the taxonomy, or too few texts.
        InvalidSetting: fewer than two folds.
        UnknownName: no taxonomy has this name.
    """
    with TemporaryDirectory(prefix="marquee-fit-") as folder:
        path, fields = as_file(data, None, Path(folder) / "data.jsonl", Fields(text, labels, id, title))
        closed = taxonomy_for(taxonomy, path, fields)
        loaded = without_test(load(path, closed, fields, drop_unknown=drop_unknown_labels))
    plan = TrainingPlan(KIND, {"folds": folds}, decode, objective, seed, path.name, "marquee.fit")
    return fit_table(plan, loaded.taxonomy, loaded.examples)


def without_test(loaded: LoadedDataset) -> LoadedDataset:
    """The data without its test split, which is for reporting; its rows are counted."""
    kept = tuple(one for one in loaded.examples if one.split != _TEST)
    left = Counter({f"with the split {_TEST!r}": len(loaded.examples) - len(kept)})
    return replace(loaded, examples=kept, skipped=Counter(loaded.skipped) + left)
