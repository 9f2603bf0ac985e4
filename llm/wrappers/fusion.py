"""Fusion: a classifier that adds the log-odds of a language model and of the embedded classifier.

Several labels per text: a logistic combination of two log-odds per label. One label per text: a product of experts
(Hinton 2002, doi:10.1162/089976602760128018), that is a weighted sum of two log-shares per label, normalised again.
The weights are shared by all labels, so some fifty labelled texts suffice for ``fit_fusion``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.calibration.thresholds import NONE, LabelThreshold, LearnedStore, fit, log_odds, micro_f1, none_probability
from llm.classifier import AnswerSource, Classifier, Prediction, ScoreType
from llm.few_shot import ExampleSelector, examples_kind, no_examples
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

_LEAST = 1e-3  # scores are clipped to [.001, .999], so that neither part can overrule the other alone
_WRITTEN = 0.88  # probability of a label that the model wrote, where the endpoint returns no token probabilities
_MARGIN = 0.3  # of log-odds, between 0 and the labels nearest to it
_UNSCORED = 1.0  # subtracted from the embedded log-odds of a label that the model did not write, if none is learned
_FOLDS, _MOST = 5, 500.0  # of the cross-validation; largest exponent
JOIN = " + "  # between the names of the two models
# Per label: the input of the language model (None where it has no score), and that of the embedded classifier.
Inputs = Mapping[str, tuple[float | None, float]]


@dataclass(frozen=True)
class FusionWeights:
    """How two inputs become the log-odds, or the log-share, of a label; the same numbers for all labels.

    Attributes:
        llm: slope of the language model.
        embedded: slope of the embedded classifier.
        offset: added for every label; among mutually exclusive labels, for "none" alone.
        unscored: in place of the language model's part, for labels without its score (``json_list`` scores those that
            it wrote). None: not learned; the embedded classifier alone decides, less a constant.
        threshold: minimum score of a label.
    """

    llm: float = 0.5
    embedded: float = 0.5
    offset: float = 0.0
    unscored: float | None = None
    threshold: float = 0.5


class FusionStore(LearnedStore[FusionWeights]):
    """Learned weights by both models, strategy, prompt, examples and taxonomy, in a JSON file that need not exist."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(FusionWeights, path)

    @staticmethod
    def key(llm: AnswerSource, embedded: str, examples: Sequence[str] = ()) -> str:
        """Key of the weights for answers of a language model and the embedded classifier of this name.

        As that of a threshold, it has the prompt's name and the kind of ``examples`` (``llm.few_shot.examples_kind``).
        """
        prompt = " ".join([(llm.prompt or "-").partition("@")[0], *examples])
        return " ".join((llm.model, llm.strategy or "-", prompt, llm.taxonomy, embedded))

    def weights(self, key: str, taxonomy: Taxonomy) -> FusionWeights:
        """The learned weights of a key, or equal ones."""
        return self.get(key) or FusionWeights(threshold=0.0 if taxonomy.exclusive else 0.5)

    def rule(self, key: str, taxonomy: Taxonomy) -> str:
        """How scores become labels, in words; rules that may choose differently have different words."""
        weights = self.weights(key, taxonomy)
        chosen = LabelThreshold(weights.threshold).rule(taxonomy, taxonomy.exclusive)
        parts = f"{weights.llm:.4g} of the language model, {weights.embedded:.4g} of {key.rpartition(' ')[2]}"
        unscored = "" if weights.unscored is None else f", {weights.unscored:.4g} for unscored labels"
        return f"fusion: {parts}, offset {weights.offset:.4g}{unscored}; {chosen}"


@dataclass(frozen=True)
class Fusion:
    """Labels by the language model and the embedded classifier together.

    A text that the language model cannot label keeps its ``problem``; ``Fallback`` around this answers outages. Learned
    weights are stored by model, strategy, prompt and taxonomy; without them both parts have equal weight.
    """

    llm: Classifier
    embedded: Classifier
    store: FusionStore = field(default_factory=FusionStore)
    examples: ExampleSelector = no_examples  # of the language model

    @property
    def name(self) -> str:
        return f"{self.llm.name}{JOIN}{self.embedded.name}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels that a shortlist left out have no score."""
        texts = checked_texts(texts)
        predictions = list(self.llm.classify(texts, taxonomy))
        answered = [place for place, prediction in enumerate(predictions) if not prediction.problem]
        others = self.embedded.classify([texts[place] for place in answered], taxonomy)
        for place, other in zip(answered, others, strict=True):
            predictions[place] = other if other.problem else self._fused(predictions[place], other, taxonomy)
        return predictions

    def _fused(self, llm: Prediction, embedded: Prediction, taxonomy: Taxonomy) -> Prediction:
        key = self.store.key(llm.source, embedded.source.model, examples_kind(self.examples, taxonomy))
        weights = self.store.weights(key, taxonomy)
        scores = _scores(_inputs(llm, embedded, taxonomy), weights, taxonomy)
        labels = LabelThreshold(weights.threshold).choose(scores, taxonomy, taxonomy.exclusive)
        model = f"{llm.source.model}{JOIN}{embedded.source.model}"
        source = AnswerSource(model, taxonomy.versioned_name, llm.source.prompt, llm.source.strategy)
        score_type: ScoreType = "share" if taxonomy.exclusive else "probability"
        return replace(llm, labels=labels, source=source, scores=scores, score_type=score_type)


@dataclass(frozen=True)
class FittedFusion:
    """Learned weights, and the micro-F1 on the texts of the fit; that of the fusion is cross-validated."""

    weights: FusionWeights
    texts: int
    llm_f1: float
    embedded_f1: float
    fusion_f1: float


def fit_fusion(
    llm: Sequence[Prediction], embedded: Sequence[Prediction], truth: Sequence[Sequence[str]], taxonomy: Taxonomy
) -> FittedFusion:
    """The weights of maximum likelihood on validation texts, and the threshold of the best micro-F1.

    The predictions are those of both parts for the same texts; texts with a problem are left out.

    Raises:
        InvalidDataset: fewer than ten texts have predictions of both parts.
    """
    rows = [
        (one, other, names)
        for one, other, names in zip(llm, embedded, truth, strict=True)
        if not (one.problem or other.problem)
    ]
    if len(rows) < 2 * _FOLDS:
        problem = next((one.problem for one in (*llm, *embedded) if one.problem), None)
        reason = f" ({problem.detail})" if problem else ""
        raise InvalidDataset(f"{len(rows)} texts have answers of both models{reason}; give {2 * _FOLDS} or more")
    inputs, true = [_inputs(one, other, taxonomy) for one, other, _ in rows], [names for *_, names in rows]
    fused: list[tuple[str, ...]] = [()] * len(rows)
    for fold in range(_FOLDS):
        kept = [place for place in range(len(rows)) if place % _FOLDS != fold]
        weights = _weights([inputs[place] for place in kept], [true[place] for place in kept], taxonomy)
        for place in range(fold, len(rows), _FOLDS):
            scores = _scores(inputs[place], weights, taxonomy)
            fused[place] = LabelThreshold(weights.threshold).choose(scores, taxonomy, taxonomy.exclusive)
    parts = [[one.labels for one, *_ in rows], [other.labels for _, other, _ in rows], fused]
    return FittedFusion(_weights(inputs, true, taxonomy), len(rows), *(micro_f1(part, true) for part in parts))


def _inputs(llm: Prediction, embedded: Prediction, taxonomy: Taxonomy) -> Inputs:
    """The inputs of both parts, of the labels that the language model chose from."""
    names = _offered(llm, embedded, taxonomy)
    if taxonomy.exclusive:
        outcomes = [*names, NONE] if taxonomy.allow_none else names
        first, second = _log_shares(llm, outcomes), _log_shares(embedded, outcomes)
        return {name: (first[name], second[name]) for name in outcomes}
    one, other = _relative_log_odds(llm), _relative_log_odds(embedded)
    return {name: (one.get(name), other.get(name, log_odds(0.0, _LEAST))) for name in names}


def _offered(llm: Prediction, embedded: Prediction, taxonomy: Taxonomy) -> Sequence[str]:
    if llm.shortlist is None:
        return taxonomy.names
    best = sorted(embedded.scores, key=lambda name: -embedded.scores[name])[: llm.shortlist.offered]
    return taxonomy.in_order([*best, *llm.labels])


def _relative_log_odds(prediction: Prediction) -> dict[str, float]:
    """Log-odds of each scored label, shifted as little as possible until the returned labels and no others are above 0.

    So both parts return every label that both return, and none that both reject. A distance to 0 of up to ``_MARGIN``
    remains: else any doubt of the other part would remove a label at the edge.
    """
    odds = {name: log_odds(score, _LEAST) for name, score in prediction.scores.items()}
    odds |= {name: log_odds(_WRITTEN, _LEAST) for name in prediction.labels if name not in odds}
    lowest = min((odds[name] for name in prediction.labels), default=math.inf)
    highest = max((value for name, value in odds.items() if name not in prediction.labels), default=-math.inf)
    margin = max(0.0, min(_MARGIN, (lowest - highest) / 2))
    shift = min(max(0.0, highest + margin), lowest - margin)
    return {name: value - shift for name, value in odds.items()}


def _log_shares(prediction: Prediction, outcomes: Sequence[str]) -> dict[str, float]:
    """The logarithm of each outcome's share of one probability; "none" is an outcome where the taxonomy has it."""
    scores = prediction.scores
    if prediction.score_type == "share":
        shares = {name: none_probability(scores) if name == NONE else scores.get(name, 0.0) for name in outcomes}
    elif all(name == NONE or name in scores for name in outcomes):  # a probability each: the odds compete
        shares = {name: 1.0 if name == NONE else math.exp(log_odds(scores[name], _LEAST)) for name in outcomes}
    else:  # the model wrote one label, or none: the other outcomes share what remains
        written = next(iter(prediction.labels), NONE)
        share = scores.get(written, _WRITTEN)
        rest = (1 - share) / max(1, len(outcomes) - 1)
        shares = {name: share if name == written else rest for name in outcomes}
    total = sum(shares.values()) or 1.0
    return {name: math.log(max(_LEAST, share / total)) for name, share in shares.items()}


def _scores(inputs: Inputs, weights: FusionWeights, taxonomy: Taxonomy) -> dict[str, float]:
    """The score of each label, best first."""
    exclusive = taxonomy.exclusive
    logits = {name: _logit(name, *pair, weights, exclusive) for name, pair in inputs.items()}
    if exclusive:
        highest = max(logits.values())
        total = sum(math.exp(logit - highest) for logit in logits.values())
        scores = {name: math.exp(logit - highest) / total for name, logit in logits.items() if name != NONE}
    else:
        scores = {name: 1 / (1 + math.exp(min(-logit, _MOST))) for name, logit in logits.items()}
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def _logit(name: str, llm: float | None, embedded: float, weights: FusionWeights, exclusive: bool) -> float:
    offset = 0.0 if exclusive and name != NONE else weights.offset
    if llm is not None:
        return weights.llm * llm + weights.embedded * embedded + offset
    if weights.unscored is not None:
        return weights.unscored + weights.embedded * embedded + offset
    return (weights.llm + weights.embedded) * embedded - _UNSCORED + offset


def _weights(inputs: Sequence[Inputs], truth: Sequence[Sequence[str]], taxonomy: Taxonomy) -> FusionWeights:
    found = _most_likely(inputs, truth, taxonomy.exclusive)
    if taxonomy.exclusive:
        return found
    rows = [_scores(row, found, taxonomy) for row in inputs]
    return replace(found, threshold=fit(rows, truth, taxonomy).threshold)


def _most_likely(inputs: Sequence[Inputs], truth: Sequence[Sequence[str]], exclusive: bool) -> FusionWeights:
    """The weights of the highest posterior: slopes are not negative, and the prior's mean is that of equal weights."""
    import numpy as np
    from scipy.optimize import minimize

    start = FusionWeights(threshold=0.0 if exclusive else 0.5)
    objective = _of_shares if exclusive else _of_labels
    features, targets, groups = _table(inputs, truth, exclusive)
    unscored = bool(features[:, 2].any())
    prior = np.array([start.llm, start.embedded, 0.0, 0.0])

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        value, errors = objective(features @ weights, targets, groups)
        return value + 0.5 * float(((weights - prior) ** 2).sum()), errors @ features + weights - prior

    bounds = [(0, None), (0, None), (None, None), (None, None)]
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    llm, embedded, floor, offset = map(float, found.x)
    return FusionWeights(llm, embedded, offset, floor if unscored else None, start.threshold)


def _table(
    inputs: Sequence[Inputs], truth: Sequence[Sequence[str]], exclusive: bool
) -> tuple[Numbers, Numbers, Numbers]:
    """Features, shape (rows, 4), targets and the number of the text, shape (rows,); a row is a text and a label."""
    import numpy as np

    features, targets, groups = [], [], []
    for number, (row, names) in enumerate(zip(inputs, truth, strict=True)):
        true = set(names) or {NONE}
        if exclusive and len(true & row.keys()) != 1:
            continue  # a shortlist left the true label out
        for name, (llm, embedded) in row.items():
            features.append([llm or 0.0, embedded, llm is None, not exclusive or name == NONE])
            targets.append(name in true)
            groups.append(number)
    return np.array(features, float).reshape(-1, 4), np.array(targets, float), np.array(groups)


def _of_labels(logits: Numbers, targets: Numbers, groups: Numbers) -> tuple[float, Numbers]:
    """Negative log-likelihood of labels by themselves, and its derivatives by the logits."""
    import numpy as np

    return float((np.logaddexp(0, logits) - targets * logits).sum()), 1 / (1 + np.exp(-logits)) - targets


def _of_shares(logits: Numbers, targets: Numbers, groups: Numbers) -> tuple[float, Numbers]:
    """Negative log-likelihood of the one true label of each text, and its derivatives by the logits."""
    import numpy as np

    sums = np.bincount(groups, np.exp(logits))
    return float((np.log(sums[groups]) - logits) @ targets), np.exp(logits) / sums[groups] - targets
