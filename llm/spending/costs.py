"""Token counts and prices: of answers, and of texts before a language model is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llm.backends.backend import Conversation, CountingBackend
from llm.backends.token_tree import common_length
from llm.classifier import MOST_EXPLAINED, Usage
from llm.language_model import LanguageModel
from llm.spending.rehearsal import Rehearsed
from llm.wrappers.fusion import JOIN
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_PRICES = Path(__file__).parent / "prices.yaml"
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MILLION = 1_000_000
CHARS_PER_TOKEN = 4  # English, roughly, in the tokenizers in use
_QUOTE_TOKENS = 40  # of a quote, roughly: a sentence


class Price(NamedTuple):
    """US dollars per million tokens; ``cached`` is for prompt tokens in the endpoint's prefix cache."""

    prompt: float
    cached: float
    completion: float


@cache
def prices() -> dict[str, Price]:
    """The price of each model in ``prices.yaml``."""
    return {model: Price(**price) for model, price in yaml.safe_load(_PRICES.read_text(encoding="utf-8")).items()}


def price_of(model: str) -> Price | None:
    """The price of a model, the first one of a fusion; None where it is not known.

    ``openai/gpt-4o-2024-08-06`` has the price of ``gpt-4o`` unless that version has one of its own.
    """
    name = model.partition(JOIN)[0].rpartition("/")[2]
    return prices().get(name) or prices().get(_DATE.sub("", name))


def cost(model: str, usage: Usage) -> float | None:
    """US dollars for those tokens; None where the price of the model is not known."""
    price = price_of(model)
    if price is None:
        return None
    uncached = usage.prompt_tokens - usage.cached_tokens
    total = uncached * price.prompt + usage.cached_tokens * price.cached + usage.completion_tokens * price.completion
    return total / _MILLION


@dataclass(frozen=True)
class Preview:
    """Estimated cost of classifying some texts."""

    requests: int  # number of requests
    prompt_tokens: int  # of all requests together
    shared_tokens: int  # prompt tokens that repeat the beginning of an earlier request; a prefix cache skips them
    written_tokens: int  # maximum of tokens that the model writes, roughly
    counted: bool  # whether the endpoint counted the prompts; otherwise they are estimated from their length
    usd: float | None  # price without a prefix cache; None where the model's price is not known
    usd_cached: float | None  # price where every shared token is in the prefix cache

    def scaled(self, factor: float) -> Preview:
        """The cost of ``factor`` times as many texts."""
        counts = ("requests", "prompt_tokens", "shared_tokens", "written_tokens")
        found: dict[str, Any] = {name: round(getattr(self, name) * factor) for name in counts}
        if self.usd is not None and self.usd_cached is not None:
            found |= {"usd": self.usd * factor, "usd_cached": self.usd_cached * factor}
        return replace(self, **found)


def preview(model: LanguageModel, rehearsed: Sequence[Rehearsed]) -> Preview:
    """Tokens and price of requests that were not sent (``llm.spending.rehearsal``)."""
    requests = [one.conversations for one in rehearsed]
    firsts = [conversations[0] for conversations in requests]
    counted = model.backend.count(firsts) if isinstance(model.backend, CountingBackend) and firsts else None
    sizes = [len(_content(first)) for first in firsts]
    tokens = counted or [round(size / CHARS_PER_TOKEN) for size in sizes]
    prompt = sum(size * len(questions) for size, questions in zip(tokens, requests, strict=True))
    per_char = sum(tokens) / max(1, sum(sizes))
    shared = min(prompt, round(per_char * _shared_chars(requests)))
    written = sum(model.strategy_for(one.taxonomy).output_tokens(one.taxonomy) for one in rehearsed)
    return Preview(
        requests=sum(map(len, requests)),
        prompt_tokens=prompt,
        shared_tokens=shared,
        written_tokens=written,
        counted=counted is not None,
        usd=cost(model.name, Usage(prompt, 0, written)),
        usd_cached=cost(model.name, Usage(prompt, shared, written)),
    )


def with_quotes(found: Preview, model: str, texts: Sequence[Text], taxonomy: Taxonomy) -> Preview:
    """The estimate with the quotes of evidence: a request for each label that a text may have, of 40 tokens written."""
    from llm.evidence.quotes import QuoteRequest, conversation

    labels = taxonomy.predictable[: min(MOST_EXPLAINED, taxonomy.max_labels)]
    requests = [[conversation(QuoteRequest(text, label)) for label in labels] for text in texts if not text.empty]
    chars = sum(len(_content(question)) for questions in requests for question in questions)
    prompt = found.prompt_tokens + round(chars / CHARS_PER_TOKEN)
    shared = found.shared_tokens + round(_shared_chars(requests) / CHARS_PER_TOKEN)
    quotes = sum(map(len, requests))
    written = found.written_tokens + _QUOTE_TOKENS * quotes
    return Preview(
        requests=found.requests + quotes,
        prompt_tokens=prompt,
        shared_tokens=shared,
        written_tokens=written,
        counted=False,
        usd=cost(model, Usage(prompt, 0, written)),
        usd_cached=cost(model, Usage(prompt, shared, written)),
    )


def _shared_chars(requests: Sequence[Sequence[Conversation]]) -> int:
    """Number of leading characters that requests share with an earlier one.

    These are the static part and the examples from the second text on, and the text from its second question on.
    """
    seen: set[str] = set()
    shared = 0
    for conversations in requests:
        previous = ""
        for conversation in conversations:
            content = _content(conversation)
            beginnings = list(accumulate(message["content"] for message in conversation[:-1]))
            known = max((len(beginning) for beginning in beginnings if beginning in seen), default=0)
            shared += max(known, common_length(previous, content))
            seen.update(beginnings)
            previous = content
    return shared


def _content(conversation: Conversation) -> str:
    return "".join(message["content"] for message in conversation)
