"""The options ``--max-cost`` and ``--max-tokens``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from cli.arguments import collected

if TYPE_CHECKING:
    from eval.run import System
    from llm.spending.costs import Preview
    from llm.spending.spend_cap import SpendCap, SpendMeter
    from prompts.text import Text

_SAMPLE = 200  # texts whose cost is estimated


@dataclass(frozen=True)
class SpendOptions:
    """The maximum of a run's cost in US dollars, and of its tokens."""

    max_cost: float | None
    max_tokens: int | None

    def cap(self) -> SpendCap | None:
        """The cap; None where none is given."""
        from llm.spending.spend_cap import SpendCap

        given = self.max_cost is not None or self.max_tokens is not None
        return SpendCap(self.max_cost, self.max_tokens) if given else None


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


def meter_of(cap: SpendCap, system: System, texts: Sequence[Text]) -> SpendMeter | None:
    """What a system spends of the cap; None where it costs nothing.

    Args:
        cap: the cap.
        system: the system.
        texts: some texts, from which the cost of the first batch is estimated.

    Raises:
        InvalidSetting: what the system spends cannot be known.
    """
    from prompts.errors import InvalidSetting

    if system.spec.startswith("service:"):
        raise InvalidSetting(f"{cap}: {system.spec} does not report its tokens; run the command where the model is set")
    if system.preview is None:
        return None
    preview, sample = system.preview, texts[:_SAMPLE]
    return cap.meter(system.spec, str(system.setup.get("model", "")), lambda: (preview(sample), len(sample)))


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
