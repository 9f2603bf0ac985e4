"""Contenders of ``benchmarks.llm``: our strategies, a bare asyncio loop that sends the same bodies, and scikit-llm."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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
from tests.engines.vllm_server import VAR, installed

Request = tuple[str, Mapping[str, Any]]  # path under the endpoint's root, and body

_HITS = "vllm:prefix_cache_hits_total"
_TIMEOUT, _RETRIES = 120.0, 2  # the server may close an idle connection at the moment of its reuse
_LOOP_TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class ServedEndpoint:
    """An endpoint with one model, and the number of concurrent requests to it."""

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
    """Our strategies through ``LanguageModel.classify``, with ``size`` texts per request.

    The capabilities are probed before the measurement.
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

    As many texts are in flight as with ``Ours`` of that size.
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
        if path not in (CHAT, BATCH):
            return self._transport.post(bodies, path)
        self.requests += [(path, body) for body in bodies]
        return [Problem("timeout", "collected, not sent")] * len(bodies)


def _tokenizing(body: Body) -> Body:
    return {"model": body["model"], "messages": body["messages"], "add_generation_prompt": True}


def _usage(usage: dict[str, Any]) -> Usage:
    cached = (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0
    return Usage(usage["prompt_tokens"], cached, usage["completion_tokens"])


# --- scikit-llm ---

_SKLLM = VAR / "skllm"


def _skllm_python() -> Path:
    """Return the Python of an environment with scikit-llm; the first call creates it (0.7 GB)."""
    return installed(_SKLLM, ("install", "scikit-llm==1.4.3"))


def skllm_prompts() -> str:
    """Return the source of scikit-llm's prompts."""
    _skllm_python()
    (templates,) = _SKLLM.glob("lib/python*/site-packages/skllm/prompts/templates.py")
    return templates.read_text(encoding="utf-8")


class ScikitLLM:
    """scikit-llm's zero-shot multi-label classifier with our endpoint.

    Args:
        endpoint: the endpoint.
        max_tokens: scikit-llm sets no bound, and a model of random weights would generate to the end of its context;
            the bound is the mean length of our ``json_list`` answers.
    """

    def __init__(self, endpoint: ServedEndpoint, max_tokens: int) -> None:
        self._job, self._python = {**asdict(endpoint), "max_tokens": max_tokens}, _skllm_python()

    def classify(self, texts: Sequence[Text], taxonomy: Taxonomy, workers: int = 1) -> LabellingRun:
        """Label the texts in a process of scikit-llm's environment; its start and imports are not timed."""
        labels = {"labels": list(taxonomy.names), "max_labels": taxonomy.max_labels}
        job = self._job | labels | {"texts": [text.body for text in texts], "workers": workers}
        source = f"{inspect.getsource(_label_with_skllm)}\n_label_with_skllm()"
        command: list[str | Path] = [self._python, "-P", "-c", source]  # -P: our packages would shadow others
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"scikit-llm failed: {done.stderr[-2_000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        return LabellingRun(len(texts), result["wall"], result["cpu"], tuple(Usage(*row) for row in result["usages"]))


def _label_with_skllm() -> None:
    """Label the texts on standard input, then print seconds and tokens as one line of JSON.

    Its source runs alone in scikit-llm's environment.
    """
    import json
    import sys
    import time
    import warnings
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from openai.resources.chat.completions import Completions
    from skllm.config import SKLLMConfig  # type: ignore[import-not-found,unused-ignore]
    from skllm.models.gpt.classification import zero_shot  # type: ignore[import-not-found,unused-ignore]

    job, plain = json.load(sys.stdin), Completions.create
    usages: list[list[int]] = []

    def create(self, **fields):  # type: ignore[no-untyped-def]  # scikit-llm neither bounds nor counts the tokens
        reply = plain(self, max_tokens=job["max_tokens"], **fields)
        details = reply.usage.prompt_tokens_details
        cached = (details and details.cached_tokens) or 0
        usages.append([reply.usage.prompt_tokens, cached, reply.usage.completion_tokens])
        return reply

    Completions.create = create  # type: ignore[method-assign]
    SKLLMConfig.set_gpt_url(job["base_url"])
    classifier = zero_shot.MultiLabelZeroShotGPTClassifier(
        model=f"custom_url::{job['model']}", max_labels=job["max_labels"], key=job["api_key"], org="none"
    )
    classifier.fit(None, [job["labels"]])
    workers = {} if job["workers"] == 1 else {"num_workers": job["workers"]}  # the parameter is deprecated
    wall, cpu = time.perf_counter(), time.process_time()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.predict(job["texts"], **workers)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "usages": usages}))
