"""The options ``--max-cost`` and ``--max-tokens``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.arguments import collected

if TYPE_CHECKING:
    from llm.spending.costs import Preview
    from llm.spending.spend_cap import SpendCap


@dataclass(frozen=True)
class SpendOptions:
    """The maximum of a run's cost in US dollars, and of its tokens."""

    max_cost: float | None
    max_tokens: int | None

    def cap(self) -> SpendCap | None:
        """The cap; None where none is given."""
        from llm.spending.spend_cap import SpendCap

        return SpendCap.of(self.max_cost, self.max_tokens)


spend_options = collected(
    SpendOptions,
    "spending",
    click.option(
        "--max-cost", type=click.FloatRange(0), help="Stop before the run has cost so many US dollars; resumable."
    ),
    click.option(
        "--max-tokens", type=click.IntRange(0), help="Stop before the run has used so many tokens; resumable."
    ),
)


def covered_texts(cap: SpendCap, preview: Preview | None, texts: int) -> int:
    """How many texts the rest of the cap pays for, by an estimate of all of them."""
    from llm.spending.spend_cap import Spent

    return cap.covered(Spent.estimated(preview).times(1 / texts), texts) if preview and texts else texts


def covered_line(cap: SpendCap, preview: Preview | None, texts: int) -> str:
    """The same in words."""
    if preview is None:
        return f"{cap}: costs nothing"
    covered = covered_texts(cap, preview, texts)
    return (
        f"{cap}: enough for all {texts:,} texts" if covered == texts else f"{cap}: stops after about {covered:,} texts"
    )
