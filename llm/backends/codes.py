"""Codes as next tokens: which token text means which code, and when the codes have too little probability to be read.

Tokenizers write the same code in several ways: ``A``, a leading space (`` A``, SentencePiece ``▁A``, byte-level BPE
``ĠA``), a leading line break (``ĊA``), another case. Their probabilities belong together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from llm.backends.backend import TokenLogprobs
from llm.classifier import Problem

Token = TypeVar("Token", str, int)

LEAST_MASS = 0.3
"""Least probability that all codes together must have.

Measured (``eval/RESULTS.md``): a model that answers with a code gives them 0.9 or more; one that starts with other
words gives 18 letters up to 0.21.
"""

_FLOOR = -9999.0  # vLLM's figure for "less than can be said"
_AROUND = " \t\r\n\u00a0\u2581\u0120\u010a\u0109\"'`*_.,:;()[]{}"  # ▁ Ġ Ċ ĉ are spaces, line breaks and tabs
_FULL_WIDTH = {place: place - 0xFEE0 for place in range(0xFF01, 0xFF5F)}
_LONGEST_SHOWN = 40


def code_of(token: str, codes: Sequence[str]) -> str | None:
    """The code that a token's text means; None where it means none or more than one.

    >>> code_of("\u2581A", "AB"), code_of("b", "AB"), code_of("b", "ABab"), code_of("Okay", "AB")
    ('A', 'B', 'b', None)
    """
    spelt = token.strip(_AROUND).translate(_FULL_WIDTH).strip(_AROUND)
    exact, folded = _by_spelling(tuple(codes))
    return spelt if spelt in exact else folded.get(spelt.casefold())


def from_top_tokens(
    top_tokens: Iterable[tuple[str, float]], codes: Sequence[str], code_by_token: Mapping[str, str] | None = None
) -> TokenLogprobs:
    """Read the codes out of the most probable next tokens.

    Args:
        top_tokens: token texts and natural logarithms of their probabilities; at least one.
        codes: what to look for.
        code_by_token: the code of each token that is one; by default tokens are read by ``code_of``.

    Returns:
        The codes' log-probabilities. A code that is not among the tokens gets a bound: the highest figure that one of
        its spellings can have, which is no more than the least likely token and no more than what all of them leave.
    """
    found: dict[str, float] = {}
    for token, logprob in top_tokens:
        found[token] = max(logprob, found.get(token, -math.inf))
    meaning = {token: code_of(token, codes) for token in found} if code_by_token is None else code_by_token
    given = by_code(found, meaning)
    rest = 1 - sum(map(math.exp, found.values()))
    least = min(*found.values(), math.log(rest) if rest > 0 else _FLOOR)
    logprobs = {code: given.get(code, max(_FLOOR, least)) for code in codes}
    said = max(found, key=lambda token: found[token])
    return TokenLogprobs(logprobs, frozenset(code for code in codes if code not in given), said=said)


def by_code(logprobs: Mapping[Token, float], codes: Mapping[Token, str | None]) -> dict[str, float]:
    """The log-probability of each code: that of all its tokens together.

    Args:
        logprobs: natural logarithm of the probability of each token, -9999 for less than that.
        codes: the code of each token; tokens without one are left out.
    """
    found: dict[str, list[float]] = {}
    for token, logprob in logprobs.items():
        if code := codes.get(token):
            found.setdefault(code, []).append(logprob)
    return {code: _sum(some) for code, some in found.items()}


def mass(weighing: TokenLogprobs) -> float:
    """The probability of all codes together, those left out that the backend gave only bounds for."""
    known = (logprob for code, logprob in weighing.logprobs.items() if code not in weighing.bounds)
    return min(1.0, sum(map(math.exp, known)))


def unreadable(weighing: TokenLogprobs) -> Problem | None:
    """Why the codes' probabilities are no answer; None where they are one.

    The judgement of every strategy that reads codes, and of a capability check with a known answer.
    """
    if (found := mass(weighing)) >= LEAST_MASS:
        return None
    named = list(weighing.logprobs)
    shown = ", ".join(named[:3]) + (" …" if len(named) > 3 else "")
    codes = f"the codes asked for ({shown}) have {found:.1%} of the probability"
    said = weighing.said if len(weighing.said) <= _LONGEST_SHOWN else weighing.said[:_LONGEST_SHOWN] + "…"
    start = f"the model starts its answer with {said!r}" if said else "the model starts its answer with something else"
    remedy = "if it is a reasoning model, switch its thinking off; or choose the strategy json_list"
    return Problem("unreadable", f"{start}, and {codes}; {remedy}")


@lru_cache(256)
def _by_spelling(codes: tuple[str, ...]) -> tuple[frozenset[str], Mapping[str, str]]:
    """The codes, and each one by its folded spelling where no other code folds to the same."""
    folded = [code.casefold() for code in codes]
    return frozenset(codes), {one: code for one, code in zip(folded, codes, strict=True) if folded.count(one) == 1}


def _sum(logprobs: Sequence[float]) -> float:
    """The logarithm of the sum of probabilities, exact for those as small as the floor."""
    highest = max(logprobs)
    if highest <= _FLOOR or len(logprobs) == 1:
        return min(0.0, max(_FLOOR, highest))
    return min(0.0, highest + math.log(sum(math.exp(logprob - highest) for logprob in logprobs)))
