"""Marquee as a scikit-learn classifier of texts; ``docs/scikit-learn.md`` shows it at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, check_random_state

from eval.baselines.thresholds import OBJECTIVES, RULES, Decoding, Objective, tune
from eval.metrics.classification import Labels
from llm.classifier import Classifier, Prediction
from llm.embedded.cosine import Embedded
from marquee.sklearn.backend import BackendSpec, shown
from marquee.sklearn.calibrators import CALIBRATIONS, Calibrator, Scores, same
from marquee.sklearn.fitted import FittedState, examples, varied
from marquee.sklearn.targets import Target, Vocabulary, target_of, texts_of, vocabulary
from prompts.errors import InvalidDataset, InvalidSetting, Unanswered, UnknownName
from prompts.text import Text

_RULES = frozenset(RULES)  # decisions that are learnt
_EVEN = 0.5  # where calibrated probabilities decide and no threshold is asked for


class MarqueeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Labels texts from a closed taxonomy, with no training at all or with what ``fit`` may learn.

    X is a list, an array or a column of strings (or of ``prompts.text.Text``, where titles are known). y is one label
    per text; or, for several labels, a list of names per text or an indicator matrix whose columns are the sorted
    labels (``MultiLabelBinarizer``'s convention). A single-label classifier predicts labels, shape (texts,), and
    probabilities that sum to 1; a multi-label one predicts an indicator matrix, and each label's own probability,
    both of shape (texts, labels). Columns stand as in ``classes_``.

    Where a taxonomy is set, ``predict`` works before ``fit``: that is zero-shot.

    Args:
        taxonomy: a taxonomy's name (``"tmdb"``), a ``Taxonomy``, names of labels, or names with descriptions; None
            takes the labels of y.
        classifier: who answers, as an object; None asks the endpoint, or the embedded classifier. It is shared between
            clones, not copied.
        endpoint: root of an OpenAI-compatible endpoint, ``"http://127.0.0.1:8000/v1"``.
        model: the name under which the endpoint serves its model.
        key_variable: the environment variable that holds its key; a key itself would be printed with the parameters.
        strategy: how a language model is read: auto, json_list, label_tokens, yes_no, decisions_api.
        prompt: name or kind of a prompt; None chooses by the taxonomy.
        decision: how probabilities become labels where a text may have several: a threshold, or ``"global"``,
            ``"per-label"`` or ``"top-k"`` to learn it; None leaves that to the classifier.
        objective: the F1 that decisions are learnt for, ``"macro"`` or ``"micro"``.
        calibration: ``"sigmoid"``, ``"isotonic"``, or ``"batch"``, which needs no labels; None: scores as they are.
        shots: how many of the texts of ``fit`` a language model is shown with their labels before each text.
        nearest: show those nearest to the text instead of the same ones to all.
        cache: SQLite file that remembers a language model's answers: a search asks the same many times.
        random_state: chooses the examples, where they are the same for all.

    Attributes:
        classes_: the labels, sorted; shape (labels,).
        taxonomy_: the taxonomy in use.
        decision_: the decision learnt or set, or None.
        shots_: the examples shown.
    """

    def __init__(
        self,
        taxonomy: Vocabulary | None = None,
        *,
        classifier: Classifier | None = None,
        endpoint: str | None = None,
        model: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        strategy: str | None = None,
        prompt: str | None = None,
        decision: str | float | None = None,
        objective: Objective = "macro",
        calibration: str | None = None,
        shots: int = 0,
        nearest: bool = False,
        cache: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.taxonomy = taxonomy
        self.classifier = classifier
        self.endpoint = endpoint
        self.model = model
        self.key_variable = key_variable
        self.strategy = strategy
        self.prompt = prompt
        self.decision = decision
        self.objective = objective
        self.calibration = calibration
        self.shots = shots
        self.nearest = nearest
        self.cache = cache
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> MarqueeClassifier:
        """Learn what the parameters ask for: labels, examples, calibration, decision; by default the labels only.

        Args:
            X: texts.
            y: labels; None where a taxonomy is set and nothing is learnt from labels.

        Raises:
            ValueError: X holds no texts, or y no labels.
            InvalidDataset: a label is not in the taxonomy, or what should be learnt cannot be learnt from these.
            InvalidSetting: parameters that do not go together.
            Unanswered: a text that should be learnt from got no answer.
        """
        texts, given = texts_of(X), vocabulary(self.taxonomy)
        if y is None and (given is None or self.shots or self.decision in _RULES):
            raise ValueError("requires y to be passed, but the target y is None")
        target = None if y is None else target_of(y, given)
        if target is not None:
            check_consistent_length(texts, target.matrix)
        fitted = FittedState.of(given, target)
        self._check(fitted)
        self._fitted = self._learn(fitted, texts, target)
        self.classes_, self.taxonomy_ = fitted.classes, fitted.taxonomy
        self.decision_, self.shots_ = self._fitted.decoding, self._fitted.shots
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each text, shape (texts,); of several, an indicator matrix of shape (texts, labels)."""
        fitted = self._state()
        chosen = self._chosen(texts_of(X), fitted)
        return chosen.astype(int) if fitted.multi else fitted.classes[chosen.argmax(axis=1)]

    def predict_names(self, X: Any) -> list[tuple[str, ...]]:
        """The labels of each text by name, in sorted order."""
        fitted = self._state()
        rows = self._chosen(texts_of(X), fitted)
        return [tuple(name for name, given in zip(fitted.names, row, strict=True) if given) for row in rows]

    def predict_proba(self, X: Any) -> Scores:
        """A probability per text and label, shape (texts, labels); those of a single-label text sum to 1.

        Raises:
            InvalidSetting: the classifier gives no scores, or scores that are no probabilities.
        """
        fitted = self._state()
        return self._probabilities(self._answers(texts_of(X), fitted), fitted)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of texts that are labelled exactly as y says, whichever form y has."""
        fitted = self._state()
        truth = target_of(y, fitted.taxonomy).matrix if fitted.multi else y
        return float(accuracy_score(truth, self.predict(X), sample_weight=sample_weight))

    def _learn(self, fitted: FittedState, texts: Sequence[Text], target: Target | None) -> FittedState:
        """Examples first, since scores depend on them; then calibration; then the decision on what it gives."""
        fitted, rest = self._shown(fitted, texts, target)
        fitted = replace(fitted, decoding=self._fixed(fitted))
        if self.calibration is None and self.decision not in _RULES:
            return fitted
        if not rest:
            raise InvalidDataset("every text is shown as an example, and none is left to learn from; show fewer")
        truth = target.matrix[list(rest)] if target else None
        scores = fitted.scores(self._answers([texts[place] for place in rest], fitted))
        fitted = replace(fitted, calibrator=self._calibrator(scores, truth, fitted))
        if truth is None or self.decision not in _RULES:
            return fitted
        shape, probabilities = fitted.taxonomy, fitted.calibrator(scores)
        tuned = tune(probabilities, truth, self.decision, self.objective, shape.max_labels, shape.allow_none)
        return replace(fitted, decoding=tuned)

    def _shown(
        self, fitted: FittedState, texts: Sequence[Text], target: Target | None
    ) -> tuple[FittedState, Sequence[int]]:
        """Split into few-shot examples and the texts to train on.

        The labels of fixed examples are known to the model, so they are not trained on; the nearest texts never include
        the text itself.
        """
        every = range(len(texts))
        if not self.shots or target is None:
            return fitted, every
        if self.nearest:
            return replace(fitted, shots=examples(texts, target, every, fitted.taxonomy)), every
        chosen = varied(target.matrix, self.shots, check_random_state(self.random_state))
        shots = examples(texts, target, chosen, fitted.taxonomy)
        return replace(fitted, shots=shots), [place for place in every if place not in chosen]

    def _calibrator(self, scores: Scores, truth: Labels | None, fitted: FittedState) -> Calibrator:
        if self.calibration is None:
            return same
        mutually_exclusive = not fitted.multi or bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
        return CALIBRATIONS[self.calibration](scores, truth, mutually_exclusive)

    def _fixed(self, fitted: FittedState) -> Decoding | None:
        """The decision that is not learnt; None leaves it to the classifier."""
        if not fitted.multi or (self.decision is None and self.calibration is None) or self.decision in _RULES:
            return None
        threshold = _EVEN if self.decision is None else float(self.decision)
        return Decoding("global", (threshold,) * len(fitted.classes))

    def _check(self, fitted: FittedState) -> None:
        if isinstance(self.decision, str) and self.decision not in _RULES:
            raise UnknownName("decision", self.decision, RULES)
        if self.decision is not None and not fitted.multi:
            raise InvalidSetting("decision is for texts with several labels; of one label, the likeliest is given")
        if self.calibration is not None and self.calibration not in CALIBRATIONS:
            raise UnknownName("calibration", self.calibration, CALIBRATIONS)
        if self.objective not in OBJECTIVES:
            raise UnknownName("objective", self.objective, OBJECTIVES)
        if self.shots < 0 or (isinstance(self.decision, float) and not 0 <= self.decision <= 1):
            raise InvalidSetting("shots should be 0 or more, and a threshold between 0 and 1")

    def _state(self) -> FittedState:
        """What was learnt, or what needs no learning.

        Raises:
            NotFittedError: something has to be learnt first.
        """
        if hasattr(self, "_fitted"):
            return self._fitted
        given = vocabulary(self.taxonomy)
        if given is None or self.calibration is not None or self.shots or self.decision in _RULES:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet: call fit, or set a taxonomy and nothing to "
                "learn, which needs no fit."
            )
        fitted = FittedState.of(given, None)
        self._check(fitted)
        return replace(fitted, decoding=self._fixed(fitted))

    def _answers(self, texts: Sequence[Text], fitted: FittedState) -> list[Prediction]:
        asked = BackendSpec(
            self.classifier, self.endpoint, self.model, self.key_variable, self.strategy, self.prompt, self.cache
        )
        shots = shown(fitted.shots, fitted.taxonomy.name, self.shots if self.nearest else 0)
        found = asked.opened(shots).classify(texts, fitted.taxonomy)
        failed = [(place, one.problem.detail) for place, one in enumerate(found) if one.problem]
        if failed:
            place, why = failed[0]
            raise Unanswered(f"{len(failed)} of {len(found)} texts got no answer; text {place}: {why}")
        return found

    def _probabilities(self, found: Sequence[Prediction], fitted: FittedState) -> Scores:
        scores = fitted.scores(found)
        raw = fitted.calibrator is same
        if raw and (isinstance(self.classifier, Embedded) or scores.min() < 0 or scores.max() > 1):
            raise InvalidSetting(
                f"{found[0].source.model} gives similarities, which are no probabilities; set calibration='sigmoid'"
            )
        return fitted.probabilities(scores)

    def _chosen(self, texts: Sequence[Text], fitted: FittedState) -> Labels:
        """Which labels are given, shape (texts, labels)."""
        found = self._answers(texts, fitted)
        if fitted.decoding is None and fitted.calibrator is same:
            return fitted.given(found)
        return fitted.choose(self._probabilities(found, fitted))

    def __sklearn_is_fitted__(self) -> bool:
        try:
            self._state()
        except NotFittedError:
            return False
        return True

    def __sklearn_clone__(self) -> MarqueeClassifier:
        """A classifier holds a model, connections and locks: copies share it."""
        given = self.get_params(deep=False)
        shared = {"classifier": given.pop("classifier")}
        copied = type(self)(**{name: clone(value, safe=False) for name, value in given.items()}, **shared)
        if hasattr(self, "_metadata_request"):
            copied._metadata_request = deepcopy(self._metadata_request)
        return copied

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_label = True
        tags.requires_fit = self.taxonomy is None
        tags.target_tags.required = self.taxonomy is None
        return tags


# For ``sklearn.utils.estimator_checks.check_estimator``, where rows of numbers are told in words: what its checks ask
# of an estimator that this one, by what it is, cannot give.
EXPECTED_FAILED_CHECKS: Mapping[str, str] = {
    "check_classifiers_train": "learns no weights: what the text of a number is about says nothing of its class",
} | dict.fromkeys(
    (
        "check_classifiers_multilabel_representation_invariance",
        "check_classifiers_multilabel_output_format_predict",
        "check_classifiers_multilabel_output_format_predict_proba",
        "check_classifiers_multilabel_output_format_decision_function",
    ),
    "an indicator matrix does not name its columns, and labels are known by nothing but their names",
)
