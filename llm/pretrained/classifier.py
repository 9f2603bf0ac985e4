"""A pretrained zero-shot model as a classifier: from its logits to labels and scores."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm.calibration.thresholds import LabelThreshold
from llm.classifier import AnswerSource, Prediction, Problem, ScoreType, no_text
from llm.embedded.cosine import described
from llm.hierarchical import by_leaves
from llm.pretrained.model_files import PretrainedFiles, find
from prompts.files import digest_of
from prompts.hierarchy import Hierarchy
from prompts.installation import missing
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.encoders.precision import choice
from similarity.native import native

if TYPE_CHECKING:
    from llm.pretrained.scorers import LabelLogits, LabelScorer, Logits

_VERSION = 1  # part of every fingerprint; raise it when the same model and text give other scores
_TEXTS = 32  # scored at once, with all labels
_PROBABILITY, _SHARE = 0.5, 0.0  # default thresholds; of alternatives the best one is chosen
_DIGITS = 4  # of scores
_NOT_A_NUMBER = Problem("unreadable", "the model's scores are not numbers; its weights are damaged, download it again")


@dataclass(frozen=True)
class PretrainedClassifier:
    """An NLI model, GLiClass model or reranker; loaded at its first use, and safe to share among threads.

    A label is scored as its name and description. For several labels per text, the score is the probability that the
    label applies. For a single one it is a share: a softmax over the labels, and over "none" with a logit of 0 where
    the taxonomy allows it.
    """

    files: PretrainedFiles  # the model
    threshold: float | None = None  # minimum score of a chosen label; None takes the default
    _loaded: list[LabelScorer] = field(default_factory=list, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.files.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come best first, with a score for every label."""
        if isinstance(taxonomy, Hierarchy):
            return by_leaves(self.classify, texts, taxonomy)
        originals = checked_texts(texts)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        rows = self._scored([text.joined for text in originals if not text.empty], taxonomy)
        return [
            Prediction((), source, problem=no_text(text)) if text.empty else self._decode(next(rows), taxonomy, source)
            for text in originals
        ]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of model, number format, text, taxonomy and threshold."""
        everything = [_VERSION, self.name, choice(), text.joined, taxonomy.digest, self.threshold]
        return digest_of(json.dumps(everything))

    def decode_rule(self, taxonomy: Taxonomy) -> str:
        """How scores become labels, in words."""
        return f"{self.files.kind}: {self._threshold(taxonomy).rule(taxonomy, taxonomy.exclusive)}"

    def _threshold(self, taxonomy: Taxonomy) -> LabelThreshold:
        default = _SHARE if taxonomy.exclusive else _PROBABILITY
        return LabelThreshold(default if self.threshold is None else self.threshold)

    def _scored(self, texts: Sequence[str], taxonomy: Taxonomy) -> Iterator[list[float]]:
        """The scores of each text, in taxonomy order."""
        labels = [described(label) for label in taxonomy.predictable]
        for start in range(0, len(texts), _TEXTS):
            yield from _scores(self._logits(texts[start : start + _TEXTS], labels), taxonomy).tolist()

    @native
    def _logits(self, texts: Sequence[str], labels: Sequence[str]) -> LabelLogits:
        with self._lock:
            if not self._loaded:
                self._loaded.append(_load(self.files))
            return self._loaded[0].logits(texts, labels)

    def _decode(self, row: Sequence[float], taxonomy: Taxonomy, source: AnswerSource) -> Prediction:
        if not all(map(math.isfinite, row)):
            return Prediction((), source, problem=_NOT_A_NUMBER)
        ranked = sorted(zip(taxonomy.names, row, strict=True), key=lambda pair: -pair[1])
        scores = {name: round(score, _DIGITS) for name, score in ranked}
        exclusive = taxonomy.exclusive
        labels = self._threshold(taxonomy).choose(scores, taxonomy, exclusive)
        score_type: ScoreType = "share" if exclusive else "probability"
        return Prediction(labels, source, scores, score_type=score_type)


def pretrained(spec: str, threshold: float | None = None) -> PretrainedClassifier:
    """The classifier of a spec, ``hf:NAME_OR_PATH``; reads the model's configuration, and not yet its weights.

    Raises:
        InvalidSetting: there is no such model, or it is of another kind.
    """
    return PretrainedClassifier(find(spec), threshold)


def _load(files: PretrainedFiles) -> LabelScorer:
    try:
        from llm.pretrained.scorers import load
    except ModuleNotFoundError as error:
        raise missing(files.spec, "hf") from error
    return load(files)


def _scores(logits: LabelLogits, taxonomy: Taxonomy) -> Logits:
    """Scores of texts and labels, shape (texts, labels)."""
    import numpy as np

    if not taxonomy.exclusive:
        with np.errstate(over="ignore"):  # of logits below -88, whose probability is 0
            return np.asarray(1 / (1 + np.exp(-logits.applies)), np.float32)
    rivals = logits.competing
    if taxonomy.allow_none:
        rivals = np.pad(logits.applies, ((0, 0), (0, 1)))
    powers = np.exp(rivals - rivals.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return np.asarray(shares[:, : len(taxonomy.names)], np.float32)
