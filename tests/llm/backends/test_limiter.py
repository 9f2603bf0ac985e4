"""How the bound on requests under way moves: up fast until the endpoint first pushes back, then slowly."""

import asyncio

from llm.backends.concurrency import ConcurrencyLimiter


async def replies(limiter: ConcurrencyLimiter, count: int) -> None:
    for _ in range(count):
        async with limiter.acquire():
            pass


def with_steady_latency(most: int) -> ConcurrencyLimiter:
    limiter = ConcurrencyLimiter(most)
    limiter._record = lambda seconds, took=limiter._record: took(0.1)  # type: ignore[method-assign,misc]
    return limiter


def test_the_bound_doubles_with_every_round_of_replies_at_first() -> None:
    limiter = with_steady_latency(64)
    bounds = []
    for _ in range(4):
        bounds.append(limiter.limit)
        asyncio.run(replies(limiter, limiter.limit))
    assert bounds == [8, 16, 32, 64]
    assert limiter.limit == 64


def test_after_a_push_back_it_rises_by_one_a_round() -> None:
    limiter = with_steady_latency(64)
    asyncio.run(replies(limiter, 24))
    limiter.push_back()
    cut = limiter.limit
    assert cut == 22
    asyncio.run(replies(limiter, cut))
    assert limiter.limit in (cut, cut + 1)
