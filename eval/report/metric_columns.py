"""The columns of the headline: where each figure comes from, how it is written, what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eval.report.folder import SystemResults

MISSING = "–"


def share(value: float) -> str:
    """Three decimals without the zero before the point, as statistics are written: .634."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}%"


def quantity(value: float) -> str:
    """A number of any size in about three digits."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def money(value: float) -> str:
    """US dollars: cents for sums, three digits for small ones."""
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.3g}"


@dataclass(frozen=True)
class Column:
    """One figure of the headline.

    Attributes:
        name: its title.
        group: the heading above it.
        about: what it means, for a reader who does not know it.
        show: how it is written.
        better: ``high``, ``low``, or ``neither`` where no value is better.
        several: whether it says something only where a text may have several labels.
        metric: its name in ``metrics.json``; the title where it is empty.
        per: texts that the metric counts over, where the column is of one text.
    """

    name: str
    group: str
    about: str
    show: Callable[[float], str] = share
    better: Literal["high", "low", "neither"] = "high"
    several: bool = False
    metric: str = ""
    per: int = 1

    def read(self, system: SystemResults) -> float | None:
        """The figure of a system; None where ``metrics.json`` has none."""
        found = system.figure(self.metric or self.name)
        return None if found is None else found / self.per


def decode_rule(manifest: Mapping[str, Any]) -> str:
    """How scores became labels, as the manifest tells it."""
    return str(manifest.get("decode_rule") or MISSING)


def shown(systems: Sequence[SystemResults], single: bool) -> list[Column]:
    """Columns that at least one system has a figure for, and that say something for this kind of task."""
    kept = [column for column in COLUMNS if not (single and column.several)]
    return [column for column in kept if any(column.read(system) is not None for system in systems)]


def best(column: Column, values: Sequence[float | None]) -> float | None:
    """The best of these values; None where no value is better, or several share the best."""
    present = [value for value in values if value is not None]
    if column.better == "neither" or len(present) < 2:
        return None
    top = max(present) if column.better == "high" else min(present)
    return top if present.count(top) == 1 else None


QUALITY, CALIBRATION, SPEED, COST, ANSWERS = "Quality", "Calibration", "Speed", "Cost", "Answers"
COLUMNS = (
    Column(
        "micro-F1", QUALITY,
        "F1 over all decisions about a text and a label together: 2·TP / (2·TP + FP + FN). Common labels weigh most.",
    ),
    Column("macro-F1", QUALITY, "Mean of the labels' own F1: every label weighs the same, the rare ones too."),
    Column(
        "precision", QUALITY, "Share of the given labels that are true, over all decisions (micro): TP / (TP + FP).",
        metric="micro-precision",
    ),
    Column(
        "recall", QUALITY, "Share of the true labels that were given, over all decisions (micro): TP / (TP + FN).",
        metric="micro-recall",
    ),
    Column("accuracy", QUALITY, "Share of texts whose label was found."),
    Column("samples-F1", QUALITY, "Mean of the texts' own F1.", several=True),
    Column("Jaccard", QUALITY, "Mean over texts of shared labels by all labels, |Y∩Ŷ| / |Y∪Ŷ|.", several=True),
    Column("subset accuracy", QUALITY, "Share of texts whose set of labels was found exactly."),
    Column("AL-1", QUALITY, "Share of texts with at least one true label found.", several=True),
    Column("AL-2", QUALITY, "Share of all texts with at least two true labels found.", several=True),
    Column(
        "macro-AP", QUALITY,
        "Mean over labels of average precision, the area under the precision–recall curve. Needs no threshold.",
    ),
    Column("LRAP", QUALITY, "Label ranking average precision: how far up the true labels stand.", several=True),
    Column(
        "ECE", CALIBRATION,
        "Expected calibration error: how far scores, read as probabilities, lie from the share that is true (15 bins "
        "of equal mass, mean over labels).", better="low",
    ),
    Column("Brier", CALIBRATION, "Mean squared distance between a score and the truth (0 or 1).", better="low"),
    Column(
        "p50 ms", SPEED, "Milliseconds in which half of the texts were answered, asked one at a time.", quantity, "low"
    ),
    Column(
        "p95 ms", SPEED, "Milliseconds in which 95% of the texts were answered, asked one at a time.", quantity, "low"
    ),
    Column("texts/s", SPEED, "Texts answered per second, in batches where the system takes them.", quantity),
    Column("peak MB", SPEED, "The most memory that the process held, in megabytes.", quantity, "low"),
    Column(
        "prompt tokens", COST, "Mean tokens of a prompt; what the server had cached is included.", quantity, "low",
        metric="prompt tokens per 1,000", per=1_000,
    ),
    Column(
        "cached tokens", COST, "Mean tokens of a prompt that the server had computed before.", quantity, "neither",
        metric="cached tokens per 1,000", per=1_000,
    ),
    Column(
        "written tokens", COST, "Mean tokens written for a text.", quantity, "low",
        metric="written tokens per 1,000", per=1_000,
    ),
    Column(
        "per 1,000", COST, "US dollars for a thousand texts at list prices.", money, "low", metric="USD per 1,000"
    ),
    Column(
        "invalid", ANSWERS,
        "Share of texts that got a problem instead of an answer; they count as texts without labels.", percent, "low",
    ),
    Column(
        "abstained", ANSWERS, "Share of texts that were answered with no label at all.", percent, "neither",
        metric="abstentions",
    ),
)  # fmt: skip
