"""A cap on what a run spends: before each batch it is checked that the rest of the cap pays for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm.classifier import Usage, total_usage
from llm.spending.costs import Preview, cost
from prompts.errors import InvalidSetting

_MARGIN = 1.1  # texts of the next batch may be longer than those before


@dataclass
class SpendCap:
    """Maximum of a run's cost and tokens, over all processes and systems of the run.

    Attributes:
        usd: US dollars; None: no maximum.
        tokens: prompt and completion tokens, cached ones included; None: no maximum.
        in_python: whether it is that of ``marquee.evaluate``, for messages.
        spent_usd: spent so far.
        spent_tokens: used so far.
    """

    usd: float | None
    tokens: int | None
    in_python: bool = False
    spent_usd: float = 0.0
    spent_tokens: int = 0

    @classmethod
    def of(cls, usd: float | None, tokens: int | None, in_python: bool = False) -> SpendCap | None:
        """The cap; None where none is given."""
        return None if usd is None and tokens is None else cls(usd, tokens, in_python)

    def meter(self, system: str, model: str, estimate: Callable[[], tuple[Preview, int]]) -> SpendMeter:
        """What a system spends of this cap.

        Args:
            system: its name, for messages.
            model: name of its language model, for the price.
            estimate: returns the cost of some texts, and their number; called if nothing was measured yet.

        Raises:
            InvalidSetting: the cap is a cost, and the model has no price.
        """
        if self.usd is not None and cost(model, Usage()) is None:
            lacking = f"no price in llm/spending/prices.yaml ({model})" if model else "no price without MARQUEE_MODEL"
            raise InvalidSetting(f"{self}: {system} has {lacking}; give {self._option('tokens')} alone")
        return SpendMeter(self, model, estimate)

    def left(self, spent: Spent) -> bool:
        """Whether the rest pays for this."""
        return (self.usd is None or self.spent_usd + spent.usd <= self.usd) and (
            self.tokens is None or self.spent_tokens + spent.tokens <= self.tokens
        )

    def covered(self, each: Spent, texts: int) -> int:
        """How many of the texts the rest pays for."""
        usd = texts if self.usd is None or not each.usd else int((self.usd - self.spent_usd) / each.usd)
        tokens = (
            texts if self.tokens is None or not each.tokens else int((self.tokens - self.spent_tokens) / each.tokens)
        )
        return max(0, min(texts, usd, tokens))

    def __str__(self) -> str:
        given = {"cost": self.usd, "tokens": self.tokens}
        parts = (f"{self._option(name)} {value:.15g}" for name, value in given.items() if value is not None)
        return " and ".join(parts)

    def _option(self, name: str) -> str:
        return f"max_{name}" if self.in_python else f"--max-{name}"


@dataclass(frozen=True)
class Spent:
    """US dollars (0 without a price) and tokens."""

    usd: float
    tokens: int | float

    @classmethod
    def of(cls, model: str, usage: Usage) -> Spent:
        return cls(cost(model, usage) or 0.0, usage.prompt_tokens + usage.completion_tokens)

    @classmethod
    def estimated(cls, preview: Preview) -> Spent:
        """The estimate without a prefix cache."""
        return cls(preview.usd or 0.0, preview.prompt_tokens + preview.written_tokens)

    def times(self, factor: float) -> Spent:
        return Spent(self.usd * factor, self.tokens * factor)


class SpendMeter:
    """What one system spends of a cap. Made by ``SpendCap.meter``.

    A batch is expected to cost a tenth more per text than the most expensive batch before it. Only a batch above that
    exceeds the cap. The first batch is estimated.
    """

    def __init__(self, cap: SpendCap, model: str, estimate: Callable[[], tuple[Preview, int]]) -> None:
        self.cap = cap
        self._model, self._estimate = model, estimate
        self._each: Spent | None = None

    def start(self, usage: Usage, texts: int) -> None:
        """Count what earlier processes of this run spent on so many texts."""
        self.add([usage], texts)

    def add(self, usages: Sequence[Usage], texts: int | None = None) -> None:
        """Count the tokens of a batch; of ``texts`` texts, or of one per usage."""
        spent = Spent.of(self._model, total_usage(usages))
        self.cap.spent_usd += spent.usd
        self.cap.spent_tokens += int(spent.tokens)
        if spent.tokens and (count := len(usages) if texts is None else texts):
            each, most = spent.times(1 / count), self._each or Spent(0.0, 0)
            self._each = Spent(max(each.usd, most.usd), max(each.tokens, most.tokens))

    def fits(self, texts: int) -> bool:
        """Whether the rest of the cap pays for so many more texts."""
        return self.cap.left(self._expected(texts))

    def refusal(self, texts: int) -> str:
        """Why a batch of so many texts was not sent, and what to do."""
        cap, next_batch = self.cap, self._expected(texts)
        costs = f" and {cap.spent_usd:.4f} USD" if cap.usd is not None else ""
        takes = f" and {next_batch.usd:.4f} USD" if cap.usd is not None else ""
        remedy = (
            "evaluate again with a higher one: what the answer cache has costs nothing"
            if cap.in_python
            else "finished answers are kept: the same command with a higher cap, or without one, resumes here"
        )
        return (
            f"stopped at {cap}: {cap.spent_tokens:,} tokens{costs} are spent, and the next {texts:,} texts may take "
            f"{round(next_batch.tokens):,} tokens{takes}; {remedy}"
        )

    def _expected(self, texts: int) -> Spent:
        if self._each is None:
            preview, sample = self._estimate()
            self._each = Spent.estimated(preview).times(1 / max(1, sample))
        return self._each.times(texts * _MARGIN)
