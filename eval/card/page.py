"""A data card as one HTML page that loads nothing, and as its twin in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from eval.card.facts import QUANTILES, Facts, FrequentLabels
from eval.report import charts
from prompts.files import write_text_atomically

_FOLDER = Path(__file__).parent


def write(facts: Facts, page: Path) -> tuple[Path, Path]:
    """Write a card to ``page`` and its twin beside it under ``.md``; returns both paths."""
    twin = page.with_suffix(".md")
    page = page.with_suffix(".html") if page == twin else page
    write_text_atomically(page, _rendered("card.html.jinja", facts))
    write_text_atomically(twin, _rendered("card.md.jinja", facts))
    return page, twin


def _rendered(template: str, facts: Facts) -> str:
    shelf = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = list(facts.labels)
    return shelf.get_template(template).render(
        facts=facts, charts=charts, kept=kept_chart(facts.kept), names=names,
        quantile_heads=[_head(share) for share in QUANTILES],
        label_rows=[(name, sum(facts.labels[name].values())) for name in names], told=_told(facts),
    )  # fmt: skip


def kept_chart(points: Sequence[FrequentLabels]) -> Markup:
    """Share of the examples that keep a label, against the minimum label frequency on a logarithmic scale."""
    least, most = points[0].minimum, max(points[-1].minimum, points[0].minimum + 1)

    def across(minimum: int) -> float:
        return log10(minimum / least) / log10(most / least)

    x_ticks = [(across(tick), f"{tick:,}") for tick in _ticks(least, most)]
    y_ticks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    title = "Examples kept against the minimum label frequency"
    frame = charts.Frame(charts.WIDTH, 214, title, x_ticks=x_ticks, y_ticks=y_ticks, left=44, right=24)
    said = [
        f"at least {one.minimum:,} examples a label: {one.labels} labels, {one.share:.1%} of the examples"
        for one in points
    ]
    places = [(across(one.minimum), one.share) for one in points]
    return charts.lines(frame, [charts.Line("", 0, places, [3.5] * len(points), said)])


def _ticks(least: int, most: int) -> list[int]:
    """Round numbers from the least to the most: 1, 2 and 5 times the powers of ten."""
    powers = (10**power for power in range(int(log10(most)) + 1))
    return [tick for power in powers for tick in (power, 2 * power, 5 * power) if least <= tick <= most]


def _head(share: float) -> str:
    return {0.0: "shortest", 0.5: "median", 1.0: "longest"}.get(share, f"{share:.0%}")


def _told(facts: Facts) -> list[str]:
    """What to beware of, in sentences."""
    incomplete, truncated = sum(facts.incomplete.values()), sum(facts.truncated.values())
    said = [
        (facts.astride, "groups of one film stand on more than one side of the split: what is learnt can leak"),
        (facts.descriptions.examples, f"examples share {facts.descriptions.kinds:,} descriptions"),
        (facts.films.examples, f"examples share {facts.films.kinds:,} pairs of title and year"),
        (truncated, "texts break off"),
        (incomplete, "examples have incomplete labels: a missing label is unknown there, not false"),
    ]
    return [f"{count:,} {words}" for count, words in said if count]
