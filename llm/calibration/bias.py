"""A language model's bias towards labels, estimated from a dozen neutral texts without labels.

A small model gives some labels a high probability whatever the text is. Dividing by the mean probability over a batch
of texts corrects this (batch calibration, arXiv 2309.17249), but one text has no batch. The mean over a fixed set of
short texts from many fields does as well: measured in ``eval/EXPERIMENTS.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from llm.backends.concurrency import SharedCalls
from llm.calibration.thresholds import NONE, none_probability
from llm.classifier import Problem
from llm.strategies.strategy import StrategyAnswer
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.lru import LRUCache

BIAS_VERSION = 1  # of the texts and the strength; part of every fingerprint
STRENGTH = 0.5  # share of the estimated bias that is removed; chosen on validation texts of six data sets
LEAST_LABELS = 3  # for two labels, the correction gained nothing on the same data sets
_STORED = 256
_LEAST = 1e-6  # minimum probability before logarithms
NEUTRAL_TEXTS = tuple(
    Text(sentence)
    for sentence in (
        "The meeting was moved to Thursday afternoon.",
        "How long does it take to boil an egg?",
        "My order arrived with a broken lid.",
        "She walked along the river and said nothing.",
        "Prices rose by two percent in March.",
        "I love this, thank you so much!",
        "Error: the file could not be opened.",
        "The team won its third match in a row.",
        "He never forgave his brother for leaving.",
        "Add two spoons of sugar and stir.",
        "The new law takes effect next year.",
        "Honestly, it was a waste of time.",
    )
)


class BiasEstimates:
    """Estimates by key, made once and kept in memory; may be shared by threads.

    Equal requests at the same time share one estimate.
    """

    def __init__(self) -> None:
        self._known: LRUCache[str, Mapping[str, float]] = LRUCache(_STORED)
        self._calls = SharedCalls()

    def offsets(
        self, key: str, ask: Callable[[], Sequence[StrategyAnswer]], taxonomy: Taxonomy
    ) -> Mapping[str, float] | Problem:
        """Offsets of the labels' log-probabilities, as ``LabelThreshold`` takes them, or why there are none.

        ``ask`` returns the answers about ``NEUTRAL_TEXTS``, whose scores sum to 1 over the labels and "none".
        """
        known = self._known.get(key)
        return known if known is not None else self._calls.result(key, lambda: self._estimate(key, ask, taxonomy))

    def _estimate(
        self, key: str, ask: Callable[[], Sequence[StrategyAnswer]], taxonomy: Taxonomy
    ) -> Mapping[str, float] | Problem:
        answers = ask()
        if problem := next((answer.problem for answer in answers if answer.problem), None):
            return problem
        offsets = _offsets([answer.scores for answer in answers], taxonomy)
        self._known.put(key, offsets)
        return offsets


def _offsets(scores: Sequence[Mapping[str, float]], taxonomy: Taxonomy) -> Mapping[str, float]:
    """The negative mean log-probability of each label, times the strength."""
    rows = [{**row, NONE: none_probability(row)} for row in scores] if taxonomy.allow_none else scores
    return {name: -STRENGTH * sum(math.log(max(_LEAST, row[name])) for row in rows) / len(rows) for name in rows[0]}
