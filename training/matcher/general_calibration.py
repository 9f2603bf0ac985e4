"""Constants of the general branch, fitted on families that a fold left out: probabilities, and the scope of a taxonomy.

Cosines of families in the training are higher than those of families that are not, so constants that were fitted on the
former would be wrong for users' taxonomies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.embedded.cosine import scope_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Numbers = NDArray[np.float64]

_SMALL = (3, 16)  # labels of the random parts of a label set
_PARTS = 3  # random parts of each label set
_LOST = 0.09  # share of texts in scope that may be taken for out of scope; mean over label sets and their parts
# Factors of the bound, chosen on nine families with plain MiniLM. A regression on texts of other fields finds a lower
# one for nonsense, since those texts have none; random keys get labels then.
_SCOPE = {"nonsense": 0.7, "rivals": 0.7, "labels": 0.065}
_DISTANT = 60  # texts of other fields for each label set


@dataclass(frozen=True)
class LeftOut:
    """Texts and labels of a set that was not in the training of the model that encoded them.

    Attributes:
        name, field: of the label set.
        multi: whether a text may have several labels.
        texts: unit vectors less the centre, shape (texts, 384).
        labels: unit vectors, shape (labels, 384).
        true: shape (texts, labels).
        cohort: unit vectors of ``COHORT`` and ``NONSENSE`` as labels of the same model, shape (phrases, 384).
    """

    name: str
    field: str
    multi: bool
    texts: Array
    labels: Array
    true: NDArray[np.bool_]
    cohort: Array

    def part(self, columns: NDArray[np.int64]) -> LeftOut:
        """Some of the labels, and the texts that have one of them."""
        true = self.true[:, columns]
        rows = true.any(axis=1)
        return replace(self, texts=self.texts[rows], labels=self.labels[columns], true=true[rows])


def quality(one: LeftOut) -> float:
    """Share of texts whose first label is right, or of several labels a text the macro-average precision."""
    from sklearn.metrics import average_precision_score

    scores = one.texts @ one.labels.T
    if not one.multi:
        return float(one.true[np.arange(len(scores)), scores.argmax(axis=1)].mean())
    present = np.flatnonzero(one.true.any(axis=0))
    return float(np.mean([average_precision_score(one.true[:, column], scores[:, column]) for column in present]))


def fitted_numbers(sets: Sequence[LeftOut]) -> dict[str, float]:
    """The constants by their names in ``MatcherWeights.numbers``."""
    views = [view for one in sets for view in _views(one)]
    single = [view for view in views if not view.multi and (view.true.sum(axis=1) == 1).all()]
    return {**_independent(views), **_exclusive(single), **_scope(sets)}


def _views(whole: LeftOut) -> Iterator[LeftOut]:
    """A label set as it is, and random parts of it: users' taxonomies are smaller than most data sets'."""
    yield whole
    draw, count = np.random.default_rng(len(whole.labels)), len(whole.labels)
    for _ in range(_PARTS if count > _SMALL[0] else 0):
        size = int(draw.integers(_SMALL[0], min(_SMALL[1], count) + 1))
        found = whole.part(np.sort(draw.permutation(count)[:size]))
        if len(found.texts):
            yield found


def _independent(views: Sequence[LeftOut]) -> dict[str, float]:
    """Logistic regression to whether each label is true of a text; each view has the same weight.

    For a label that is the only one of its taxonomy, texts of which it is true weigh as much as the others: nothing is
    known about how frequent it is, and in a data set of many labels each is rare.
    """
    rows, true, weight = [], [], []
    for one in views:
        cosines = one.texts @ one.labels.T
        size = np.full(cosines.shape, np.log(len(one.labels)))
        rows.append(np.stack([cosines, z_scores(cosines), size], axis=-1).reshape(-1, 3))
        true.append(one.true.reshape(-1))
        weight.append(np.full(one.true.size, 1 / len(one.texts)))
    features, truth, weights = np.concatenate(rows), np.concatenate(true), np.concatenate(weight)
    (scale, standing, crowd), bias = _logistic(features, truth, weights)
    (lone,), lone_bias = _logistic(features[:, :1], truth, _balanced(weights, truth))
    return {
        "several scale": scale, "several standing": standing, "several crowd": crowd, "several bias": bias,
        "lone scale": lone, "lone bias": lone_bias,
    }  # fmt: skip


def _balanced(weights: Numbers, true: NDArray[np.bool_]) -> Numbers:
    """Weights under which both values of ``true`` have the same sum."""
    share = weights[true].sum() / weights.sum()
    return np.asarray(weights * np.where(true, 0.5 / share, 0.5 / (1 - share)))


def _logistic(features: Numbers, true: NDArray[np.bool_], weights: Numbers) -> tuple[list[float], float]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf, max_iter=1000).fit(features, true, sample_weight=weights)
    return [float(value) for value in fitted.coef_[0]], float(fitted.intercept_[0])


def _exclusive(views: Sequence[LeftOut]) -> dict[str, float]:
    """Softmax over the labels, by cross-entropy; each view has the same weight."""
    from scipy.optimize import minimize

    ready = [(one.texts @ one.labels.T, np.log(len(one.labels)), one.true.argmax(axis=1)) for one in views]

    def loss(numbers: Numbers) -> float:
        total = 0.0
        for cosines, size, true in ready:
            logits = (numbers[0] + numbers[1] * size) * cosines + numbers[2] * z_scores(cosines)
            logits = logits - logits.max(axis=1, keepdims=True)
            total += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(true)), true]).mean())
        return total / len(ready)

    scale, crowd, standing = minimize(loss, np.array([8.0, 0.0, 0.5]), method="L-BFGS-B").x.tolist()
    return {"one scale": scale, "one crowd": crowd, "one standing": standing}


def _scope(sets: Sequence[LeftOut]) -> dict[str, float]:
    """Constants of ``llm.embedded.cosine.Scope``: the bound's offset, by the texts of each label set and its parts."""
    factors = np.array([1.0, *(-value for value in _SCOPE.values())])
    margins = [
        scope_features(view.texts[view.true.any(axis=1)], view.labels, one.cohort) @ factors
        for one in sets
        for view in _views(one)
    ]
    counts = np.concatenate([np.full(len(part), 1 / len(part)) for part in margins])
    offset = np.quantile(np.concatenate(margins), _LOST, weights=counts, method="inverted_cdf")
    return {f"scope {name}": value for name, value in _SCOPE.items()} | {"scope offset": float(offset)}


def recognised(sets: Sequence[LeftOut], numbers: Mapping[str, float]) -> dict[str, float]:
    """AUROC of the scope margin of each label set's texts against texts of other fields."""
    from sklearn.metrics import roc_auc_score

    found = {}
    for one in sets:
        distant = np.concatenate([other.texts[:_DISTANT] for other in sets if other.field != one.field])
        own = one.texts[one.true.any(axis=1)]
        features = scope_features(np.concatenate([own, distant]), one.labels, one.cohort)
        factors = (1.0, *(-numbers[f"scope {name}"] for name in ("nonsense", "rivals", "labels")))
        found[one.name] = float(roc_auc_score(np.arange(len(features)) < len(own), features @ np.array(factors)))
    return found


def z_scores(cosines: Any) -> Any:
    """Standard scores of each row."""
    spread = cosines - cosines.mean(axis=1, keepdims=True)
    return spread / np.maximum(spread.std(axis=1, keepdims=True), 1e-6)
