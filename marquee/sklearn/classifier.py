"""``MarqueeClassifier``, a scikit-learn classifier of texts; ``docs/scikit-learn.md`` has examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, check_random_state

from eval.baselines.thresholds import OBJECTIVES, RULES, Decoding, Objective, tune
from eval.metrics import Labels
from llm.classifier import Classifier, Prediction
from llm.embedded.cosine import CosineClassifier
from marquee.sklearn.backend import BackendSpec, few_shot_examples
from marquee.sklearn.fitted import CALIBRATIONS, Calibrator, FittedState, Scores, chosen_examples, same, varied
from marquee.sklearn.targets import Target, TaxonomyParameter, target_of, taxonomy_of, texts_of
from prompts.errors import InvalidDataset, InvalidSetting, UnansweredTexts, UnknownName
from prompts.text import Text

_RULES = frozenset(RULES)  # decisions that are learned


class MarqueeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Label texts with a closed taxonomy, zero-shot or with what ``fit`` learns.

    X has strings or ``Text`` objects. y has one label or a list of names per text, or is an indicator matrix as
    ``MultiLabelBinarizer`` makes it. With one label per text, ``predict`` returns shape (texts,) and the rows of
    ``predict_proba`` sum to 1. With several, both have shape (texts, labels) in the order of ``classes_``.
    With a taxonomy, ``predict`` works before ``fit``.

    Args:
        taxonomy: a registered name (``"tmdb"``), a ``Taxonomy``, label names, or a dict from names to descriptions.
            None: the labels of y.
        classifier: shared by clones. None: the endpoint at ``base_url`` if set, else the embedded classifier.
        base_url: root of an OpenAI-compatible endpoint, such as ``"http://127.0.0.1:8000/v1"``.
        model: the name under which the endpoint serves its model.
        api_key: the key of the endpoint, never printed but part of a pickle. None: ``OPENAI_API_KEY``.
        strategy: how labels are obtained from a language model: auto, json_list, label_likelihood, label_tokens,
            yes_no, decisions_api.
        prompt: name or kind of a prompt. None: the prompt that suits the taxonomy.
        decision: rule for several labels: a threshold, or ``"global"``, ``"per-label"`` or ``"top-k"``, which are
            learned. None: the classifier decides.
        objective: the F1 that a learned decision maximises: ``"macro"``, ``"micro"`` or ``"both"``.
        calibration: ``"sigmoid"``, ``"isotonic"``, or ``"batch"``, which needs no labels. None: scores as they are.
        few_shot: number of texts of ``fit`` in the prompt, with their labels.
        nearest: whether each prompt shows the examples nearest to its text, instead of the same ones.
        cache: SQLite file of a language model's answers; a search repeats the same requests many times.
        random_state: seed of the choice of examples.

    Attributes:
        classes_: the labels, sorted; shape (labels,).
        taxonomy_: the taxonomy in use.
        decision_: the decision in use, or None.
        examples_: the few-shot examples.
    """

    def __init__(
        self,
        taxonomy: TaxonomyParameter | None = None,
        *,
        classifier: Classifier | None = None,
        base_url: str | None = None,
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        strategy: str | None = None,
        prompt: str | None = None,
        decision: str | float | None = None,
        objective: Objective = "macro",
        calibration: str | None = None,
        few_shot: int = 0,
        nearest: bool = False,
        cache: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.taxonomy = taxonomy
        self.classifier = classifier
        self.base_url = base_url
        self.model = model
        self.api_key = api_key
        self.strategy = strategy
        self.prompt = prompt
        self.decision = decision
        self.objective = objective
        self.calibration = calibration
        self.few_shot = few_shot
        self.nearest = nearest
        self.cache = cache
        self.random_state = random_state

    def __setattr__(self, name: str, value: Any) -> None:
        secret = name == "api_key" and isinstance(value, str)  # scikit-learn prints parameters
        super().__setattr__(name, SecretStr(value) if secret else value)

    def fit(self, X: Any, y: Any = None) -> MarqueeClassifier:
        """Learn the labels and, where the parameters say so, examples, calibration and decision.

        Args:
            X: texts.
            y: labels. None where a taxonomy is set and nothing is learned from labels.

        Raises:
            ValueError: X has no texts, or y no labels.
            InvalidDataset: a label is not in the taxonomy, or the texts are too few to learn from.
            InvalidSetting: parameters that do not go together.
            UnansweredTexts: a text of X got no answer.
        """
        texts, given = texts_of(X), taxonomy_of(self.taxonomy)
        if y is None and (given is None or self.few_shot or self.decision in _RULES):
            raise ValueError("requires y to be passed, but the target y is None")
        target = None if y is None else target_of(y, given)
        if target is not None:
            check_consistent_length(texts, target.matrix)
        fitted = FittedState.of(given, target)
        self._check(fitted)
        self._fitted = self._learn(fitted, texts, target)
        self.classes_, self.taxonomy_ = fitted.classes, fitted.taxonomy
        self.decision_, self.examples_ = self._fitted.decoding, self._fitted.examples
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
            raise InvalidDataset("every text is a few-shot example, and none is left to learn from; lower few_shot")
        truth = target.matrix[list(rest)] if target else None
        scores = fitted.scores(self._answers([texts[place] for place in rest], fitted))
        fitted = replace(fitted, calibrator=self._calibrator(scores, truth, fitted))
        if truth is None or self.decision not in _RULES:
            return fitted
        shape, probabilities = fitted.taxonomy, fitted.calibrator(scores)
        tuned = tune(probabilities, truth, self.decision, self.objective, shape.max_labels, bool(shape.allow_none))
        return replace(fitted, decoding=tuned)

    def _shown(
        self, fitted: FittedState, texts: Sequence[Text], target: Target | None
    ) -> tuple[FittedState, Sequence[int]]:
        """Add few-shot examples, and return the texts that are left to learn from.

        A language model sees the labels of fixed examples, so these texts are left out. The nearest examples of a text
        never include the text itself.
        """
        every = range(len(texts))
        if not self.few_shot or target is None:
            return fitted, every
        if self.nearest:
            return replace(fitted, examples=chosen_examples(texts, target, every, fitted.taxonomy)), every
        chosen = varied(target.matrix, self.few_shot, check_random_state(self.random_state))
        examples = chosen_examples(texts, target, chosen, fitted.taxonomy)
        return replace(fitted, examples=examples), [place for place in every if place not in chosen]

    def _calibrator(self, scores: Scores, truth: Labels | None, fitted: FittedState) -> Calibrator:
        if self.calibration is None:
            return same
        mutually_exclusive = not fitted.multi or bool(np.allclose(scores.sum(axis=1), 1, atol=1e-3))
        return CALIBRATIONS[self.calibration](scores, truth, mutually_exclusive)

    def _fixed(self, fitted: FittedState) -> Decoding | None:
        """The decision that is not learned; None: the classifier decides."""
        if not fitted.multi or (self.decision is None and self.calibration is None) or self.decision in _RULES:
            return None
        threshold = 0.5 if self.decision is None else float(self.decision)
        return Decoding("global", (threshold,) * len(fitted.classes))

    def _check(self, fitted: FittedState) -> None:
        if isinstance(self.decision, str) and self.decision not in _RULES:
            raise UnknownName("decision", self.decision, RULES)
        if self.decision is not None and not fitted.multi:
            raise InvalidSetting("decision is for texts with several labels; else the most probable label is returned")
        if self.calibration is not None and self.calibration not in CALIBRATIONS:
            raise UnknownName("calibration", self.calibration, CALIBRATIONS)
        if self.objective not in OBJECTIVES:
            raise UnknownName("objective", self.objective, OBJECTIVES)
        if self.few_shot < 0 or (isinstance(self.decision, float) and not 0 <= self.decision <= 1):
            raise InvalidSetting("few_shot should be 0 or more, and a threshold between 0 and 1")

    def _state(self) -> FittedState:
        """The fitted state, or that of an estimator that needs no ``fit``.

        Raises:
            NotFittedError: ``fit`` has to be called first.
        """
        if hasattr(self, "_fitted"):
            return self._fitted
        given = taxonomy_of(self.taxonomy)
        if given is None or self.calibration is not None or self.few_shot or self.decision in _RULES:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet: call fit, or set a taxonomy and nothing to "
                "learn, which needs no fit."
            )
        fitted = FittedState.of(given, None)
        self._check(fitted)
        return replace(fitted, decoding=self._fixed(fitted))

    def _answers(self, texts: Sequence[Text], fitted: FittedState) -> list[Prediction]:
        spec = BackendSpec(
            self.classifier, self.base_url, self.model, self._secret(), self.strategy, self.prompt, self.cache
        )
        examples = few_shot_examples(fitted.examples, fitted.taxonomy.name, self.few_shot if self.nearest else 0)
        found = spec.classify(texts, fitted.taxonomy, examples)
        failed = [(place, one.problem.detail) for place, one in enumerate(found) if one.problem]
        if failed:
            place, why = failed[0]
            raise UnansweredTexts(f"{len(failed)} of {len(found)} texts got no answer; text {place}: {why}")
        return found

    def _secret(self) -> SecretStr | None:
        return self.api_key if isinstance(self.api_key, SecretStr) else None

    def _probabilities(self, found: Sequence[Prediction], fitted: FittedState) -> Scores:
        scores = fitted.scores(found)
        raw = fitted.calibrator is same
        if raw and (isinstance(self.classifier, CosineClassifier) or scores.min() < 0 or scores.max() > 1):
            raise InvalidSetting(
                f"{found[0].source.model} gives similarities, which are no probabilities; set calibration='sigmoid'"
            )
        return fitted.probabilities(scores)

    def _chosen(self, texts: Sequence[Text], fitted: FittedState) -> Labels:
        """The labels of each text, shape (texts, labels)."""
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
        """Clones share the classifier: it has a model, connections and locks."""
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


# Checks of ``check_estimator`` that cannot pass, with the reason; the rows of numbers are written as texts.
EXPECTED_FAILED_CHECKS: Mapping[str, str] = {
    "check_classifiers_train": "learns no weights: what the text of a number is about says nothing of its class"
} | dict.fromkeys(
    (
        "check_classifiers_multilabel_representation_invariance",
        "check_classifiers_multilabel_output_format_predict",
        "check_classifiers_multilabel_output_format_predict_proba",
        "check_classifiers_multilabel_output_format_decision_function",
    ),
    "an indicator matrix does not name its columns, and labels are known by nothing but their names",
)
