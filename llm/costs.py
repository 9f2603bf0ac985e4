"""What tokens cost, for models whose price is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import yaml

from llm.backends.backend import Conversation, CountingBackend
from llm.classifier import Usage
from llm.language_model import LanguageModel
from prompts.taxonomy import Taxonomy
from prompts.text import Text

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


_CHARS_PER_TOKEN = 4  # English, roughly, in the tokenizers in use


@dataclass(frozen=True)
class Preview:
    """What some texts would take.

    Attributes:
        requests: how many would be sent.
        prompt_tokens: of all requests together.
        shared_tokens: of them, those that stood at the front of an earlier request too, so that a server with a prefix
            cache need not compute them again.
        written_tokens: that the model would write, at most, roughly.
        counted: whether the endpoint counted the prompts; else they are estimated from their length.
        usd: price where no prompt is found in the cache; None where the model's price is not known.
        usd_cached: price where every shared part is.
    """

    requests: int
    prompt_tokens: int
    shared_tokens: int
    written_tokens: int
    counted: bool
    usd: float | None
    usd_cached: float | None


def preview(model: LanguageModel, texts: Sequence[Text], taxonomy: Taxonomy, orders: int = 1) -> Preview:
    """Tokens and money that a language model would take, without letting it read a text.

    Args:
        model: who would be asked.
        texts: what it would be asked about; empty ones are not sent.
        taxonomy: the taxonomy.
        orders: how many orders of the taxonomy each text would be asked under.
    """
    asked = [model.conversations(text, taxonomy) for text in texts if not text.empty]
    firsts = [conversations[0] for conversations in asked]
    counted = model.backend.count(firsts) if isinstance(model.backend, CountingBackend) and firsts else None
    sizes = [len(_words(first)) for first in firsts]
    tokens = counted or [round(size / _CHARS_PER_TOKEN) for size in sizes]
    prompt = orders * sum(one * len(some) for one, some in zip(tokens, asked, strict=True))
    per_char = sum(tokens) / max(1, sum(sizes))
    shared = min(prompt, round(orders * per_char * _shared_chars(asked)))
    written = orders * len(asked) * _WRITTEN[model.strategy_name(taxonomy)](taxonomy)
    dear, cheap = Usage(prompt, 0, written), Usage(prompt, shared, written)
    requests = orders * sum(map(len, asked))
    return Preview(
        requests, prompt, shared, written, counted is not None, cost(model.name, dear), cost(model.name, cheap)
    )


def _shared_chars(asked: Sequence[Sequence[Conversation]]) -> int:
    """Number of leading characters that requests share with an earlier one.

    That is the static part and the examples for every text but the first, and the text itself from its second question
    on.
    """
    seen: set[str] = set()
    shared = 0
    for conversations in asked:
        before = ""
        for conversation in conversations:
            words = _words(conversation)
            beginnings = list(accumulate(message["content"] for message in conversation[:-1]))
            known = max((len(beginning) for beginning in beginnings if beginning in seen), default=0)
            shared += max(known, _common(before, words))
            seen.update(beginnings)
            before = words
    return shared


def _common(first: str, second: str) -> int:
    """Characters at the front that two strings share."""
    least = min(len(first), len(second))
    return next((place for place in range(least) if first[place] != second[place]), least)


def _words(conversation: Conversation) -> str:
    return "".join(message["content"] for message in conversation)


# Tokens that an answer about one text takes, by strategy; a label is some four tokens with its quotes and comma.
_WRITTEN: Mapping[str, Callable[[Taxonomy], int]] = {
    "json_list": lambda taxonomy: 4 + 4 * min(taxonomy.max_labels, len(taxonomy.names)),
    "label_tokens": lambda taxonomy: 1,
    "yes_no": lambda taxonomy: len(taxonomy.names),
    "decisions_api": lambda taxonomy: 0,
}
