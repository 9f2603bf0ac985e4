"""Contenders of ``benchmarks.llm``: our strategies, and a bare asyncio loop that sends the same bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from benchmarks.measure import LabellingRun, clock
from llm.backends.batch_transport import BatchTransport, batches_in_flight
from llm.backends.capabilities import Capabilities, CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.request_forms import Body
from llm.backends.transport import BATCH, CHAT, HTTPTransport
from llm.classifier import Problem, Usage
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts.taxonomy import Taxonomy
from prompts.text import Text

Request = tuple[str, Mapping[str, Any]]
"""Path under the endpoint's root, and body."""

_HITS = "vllm:prefix_cache_hits_total"
_TIMEOUT, _RETRIES = 120.0, 2  # the server may close an idle connection at the moment of its reuse
_LOOP_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class ServedEndpoint:
    """An endpoint with one model.

    Attributes:
        base_url: URL of the endpoint.
        api_key: API key.
        model: name of the served model.
        workers: concurrent requests.
    """

    base_url: str
    api_key: str
    model: str
    workers: int

    def transport(self) -> HTTPTransport:
        """Return our transport to the endpoint."""
        return HTTPTransport(self.base_url, self.api_key, _TIMEOUT, _RETRIES, self.workers)

    def hits(self) -> int:
        """Return the number of prompt tokens that vLLM's prefix cache supplied so far, by its own count."""
        metrics = httpx2.get(f"{self.base_url.removesuffix('/v1')}/metrics").raise_for_status().text
        return sum(int(float(line.split()[-1])) for line in metrics.splitlines() if line.startswith(_HITS))


class Ours:
    """Our strategies through ``LanguageModel.classify``; the capabilities are probed before the measurement.

    Args:
        endpoint: the endpoint.
        size: texts per request.
    """

    def __init__(self, endpoint: ServedEndpoint, size: int = 1) -> None:
        self._endpoint, self._transport, self._size = endpoint, endpoint.transport(), size
        self._capabilities = CapabilityProbe(self._transport, endpoint.model)
        self._backend = self._backend_of(self._transport)

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of the endpoint."""
        return self._capabilities

    def classify(self, strategy: str, texts: Sequence[Text], taxonomy: Taxonomy) -> LabellingRun:
        """Label the texts.

        Raises:
            RuntimeError: a text got a problem.
        """
        model, before = LanguageModel(self._backend, STRATEGIES[strategy]), self._endpoint.hits()
        with clock() as seconds:
            predictions = model.classify(texts, taxonomy)
        if problem := next((row.problem for row in predictions if row.problem), None):
            raise RuntimeError(f"the strategy {strategy} got no answer: {problem.detail}")
        hits = None if self._size == 1 else self._endpoint.hits() - before
        return LabellingRun(len(texts), seconds.wall, seconds.cpu, tuple(row.usage for row in predictions), hits)

    def requests(self, strategy: str, texts: Sequence[Text], taxonomy: Taxonomy) -> list[Request]:
        """Return the requests that ``classify`` sends, in their order."""
        transport = _Collecting(self._endpoint, self._transport)
        LanguageModel(self._backend_of(transport), STRATEGIES[strategy]).classify(texts, taxonomy)
        return transport.requests

    def _backend_of(self, transport: HTTPTransport) -> OpenAICompatible:
        batched = BatchTransport(transport, self._capabilities, self._size) if self._size > 1 else transport
        return OpenAICompatible(batched, self._endpoint.model, self._capabilities)

    def static_tokens(self, strategy: str, taxonomy: Taxonomy) -> int:
        """Return the number of tokens at the start of every request of the strategy."""
        requests = self.requests(strategy, [Text("Alpha"), Text("9 zones")], taxonomy)[:2]
        replies = self._transport.post(
            [_tokenizing(body) for _, body in requests], self._transport.server_url("/tokenize")
        )
        first, second = (reply["tokens"] for reply in replies)
        return next(place for place, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])


class BareLoop:
    """The limit to compare with: an asyncio loop over requests of ``Ours``, without retries, limiter or checks.

    Args:
        endpoint: the endpoint.
        size: texts per request; as many texts are in flight as with ``Ours`` of that size.
    """

    def __init__(self, endpoint: ServedEndpoint, size: int = 1) -> None:
        self._endpoint, self._size = endpoint, size
        self._workers = endpoint.workers if size == 1 else batches_in_flight(endpoint.workers, size)

    def send(self, requests: Sequence[Request], texts: int) -> LabellingRun:
        """Send the requests of ``texts`` texts."""
        before = self._endpoint.hits()
        with clock() as seconds:
            replies = asyncio.run(self._send(requests))
        usages = [_usage(reply["usage"]) for reply in replies]
        hits = None if self._size == 1 else self._endpoint.hits() - before
        return LabellingRun(texts, seconds.wall, seconds.cpu, tuple(usages), hits)

    async def _send(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        replies: list[dict[str, Any]] = [{} for _ in requests]
        limits = httpx2.Limits(max_connections=self._workers, max_keepalive_connections=self._workers)
        headers = {"Authorization": f"Bearer {self._endpoint.api_key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=_LOOP_TIMEOUT, limits=limits) as client:
            turns = iter(enumerate(requests))
            await asyncio.gather(*(self._work(client, turns, replies) for _ in range(self._workers)))
        return replies

    async def _work(
        self, client: httpx2.AsyncClient, turns: Iterator[tuple[int, Request]], replies: list[dict[str, Any]]
    ) -> None:
        for place, (path, body) in turns:
            reply = await client.post(f"{self._endpoint.base_url}{path}", json=body)
            reply.raise_for_status()
            replies[place] = reply.json()


class _Collecting(HTTPTransport):
    """Collects chat completions, batched ones too, and sends all other requests through another transport."""

    def __init__(self, endpoint: ServedEndpoint, transport: HTTPTransport) -> None:
        super().__init__(endpoint.base_url, endpoint.api_key, _TIMEOUT, _RETRIES, endpoint.workers)
        self._transport = transport
        self.requests: list[Request] = []

    def clone(self, concurrency: int) -> HTTPTransport:
        """Return this transport, so that one list collects all requests."""
        return self

    def post(self, bodies: Sequence[Body], path: str = CHAT, keep: Collection[str] = ()) -> list[Any]:
        """Collect or send."""
        if path not in (CHAT, BATCH):
            return self._transport.post(bodies, path)
        self.requests += [(path, body) for body in bodies]
        return [Problem("timeout", "collected, not sent")] * len(bodies)


def _tokenizing(body: Body) -> Body:
    return {"model": body["model"], "messages": body["messages"], "add_generation_prompt": True}


def _usage(usage: dict[str, Any]) -> Usage:
    cached = (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0
    return Usage(usage["prompt_tokens"], cached, usage["completion_tokens"])
