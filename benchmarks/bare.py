"""The limit to compare with: a bare loop that sends bodies and decodes replies, without retries, limiter or checks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx2

_SECONDS = 300.0

Request = tuple[str, Mapping[str, Any]]


def send(base_url: str, api_key: str, requests: Sequence[Request], workers: int) -> list[dict[str, Any]]:
    """Post every request; the replies in their order.

    Args:
        base_url: the endpoint's root.
        api_key: its key.
        requests: what to send, and to which path beneath the root.
        workers: how many requests are under way at once.
    """
    return asyncio.run(_send(base_url, api_key, requests, workers))


async def _send(base_url: str, api_key: str, requests: Sequence[Request], workers: int) -> list[dict[str, Any]]:
    replies: list[dict[str, Any]] = [{} for _ in requests]
    limits = httpx2.Limits(max_connections=workers, max_keepalive_connections=workers)
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=_SECONDS, limits=limits) as client:
        turns = iter(enumerate(requests))
        await asyncio.gather(*(_work(client, base_url, turns, replies) for _ in range(workers)))
    return replies


async def _work(
    client: httpx2.AsyncClient, base_url: str, turns: Iterator[tuple[int, Request]], replies: list[dict[str, Any]]
) -> None:
    for place, (path, body) in turns:
        reply = await client.post(f"{base_url}{path}", json=body)
        reply.raise_for_status()
        replies[place] = reply.json()
