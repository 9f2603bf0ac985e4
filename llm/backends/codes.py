"""Codes as next tokens: which tokens mean which code, and when the codes have too little probability for an answer.

Tokenizers write the same code in several ways: ``A``, a leading space (`` A``, SentencePiece ``▁A``, byte-level BPE
``ĠA``), a leading line break (``ĊA``), another case. A model may write any of them; their probabilities are added.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from llm.backends.backend import TokenLogprobs
from llm.classifier import Problem
from prompts.errors import InvalidSetting

AnyToken = TypeVar("AnyToken", str, int)
Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]

# Minimum probability of all codes together. Measured (``eval/EXPERIMENTS.md``): a model that answers with a code gives
# them 0.9 or more; one that starts with other words gives 18 letters up to 0.21.
LEAST_MASS = 0.3
_FLOOR = -9999.0  # vLLM's value for a probability too small to represent
_IGNORED = " \t\r\n\u00a0\u2581\u0120\u010a\u0109\"'`*_.,:;()[]{}"  # ▁ Ġ Ċ ĉ are spaces, line breaks and tabs
_FULL_WIDTH = {char: char - 0xFEE0 for char in range(0xFF01, 0xFF5F)}
_TOKEN_CHARS = 40
_LINE_BREAK = "\n"  # SentencePiece puts a space before the first word of a text, but none after a line break
_PREFIXES = ("", _LINE_BREAK, " ")


def code_of(token: str, codes: Sequence[str]) -> str | None:
    """The code that a token's text means; None for no code or more than one.

    >>> code_of("\u2581A", "AB"), code_of("b", "AB"), code_of("b", "ABab"), code_of("Okay", "AB")
    ('A', 'B', 'b', None)
    """
    spelling = token.strip(_IGNORED).translate(_FULL_WIDTH).strip(_IGNORED)
    exact, folded = _by_spelling(tuple(codes))
    return spelling if spelling in exact else folded.get(spelling.casefold())


def from_top_tokens(
    top_tokens: Iterable[tuple[str, float]], codes: Sequence[str], code_by_token: Mapping[str, str] | None = None
) -> TokenLogprobs:
    """Log-probabilities of codes from the most probable next tokens (at least one) and their log-probabilities.

    ``code_by_token`` has the code of each token that is one; None applies ``code_of``. A code that is not among the
    tokens gets an upper bound: the smaller of the least probable token and the probability that all tokens leave.
    """
    logprobs: dict[str, float] = {}
    for token, logprob in top_tokens:
        logprobs[token] = max(logprob, logprobs.get(token, -math.inf))
    meaning = {token: code_of(token, codes) for token in logprobs} if code_by_token is None else code_by_token
    found = by_code(logprobs, meaning)
    bound = bound_below(logprobs.values())
    missing = frozenset(code for code in codes if code not in found)
    top_token = max(logprobs, key=lambda token: logprobs[token])
    return TokenLogprobs({code: found.get(code, bound) for code in codes}, missing, top_token)


def bound_below(logprobs: Collection[float]) -> float:
    """Upper bound for a token that is not among the most probable ones, from the log-probabilities of those."""
    rest = 1 - sum(map(math.exp, logprobs))
    return max(_FLOOR, min(*logprobs, math.log(rest) if rest > 0 else _FLOOR))


def by_code(logprobs: Mapping[AnyToken, float], codes: Mapping[AnyToken, str | None]) -> dict[str, float]:
    """The log-probability of each code: that of all its tokens together. Tokens without a code are ignored."""
    grouped: dict[str, list[float]] = {}
    for token, logprob in logprobs.items():
        if code := codes.get(token):
            grouped.setdefault(code, []).append(logprob)
    return {code: _log_sum(group) for code, group in grouped.items()}


def probability_mass(result: TokenLogprobs) -> float:
    """The probability of all codes together, without codes that have only a bound."""
    known = (logprob for code, logprob in result.logprobs.items() if code not in result.bounds)
    return min(1.0, sum(map(math.exp, known)))


def unreadable(result: TokenLogprobs, least: float | None = None) -> Problem | None:
    """Why the codes' probabilities are no answer; None if they are one. Used by strategies and capability checks."""
    if (mass := probability_mass(result)) >= (LEAST_MASS if least is None else least):
        return None
    names, token = list(result.logprobs), result.top_token
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    start = repr(token if len(token) <= _TOKEN_CHARS else token[:_TOKEN_CHARS] + "…") if token else "something else"
    return Problem(
        "unreadable",
        f"the model starts its answer with {start}, and the possible answers ({shown}) have {mass:.1%} of the "
        "probability; if it is a reasoning model, switch its thinking off; or choose the strategy json_list",
    )


@lru_cache(256)
def _by_spelling(codes: tuple[str, ...]) -> tuple[frozenset[str], Mapping[str, str]]:
    """The codes, and each code by its case-folded spelling if no other code folds to the same."""
    folded = [code.casefold() for code in codes]
    return frozenset(codes), {key: code for key, code in zip(folded, codes, strict=True) if folded.count(key) == 1}


def _log_sum(logprobs: Sequence[float]) -> float:
    """The logarithm of the sum of probabilities, exact down to the floor."""
    highest = max(logprobs)
    if highest <= _FLOOR or len(logprobs) == 1:
        return min(0.0, max(_FLOOR, highest))
    return min(0.0, highest + math.log(sum(math.exp(logprob - highest) for logprob in logprobs)))


class CodeTokens:
    """Token ids of codes, for backends that return the log-probabilities of requested ids, at most ``limit``.

    ``tokenize`` is without special tokens; a negative id is the unknown token.
    """

    def __init__(self, tokenize: Tokenize, limit: int = sys.maxsize) -> None:
        self._tokenize, self._limit = tokenize, limit
        self._cached: dict[tuple[str, ...], Mapping[int, str]] = {}

    def of(self, codes: Sequence[str], model: str) -> Mapping[int, str]:
        """The code of each token id; every code has at least one id. Each set of codes is tokenized once.

        Spellings are added one kind at a time (another space, another case). The first kind that exceeds the limit is
        omitted for all codes, so that no code has an advantage.

        Raises:
            InvalidSetting: a code has no token of its own.
        """
        key = tuple(codes)
        if key not in self._cached:
            self._cached[key] = self._find(key, model)
        return self._cached[key]

    def cached(self, codes: Sequence[str]) -> Mapping[int, str] | None:
        """The same without tokenizing; None for codes that were not looked up yet."""
        return self._cached.get(tuple(codes))

    def _find(self, codes: Sequence[str], model: str) -> dict[int, str]:
        kinds = list(_spellings(codes))
        tokens = self._single_tokens(chain.from_iterable(kind.values() for kind in kinds))
        ids = _exact_ids(codes, kinds[: len(_PREFIXES)], tokens)
        for code in codes:
            if code not in ids.values():
                raise InvalidSetting(
                    f"the code {code!r} is not a single token of {model}; choose the strategy json_list"
                )
        for kind in kinds:
            added = {tokens[text]: code for code, text in kind.items() if text in tokens}
            if len(ids.keys() | added.keys()) > self._limit:
                break
            for token, code in added.items():
                ids.setdefault(token, code)
        return ids

    def _single_tokens(self, texts: Iterable[str]) -> dict[str, int]:
        """The id of each text that is one token, not counting a line break before it."""
        texts = list(dict.fromkeys(texts))
        line_break, *tokenized = map(list, self._tokenize([_LINE_BREAK, *texts]))
        tokens = {}
        for text, ids in zip(texts, tokenized, strict=True):
            if text.startswith(_LINE_BREAK):
                ids = ids[len(line_break) :] if ids[: len(line_break)] == line_break else []
            if len(ids) == 1 and ids[0] >= 0:
                tokens[text] = ids[0]
        return tokens


def encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts from a ``transformers`` tokenizer, as ``CodeTokens`` takes them."""
    unknown = tokenizer.unk_token_id
    tokenized = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return [[-1 if token == unknown else int(token) for token in ids] for ids in tokenized]


def _spellings(codes: Sequence[str]) -> Iterator[dict[str, str]]:
    """The text of each code, one kind of spelling at a time: first the exact code, then other cases."""
    for prefix in _PREFIXES:
        yield {code: prefix + code for code in codes}
    for case in (str.lower, str.upper, str.capitalize):
        for prefix in _PREFIXES:
            yield {code: prefix + case(code) for code in codes if code_of(case(code), codes) == code}


def _exact_ids(codes: Sequence[str], kinds: Sequence[Mapping[str, str]], tokens: Mapping[str, int]) -> dict[int, str]:
    """One id for each code that is a single token in its exact spelling. An id of two codes counts for the first."""
    ids: dict[int, str] = {}
    for code in codes:
        token = next((tokens[kind[code]] for kind in kinds if kind[code] in tokens), None)
        if token is not None:
            ids.setdefault(token, code)
    return ids
