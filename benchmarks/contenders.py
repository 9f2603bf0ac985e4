"""The ways of labelling that are compared: our strategies, and a bare loop that sends the same bodies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from benchmarks import bare
from benchmarks.measure import LabellingRun, clock
from llm.backends.batch_transport import BatchTransport, batches_in_flight
from llm.backends.capabilities import Capabilities, CapabilityProbe
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.request_forms import Body
from llm.backends.transport import BATCH, CHAT, HTTPTransport
from llm.classifier import Problem, Usage
from llm.language_model import LanguageModel
from llm.strategies.registry import STRATEGIES
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_HITS = "vllm:prefix_cache_hits_total"
_TIMEOUT, _RETRIES = 120.0, 2  # an idle connection may be closed at the server just as it is used again


@dataclass(frozen=True)
class ServedEndpoint:
    """Where a model is served.

    Attributes:
        base_url: its root.
        api_key: its key.
        model: the name under which it serves the model.
        workers: how many requests may be under way at once.
    """

    base_url: str
    api_key: str
    model: str
    workers: int

    def transport(self) -> HTTPTransport:
        """A transport of ours to it."""
        return HTTPTransport(self.base_url, self.api_key, _TIMEOUT, _RETRIES, self.workers)

    def hits(self) -> int:
        """Prompt tokens that vLLM found in its prefix cache so far, by its own count."""
        told = httpx2.get(f"{self.base_url.removesuffix('/v1')}/metrics").raise_for_status().text
        return sum(int(float(line.split()[-1])) for line in told.splitlines() if line.startswith(_HITS))


class Ours:
    """Our strategies through ``LanguageModel.classify``, with the endpoint probed beforehand.

    Args:
        endpoint: whom to ask.
        size: texts that one request carries.
    """

    def __init__(self, endpoint: ServedEndpoint, size: int = 1) -> None:
        self._endpoint, self._transport, self._size = endpoint, endpoint.transport(), size
        self._capabilities = CapabilityProbe(self._transport, endpoint.model)
        self._backend = self._backend_of(self._transport)

    @property
    def capabilities(self) -> Capabilities:
        """What the endpoint was seen to honour."""
        return self._capabilities()

    def classify(self, strategy: str, texts: Sequence[Text], taxonomy: Taxonomy) -> LabellingRun:
        """Label the texts, and see to it that every one of them got an answer."""
        model, before = LanguageModel(self._backend, STRATEGIES[strategy]), self._endpoint.hits()
        with clock() as taken:
            predictions = model.classify(texts, taxonomy)
        if problem := next((one.problem for one in predictions if one.problem), None):
            raise RuntimeError(f"the strategy {strategy} got no answer: {problem.detail}")
        hits = None if self._size == 1 else self._endpoint.hits() - before
        return LabellingRun(len(texts), taken.wall, taken.cpu, tuple(one.usage for one in predictions), hits)

    def requests(self, strategy: str, texts: Sequence[Text], taxonomy: Taxonomy) -> list[bare.Request]:
        """The very requests that ``classify`` would send, in their order."""
        transport = _Collecting(self._endpoint, self._transport)
        LanguageModel(self._backend_of(transport), STRATEGIES[strategy]).classify(texts, taxonomy)
        return transport.requests

    def _backend_of(self, transport: HTTPTransport) -> OpenAICompatible:
        carrier = BatchTransport(transport, self._capabilities, self._size) if self._size > 1 else transport
        return OpenAICompatible(carrier, self._endpoint.model, self._capabilities)

    def static_tokens(self, strategy: str, taxonomy: Taxonomy) -> int:
        """How many tokens any two texts have in common from their start."""
        requests = self.requests(strategy, [Text("Alpha"), Text("9 zones")], taxonomy)[:2]
        replies = self._transport.post(
            [_tokenizing(body) for _, body in requests], self._transport.server_url("/tokenize")
        )
        one, other = (reply["tokens"] for reply in replies)
        return next(place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])


class Bare:
    """A bare loop over requests that ``Ours`` of the same size made, with as many texts under way.

    Args:
        endpoint: whom to ask.
        size: texts that one request carries.
    """

    def __init__(self, endpoint: ServedEndpoint, size: int = 1) -> None:
        self._endpoint, self._size = endpoint, size
        self._workers = endpoint.workers if size == 1 else batches_in_flight(endpoint.workers, size)

    def send(self, requests: Sequence[bare.Request], texts: int) -> LabellingRun:
        """Send the requests of so many texts."""
        before = self._endpoint.hits()
        with clock() as taken:
            replies = bare.send(self._endpoint.base_url, self._endpoint.api_key, requests, self._workers)
        usages = [_usage(reply["usage"]) for reply in replies]
        hits = None if self._size == 1 else self._endpoint.hits() - before
        return LabellingRun(texts, taken.wall, taken.cpu, tuple(usages), hits)


class _Collecting(HTTPTransport):
    """Keeps chat completions, batched ones too, instead of sending them; all else goes to the true wire."""

    def __init__(self, endpoint: ServedEndpoint, true: HTTPTransport) -> None:
        super().__init__(endpoint.base_url, endpoint.api_key, _TIMEOUT, _RETRIES, endpoint.workers)
        self._true = true
        self.requests: list[bare.Request] = []

    def clone(self, concurrency: int) -> HTTPTransport:
        """Itself, so that all is kept in one place."""
        return self

    def post(self, bodies: Sequence[Body], path: str = CHAT, keep: Collection[str] = ()) -> list[Any]:
        """Keep or pass on."""
        if path not in (CHAT, BATCH):
            return self._true.post(bodies, path)
        self.requests += [(path, body) for body in bodies]
        return [Problem("timeout", "only looked at")] * len(bodies)


def _tokenizing(body: Body) -> Body:
    return {"model": body["model"], "messages": body["messages"], "add_generation_prompt": True}


def _usage(counted: dict[str, Any]) -> Usage:
    cached = (counted["prompt_tokens_details"] or {}).get("cached_tokens") or 0
    return Usage(counted["prompt_tokens"], cached, counted["completion_tokens"])
