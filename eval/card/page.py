"""A data card as one HTML page that loads nothing, and as its twin in Markdown."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from eval.card import svg
from eval.card.facts import QUANTILES, Facts
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
        facts=facts, svg=svg, names=names, quantile_heads=[_head(share) for share in QUANTILES],
        label_rows=[(name, sum(facts.labels[name].values())) for name in names], told=_told(facts),
    )  # fmt: skip


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
