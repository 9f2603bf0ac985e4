"""Margins of a cascade that ``main.py cascade --target`` has certified, and the JSON file that stores them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llm.calibration.thresholds import LearnedStore
from llm.classifier import Prediction
from prompts.errors import InvalidSetting
from prompts.taxonomy import Taxonomy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CertifiedMargins:
    """From which margin on a small classifier answers alone, and what is certified about it.

    Attributes:
        margin: least margin of a text; None: none was certified, or each label has its own.
        label_margins: least margin of each label; a text needs that of all its labels. A label that is missing was
            not certified.
        model: name of the model whose answers were compared; empty where they were labels of persons.
        metric: ``agreement``, ``precision`` or ``recall``.
        over: ``all`` texts, or those ``answered`` by the small classifier.
        target: value that the metric has at least.
        delta: probability that it has not.
        texts: number of texts in the table.
        labels: number of labels that were compared.
        share: part of the table's texts for the language model, from 0 to 1.
    """

    margin: float | None
    label_margins: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    metric: str = "agreement"
    over: str = "all"
    target: float = 0.0
    delta: float = 0.0
    texts: int = 0
    labels: int = 0
    share: float = 1.0

    def needed(self, labels: Sequence[str]) -> float:
        """The least margin of a text with these labels; infinite: the language model answers in any case."""
        if not self.label_margins:
            return math.inf if self.margin is None else self.margin
        return max((self.label_margins.get(name, math.inf) for name in labels), default=math.inf)


class CertifiedStore(LearnedStore[CertifiedMargins]):
    """Certified margins by small classifier and taxonomy, in a JSON file."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(CertifiedMargins, path)
        self._reported: set[tuple[str, str]] = set()

    def refresh(self) -> bool:
        """See ``LearnedStore.refresh``."""
        changed = super().refresh()
        if changed:
            self._reported = set()
        return changed

    @staticmethod
    def key(small: str, taxonomy: Taxonomy) -> str:
        """Key of the margins of a small classifier of this name."""
        return f"{small} {taxonomy.versioned_name}"

    def accepts(self, small: Prediction, margin: float, taxonomy: Taxonomy) -> bool:
        """Whether a prediction of the small classifier, of this margin, is certified; never of a failed text."""
        certified = self.get(self.key(small.source.model, taxonomy))
        if certified is None or small.problem:
            return False
        return margin >= certified.needed(small.labels) < math.inf

    def check_model(self, small: str, large: Sequence[Prediction], taxonomy: Taxonomy) -> None:
        """Log once that another model answers than the one that the margins were certified with."""
        certified = self.get(self.key(small, taxonomy))
        if not certified or not certified.model:
            return
        for name in {one.source.model for one in large if not one.problem} - {certified.model, small}:
            if (name, taxonomy.name) not in self._reported:
                self._reported.add((name, taxonomy.name))
                log.warning(
                    "the cascade of taxonomy %s was certified with %s, and %s answers now; certify it again with "
                    "`main.py cascade --target`", taxonomy.name, certified.model, name,
                )  # fmt: skip


def margin_of(setting: float | Path) -> float | CertifiedStore:
    """What the setting ``cascade_margin`` means: a margin, 0 without a cascade, or the certified margins of a file.

    Raises:
        InvalidSetting: there is no such file, or it has something else.
    """
    if not isinstance(setting, Path):
        return setting
    if not setting.is_file():
        raise InvalidSetting(
            f"MARQUEE_CASCADE_MARGIN: there is no file {setting}; give a number, or make the file with "
            "`main.py cascade --target 0.95`"
        )
    return CertifiedStore(setting)
