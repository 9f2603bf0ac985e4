"""The columns of the headline: where each figure comes from, how it is written, what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np

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
        name: its title, and its name in ``metrics.json``.
        group: the heading it stands under.
        about: what it means, for a reader who does not know it.
        read: the figure of a system, None where there is none.
        show: how it is written.
        better: ``high``, ``low``, or ``neither`` where no value is better.
        several: whether it says something only where a text may have several labels.
    """

    name: str
    group: str
    about: str
    read: Callable[[SystemResults], float | None]
    show: Callable[[float], str] = share
    better: Literal["high", "low", "neither"] = "high"
    several: bool = False


def stated(*names: str) -> Callable[[SystemResults], float | None]:
    """A figure as ``metrics.json`` has it, under the first of these names."""
    return lambda system: system.figure(*names)


def or_else(
    first: Callable[[SystemResults], float | None], second: Callable[[SystemResults], float | None]
) -> Callable[..., Any]:
    """The first figure, or the second where the first is missing."""

    def read(system: SystemResults) -> float | None:
        found = first(system)
        return second(system) if found is None else found

    return read


def latency(quantile: float) -> Callable[[SystemResults], float | None]:
    """Milliseconds that texts took which were asked about one at a time; None where there were none."""

    def read(system: SystemResults) -> float | None:
        seconds = [answer.seconds for answer in system.run.rows if answer.alone]
        return 1000 * float(np.quantile(seconds, quantile)) if seconds else None

    return read


def invalid(system: SystemResults) -> float:
    """Share of texts with a problem instead of an answer."""
    return float(np.mean([answer.problem is not None for answer in system.run.rows]))


def abstained(system: SystemResults) -> float:
    """Share of texts that were answered with no label."""
    return float(np.mean([not answer.labels and answer.problem is None for answer in system.run.rows]))


def tokens(place: int) -> Callable[[SystemResults], float | None]:
    """Mean tokens a text: of the prompt, of these cached, or written; None where no language model was asked."""

    def read(system: SystemResults) -> float | None:
        used = np.array([astuple(row.usage) for row in system.run.rows], dtype=float)
        return float(used[:, place].mean()) if used.any() else None

    return read


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
        "micro-F1",
        QUALITY,
        "F1 over all decisions about a text and a label together: 2·TP / (2·TP + FP + FN). Common labels weigh most.",
        stated("micro-F1"),
    ),
    Column(
        "macro-F1",
        QUALITY,
        "Mean of the labels' own F1: every label weighs the same, the rare ones too.",
        stated("macro-F1"),
    ),
    Column(
        "precision",
        QUALITY,
        "Share of the given labels that are true, over all decisions (micro): TP / (TP + FP).",
        stated("micro-precision"),
    ),
    Column(
        "recall",
        QUALITY,
        "Share of the true labels that were given, over all decisions (micro): TP / (TP + FN).",
        stated("micro-recall"),
    ),
    Column("accuracy", QUALITY, "Share of texts whose label was found.", stated("accuracy")),
    Column("samples-F1", QUALITY, "Mean of the texts' own F1.", stated("samples-F1"), several=True),
    Column(
        "Jaccard",
        QUALITY,
        "Mean over texts of shared labels by all labels, |Y∩Ŷ| / |Y∪Ŷ|.",
        stated("Jaccard"),
        several=True,
    ),
    Column(
        "subset accuracy", QUALITY, "Share of texts whose set of labels was found exactly.", stated("subset accuracy")
    ),
    Column("AL-1", QUALITY, "Share of texts with at least one true label found.", stated("AL-1"), several=True),
    Column("AL-2", QUALITY, "Share of all texts with at least two true labels found.", stated("AL-2"), several=True),
    Column(
        "macro-AP",
        QUALITY,
        "Mean over labels of average precision, the area under the precision–recall curve. Needs no threshold.",
        stated("macro-AP"),
    ),
    Column(
        "LRAP",
        QUALITY,
        "Label ranking average precision: how far up the true labels stand.",
        stated("LRAP"),
        several=True,
    ),
    Column(
        "ECE",
        CALIBRATION,
        "Expected calibration error: how far scores, read as probabilities, lie from the share that is true (15 bins "
        "of equal mass, mean over labels).",
        stated("ECE"),
        better="low",
    ),
    Column(
        "Brier",
        CALIBRATION,
        "Mean squared distance between a score and the truth (0 or 1).",
        stated("Brier"),
        better="low",
    ),
    Column(
        "p50 ms",
        SPEED,
        "Milliseconds in which half of the texts were answered, asked one at a time.",
        or_else(stated("p50 ms"), latency(0.5)),
        quantity,
        "low",
    ),
    Column(
        "p95 ms",
        SPEED,
        "Milliseconds in which 95% of the texts were answered, asked one at a time.",
        or_else(stated("p95 ms"), latency(0.95)),
        quantity,
        "low",
    ),
    Column(
        "texts/s",
        SPEED,
        "Texts answered per second, in batches where the system takes them.",
        stated("texts/s"),
        quantity,
    ),
    Column(
        "peak MB", SPEED, "The most memory that the process held, in megabytes.", stated("peak MB"), quantity, "low"
    ),
    Column(
        "prompt tokens",
        COST,
        "Mean tokens of a prompt; what the server had cached is included.",
        tokens(0),
        quantity,
        "low",
    ),
    Column(
        "cached tokens",
        COST,
        "Mean tokens of a prompt that the server had computed before.",
        tokens(1),
        quantity,
        "neither",
    ),
    Column(
        "written tokens",
        COST,
        "Mean tokens written for a text.",
        tokens(2),
        quantity,
        "low",
    ),
    Column(
        "per 1,000",
        COST,
        "US dollars for a thousand texts at list prices.",
        stated("USD per 1,000"),
        money,
        "low",
    ),
    Column(
        "invalid",
        ANSWERS,
        "Share of texts that got a problem instead of an answer; they count as texts without labels.",
        or_else(stated("invalid"), invalid),
        percent,
        "low",
    ),
    Column(
        "abstained",
        ANSWERS,
        "Share of texts that were answered with no label at all.",
        or_else(stated("abstentions"), abstained),
        percent,
        "neither",
    ),
)
