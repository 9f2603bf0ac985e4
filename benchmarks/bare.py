"""The limit to compare with: a bare loop that sends bodies and decodes replies, without retries, limiter or checks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx2

_SECONDS = 300.0

Body = Mapping[str, Any]


def send(url: str, api_key: str, bodies: Sequence[Body], workers: int) -> list[dict[str, Any]]:
    """Post every body; the replies in their order.

    Args:
        url: where to.
        api_key: the endpoint's key.
        bodies: what to send.
        workers: how many requests are under way at once.
    """
    return asyncio.run(_send(url, api_key, bodies, workers))


async def _send(url: str, api_key: str, bodies: Sequence[Body], workers: int) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] = [{} for _ in bodies]
    limits = httpx2.Limits(max_connections=workers, max_keepalive_connections=workers)
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=_SECONDS, limits=limits) as client:
        turns = iter(enumerate(bodies))
        await asyncio.gather(*(_work(client, url, turns, replies) for _ in range(workers)))
    return replies


async def _work(
    client: httpx2.AsyncClient, url: str, turns: Iterator[tuple[int, Body]], replies: list[dict[str, Any]]
) -> None:
    for place, body in turns:
        reply = await client.post(url, json=body)
        reply.raise_for_status()
        replies[place] = reply.json()
