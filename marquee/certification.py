"""Certifies a cascade of the embedded classifier and an oracle on a table of texts, and stores its margins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.certified_cascade import Certified, Goal, Labeller, Labels, Population, certify, populations
from eval.datasets import Example
from eval.run import System
from llm.calibration.certified import CertifiedMargins, CertifiedStore
from llm.classifier import OF_A_TEXT, Classifier, Prediction
from llm.spending.costs import Preview
from llm.spending.spend_cap import SpendCap, SpendMeter
from llm.wrappers.combined import margin
from prompts.errors import Interrupted, InvalidSetting
from prompts.taxonomy import Taxonomy

if TYPE_CHECKING:
    from marquee.settings import Settings

LABELS = "labels"
"""The oracle that is the labels of the table."""
_BATCH = 256
OnProgress = Callable[[int], object]


@dataclass(frozen=True)
class CascadePlan:
    """What to certify, and from which labels.

    Attributes:
        goal: the metric and its bound.
        oracle: a system, as in ``evaluate --systems``, or ``labels``: those of the table.
        budget: maximum number of labels.
        by_label: whether each label has a margin, and a bound, of its own.
        seed: of the order in which texts are drawn.
        cache: whether cached answers may be used.
    """

    goal: Goal
    oracle: str
    budget: int
    by_label: bool = False
    seed: int = 0
    cache: bool = True

    def check(self, taxonomy: Taxonomy) -> None:
        """Refuse a plan whose bound would not follow from its margins.

        Raises:
            InvalidSetting: such a plan.
        """
        metric = self.goal.metric
        if self.by_label and metric == "recall":
            raise InvalidSetting(
                "--per-label: the recall of a label depends on the margins of all other labels; give --metric "
                "precision, or leave --per-label out"
            )
        if self.by_label and taxonomy.multi and (metric, self.goal.over) != ("precision", "all"):
            raise InvalidSetting(
                f"--per-label: taxonomy {taxonomy.name!r} gives a text several labels, and their bounds hold together "
                "for --metric precision --over all; give these, or leave --per-label out"
            )


@dataclass(frozen=True)
class Part:
    """What was certified for a label, or for all texts (``label`` is empty)."""

    label: str
    texts: int
    certified: Certified


@dataclass
class CascadeCertification:
    """A cascade on a table of texts.

    Args:
        taxonomy: the labels.
        examples: the texts, and their labels where the oracle is the labels of the table.
        plan: what to certify.
        system: the oracle; None: the labels of the table.
        meter: limits what the oracle spends.
        on_progress: called with the number of new labels.
    """

    taxonomy: Taxonomy
    examples: Sequence[Example]
    plan: CascadePlan
    system: System | None
    meter: SpendMeter | None = None
    on_progress: OnProgress = field(default=lambda labels: None)
    model: str = ""
    _classifier: Classifier | None = None

    def run(self, small: Classifier) -> tuple[CertifiedMargins, list[Part], str]:
        """Certify the margins of a small classifier.

        Returns:
            The margins, what was certified for each label or for all texts, and the name of the small classifier.

        Raises:
            Interrupted: the oracle is unreachable or too busy, or the next labels would exceed the spend cap. Answers
                are kept in the answer cache.
        """
        plan, goal = self.plan, self.plan.goal
        predictions = self._predictions(small)
        margins = np.array([margin(one) for one in predictions])
        labels = [one.labels for one in predictions]
        none = bool(self.taxonomy.allow_none)
        found = populations(labels, margins, goal, self._most(), none, plan.by_label, plan.seed)
        labeller = Labeller(self._oracle, min(plan.budget, len(labels)))
        parts = self._parts(found, labeller)
        margin_of_all = None if plan.by_label else parts[0].certified.margin
        by_label = {one.label: one.certified.margin for one in parts if one.label and one.certified.margin is not None}
        certified = CertifiedMargins(
            margin_of_all, by_label, self.model, goal.metric, goal.over, goal.target, goal.delta, len(labels),
            len(labeller.known),
        )  # fmt: skip
        sent = [value < certified.needed(names) for value, names in zip(margins.tolist(), labels, strict=True)]
        return replace(certified, share=sum(sent) / len(sent)), parts, predictions[0].source.model

    def _predictions(self, small: Classifier) -> list[Prediction]:
        texts = [one.text for one in self.examples]
        starts = range(0, len(texts), _BATCH)
        return [one for start in starts for one in small.classify(texts[start : start + _BATCH], self.taxonomy)]

    def _most(self) -> int:
        """Most labels of a text."""
        given = (len(one.labels) for one in self.examples) if self.system is None else ()
        return max(self.taxonomy.max_labels, *given, 1)

    def _parts(self, found: Sequence[Population], labeller: Labeller) -> list[Part]:
        """Each population has the same part of the risk, and of the labels that are left."""
        goal = replace(self.plan.goal, delta=self.plan.goal.delta / max(1, len(found)))
        return [
            Part(one.label, len(one.places), certify(one, goal, labeller, labeller.left // (len(found) - number)))
            for number, one in enumerate(found)
        ]

    def _oracle(self, places: Sequence[int]) -> Sequence[Labels | None]:
        examples = [self.examples[place] for place in places]
        answers = [one.labels for one in examples] if self.system is None else self._answers(examples)
        self.on_progress(len(places))
        return answers

    def _answers(self, examples: Sequence[Example]) -> list[Labels | None]:
        if self.meter and not self.meter.fits(len(examples)):
            raise Interrupted(self.meter.refusal(len(examples)))
        answers = self._opened().classify([one.text for one in examples], self.taxonomy)
        if self.meter:
            self.meter.add([one.usage for one in answers])
        failed = [one.problem for one in answers if one.problem and one.problem.kind not in OF_A_TEXT]
        if failed:
            raise Interrupted(
                f"{len(failed)} of {len(answers)} texts failed at the oracle: {failed[0].detail}; the same command "
                "continues: answers are kept in the answer cache"
            )
        self.model = self.model or next((one.source.model for one in answers if not one.problem), "")
        return [None if one.problem else one.labels for one in answers]

    def _opened(self) -> Classifier:
        assert self.system is not None
        self._classifier = self._classifier or self.system.open().classifier
        return self._classifier


def oracle_of(plan: CascadePlan, taxonomy: Taxonomy, examples: Sequence[Example]) -> System | None:
    """The system of a plan's oracle; None where it is the labels of the table.

    Raises:
        UnknownName: no system has this name.
        InvalidSetting: a language model where the settings have none.
    """
    if plan.oracle == LABELS:
        return None
    from marquee.systems import SystemContext, from_spec

    texts = [one.text for one in examples]
    return from_spec(plan.oracle, SystemContext(taxonomy, texts, plan.cache, excluded=texts))


def default_oracle(settings: Settings) -> str:
    """What answers the texts that a cascade under the settings sends on."""
    return "fusion" if settings.fusion else "llm"


def drawn_first(examples: Sequence[Example], plan: CascadePlan) -> list[Example]:
    """The texts that are labelled at most, for an estimate of their cost."""
    order = np.random.default_rng(plan.seed).permutation(len(examples))[: plan.budget]
    return [examples[place] for place in order]


def meter_of(system: System | None, cap: SpendCap | None, examples: Sequence[Example]) -> SpendMeter | None:
    """What the oracle spends of a cap; None without a cap, and where it costs nothing."""
    return system.meter(cap, [one.text for one in examples]) if system and cap else None


def table_cost(system: System | None, examples: Sequence[Example]) -> Preview | None:
    """What the oracle's answers for the whole table cost; None where they cost nothing."""
    if system is None or system.preview is None:
        return None
    sample = [one.text for one in examples[:: max(1, len(examples) // _BATCH)]]
    return system.preview(sample).scaled(len(examples) / len(sample))


def stored(path: Path, small: str, taxonomy: Taxonomy, certified: CertifiedMargins) -> None:
    """Put the margins in force for processes that start with this file as ``MARQUEE_CASCADE_MARGIN``."""
    store = CertifiedStore(path)
    store.put({store.key(small, taxonomy): certified})
