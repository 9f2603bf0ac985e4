"""What tokens cost, for models whose price is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from llm.classifier import Usage

_PRICES = Path(__file__).parent / "prices.yaml"
_MILLION = 1_000_000


class Price(NamedTuple):
    """US dollars per million tokens; ``cached`` is the part of the prompt that the endpoint had computed before."""

    prompt: float
    cached: float
    completion: float


@cache
def prices() -> dict[str, Price]:
    """The price of each model in ``prices.yaml``."""
    return {model: Price(**price) for model, price in yaml.safe_load(_PRICES.read_text(encoding="utf-8")).items()}


def cost(model: str, usage: Usage) -> float | None:
    """US dollars for those tokens; None where the model's price is not known."""
    price = prices().get(model)
    if price is None:
        return None
    fresh = usage.prompt_tokens - usage.cached_tokens
    dear = fresh * price.prompt + usage.cached_tokens * price.cached + usage.completion_tokens * price.completion
    return dear / _MILLION
