"""HTTP transport to an OpenAI-compatible endpoint: JSON bodies out, JSON bodies or problems back, many at a time.

One event loop in a thread of its own serves all callers through shared connections. Retries are the ``openai``
client's own (408, 409, 429, 5xx and lost connections, obeying ``Retry-After``); nothing retries on top of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from math import isinf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx2
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind, StatusCode, get_tracer

from llm.backends.adapting import Adapting, Reply
from llm.backends.address import Address
from llm.backends.limiter import Limiter
from llm.backends.refusals import problem_of, redacted, refused, seconds_of
from llm.backends.replies import decoded
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, RequestContext, timeout_problem
from prompts.network import connection, no_connection, without_login

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)
_TRACER = get_tracer("marquee")

Body = Mapping[str, Any]
Result = TypeVar("Result")
CHAT = "/chat/completions"
BATCH = f"{CHAT}/batch"  # vLLM's, for many conversations

_CHECK_SECONDS = 3.0
_LOOK_SECONDS = 0.5  # how often it is looked whether whoever asked is still there
# Servers close an idle connection after some 5 s (uvicorn); whoever uses it in that moment finds it gone: we let go
# of it first.
_LIMITS = httpx2.Limits(max_connections=1_000, max_keepalive_connections=1_000, keepalive_expiry=2.0)
_CLOSING_SECONDS = 1.0
_PUSHES_BACK = (429, 503)


class Transport(Protocol):
    """What carries requests to an endpoint, and replies or problems back; see ``HTTPTransport``."""

    place: str

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        """See ``HTTPTransport.post``."""

    def beside(self, path: str) -> str:
        """See ``HTTPTransport.beside``."""

    def get(self, path: str) -> Any:
        """See ``HTTPTransport.get``."""

    def redacted(self, words: str) -> str:
        """See ``HTTPTransport.redacted``."""

    def served(self, model: str) -> str:
        """See ``HTTPTransport.served``."""

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        """See ``HTTPTransport.fingerprint_parts``."""


class HTTPTransport:
    """Sends JSON to an endpoint.

    Args:
        base_url: the endpoint's root, ending in ``/v1`` for most servers; a query goes with every request.
        api_key: sent as a Bearer token, to Azure as ``api-key``, and shown nowhere. A login in the URL is sent instead.
        timeout: seconds that one attempt may take.
        retries: further attempts after the first.
        concurrency: the most requests under way at once, over all callers.
        adapting: rewrites requests as the endpoint takes them; None learns from the start and keeps nothing.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: float,
        retries: int,
        concurrency: int,
        adapting: Adapting | None = None,
    ) -> None:
        import openai

        self._address = Address.of(base_url)
        self.base_url, self.place = base_url, self._address.place
        self._timeout, self._retries, self.concurrency = timeout, retries, concurrency
        self._secret = api_key
        self._secrets = (api_key, *self._address.secrets)
        # Azure takes keys of its own in another header; the client's is left out request by request.
        keyless: dict[str, Any] = {"Authorization": openai.Omit()} if self._address.is_azure else {}
        self._headers = keyless | self._address.headers(api_key)
        self._adapting = adapting or Adapting(self._address)
        connection(base_url)  # a proxy or certificate that cannot be used stops the start, not a request
        self._running: _Running | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"HTTPTransport({self.place})"

    def post(self, bodies: Sequence[Body], path: str = CHAT, keep: Collection[str] = ()) -> list[Any]:
        """Send each body; the decoded reply of each, or the ``Problem`` that stood against it, in their order.

        The current request (``llm.request_context``) gives its id and its deadline. What is not answered by then is
        cancelled, which stops vLLM's generation; so are requests of disconnected clients.

        Args:
            bodies: requests in the form that most endpoints take; see ``Adapting`` for the others.
            path: under the base URL, or a URL.
            keep: fields that no request may lose or change, even if the endpoint refuses them.
        """
        running = self._run()
        return running.wait(self._all(running, path, bodies, CURRENT_REQUEST.get(), frozenset(keep)))

    def clone(self, concurrency: int) -> HTTPTransport:
        """Another transport to the same endpoint, with connections, and a bound on what is under way, of its own."""
        return HTTPTransport(self.base_url, self._secret, self._timeout, self._retries, concurrency, self._adapting)

    def beside(self, path: str) -> str:
        """The URL of a path beside the API's root: vLLM's ``/tokenize`` is not under ``/v1``."""
        return self._address.beside(path)

    def served(self, model: str) -> str:
        """The name that replies gave the model asked for; empty where they gave none."""
        return self._adapting.served(model)

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        """See ``Adapting.identity``."""
        return self._adapting.identity

    def get(self, path: str) -> Any:
        """One reply, or the ``Problem`` that stood against it, after at most a few seconds and without retries."""
        running = self._run()
        client = running.client.with_options(timeout=_CHECK_SECONDS, max_retries=0)
        return running.wait(
            self._safely(client.get(path, cast_to=httpx2.Response, options={"headers": self._headers}))
        ).reply

    async def _all(
        self, running: _Running, path: str, bodies: Sequence[Body], asking: RequestContext, keep: Collection[str]
    ) -> list[Any]:
        """A few workers take turns at the bodies, so that a million of them need no million tasks."""
        replies: list[Any] = [timeout_problem()] * len(bodies)
        turns = iter(enumerate(bodies))
        workers = min(len(bodies), self.concurrency)
        work = asyncio.gather(*(self._work(running, path, turns, replies, asking, keep) for _ in range(workers)))
        while not (await asyncio.wait({work}, timeout=_LOOK_SECONDS))[0]:
            if asking.disconnected():
                work.cancel()
                return [asking.stop_reason] * len(bodies)
        work.result()
        return replies

    async def _work(
        self,
        running: _Running,
        path: str,
        turns: Iterator[tuple[int, Body]],
        replies: list[Any],
        asking: RequestContext,
        keep: Collection[str],
    ) -> None:
        async def send(body: Body) -> Reply:
            return await self._traced(running.client, path, body, asking)

        for place, body in turns:
            if (over := asking.stop_reason) is not None:
                replies[place] = over
            else:
                replies[place] = timeout_problem()
                with suppress(TimeoutError):
                    async with (
                        asyncio.timeout(None if isinf(asking.remaining) else asking.remaining),
                        running.limiter.place(),
                    ):
                        if path in (CHAT, BATCH):
                            replies[place] = await self._adapting.exchange(send, body, keep)
                        else:
                            replies[place] = (await send(body)).reply

    async def _traced(self, client: openai.AsyncOpenAI, path: str, body: Body, asking: RequestContext) -> Reply:
        """One exchange in a span, which the endpoint gets as ``traceparent``. Spans hold no words of an error."""
        with _TRACER.start_as_current_span(
            f"POST {urlsplit(path).path}", kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        ) as span:
            if span.is_recording():
                model = str(body.get("model", ""))
                span.set_attributes({"server.address": self.place, "gen_ai.request.model": model})
            headers = self._headers | ({"X-Request-ID": asking.request_id} if asking.request_id else {})
            inject(headers)
            request = client.post(path, cast_to=httpx2.Response, body=body, options={"headers": headers})
            try:
                found = await self._safely(request)
            except asyncio.CancelledError:
                span.set_status(StatusCode.ERROR, "cancelled")
                raise
            if isinstance(found.reply, Problem):
                span.set_status(StatusCode.ERROR, found.reply.kind)
            return found

    async def _safely(self, request: Coroutine[Any, Any, httpx2.Response]) -> Reply:
        """The decoded body, or the problem; whatever an endpoint does, nothing else comes out of here."""
        import openai

        try:
            return Reply(decoded((await request).content))
        except openai.APIStatusError as error:
            return self._refusal(error.response)
        except Exception as error:  # broken encodings, dates and redirects raise whatever the libraries below raise
            return Reply(self._problem(error))

    def _run(self) -> _Running:
        """The loop and client of this process; a forked process starts its own."""
        with self._lock:
            if self._running is None or self._running.process != os.getpid():
                self._running = _Running(self._address, self._secret, self._timeout, self._retries, self.concurrency)
            return self._running

    def _problem(self, error: Exception) -> Problem:
        import aiohttp
        import openai

        if isinstance(error, openai.APITimeoutError) and _timed_out(error):
            return Problem("unreachable", f"{self.place} did not answer within {self._timeout:g} s")
        if _caused(error, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            return Problem("unreachable", f"{self.place} closed the connection before its reply was complete")
        if _caused(error, aiohttp.ClientResponseError, httpx2.DecodingError):
            return Problem("unreachable", f"{self.place} sent no valid HTTP; is this the port of the model server?")
        if isinstance(error, openai.APIConnectionError | aiohttp.ClientError):
            return Problem("unreachable", no_connection(self.place, self.base_url, error))
        log.debug("a reply of %s cannot be read", self.place, exc_info=error)
        return Problem("unreadable", f"{self.place} sent a reply that cannot be read ({type(error).__name__})")

    def _refusal(self, response: httpx2.Response) -> Reply:
        found = refused(response.status_code, decoded(response.content), self._secrets)
        hint = self._address.hint
        if response.history:  # a redirect turns a POST into a GET
            url = without_login(str(response.url.copy_with(query=None)))
            hint = f"it redirects to {self.redacted(url)}: use that as OPENAI_BASE_URL"
        return Reply(problem_of(self.place, found, seconds_of(response.headers.get("retry-after")), hint), found)

    def redacted(self, words: str) -> str:
        """The endpoint's own words without the API key and the secrets of the base URL.

        Some endpoints repeat what they received.
        """
        return redacted(words, self._secrets)


class _Running:
    """What lives in one process: an event loop in a thread, and on it a client and its limiter.

    The client goes over aiohttp, which takes half the processor time a request that httpx takes by itself.
    """

    def __init__(self, address: Address, api_key: str, timeout: float, retries: int, concurrency: int) -> None:
        import openai

        self.process = os.getpid()
        self.limiter = Limiter(concurrency)
        connections = openai.DefaultAioHttpClient(
            event_hooks={"response": [_watch(self.limiter)]}, limits=_LIMITS, **connection(address.base_url)
        )
        # Local servers ask for no key, but the client insists on one.
        self.client = openai.AsyncOpenAI(
            base_url=address.base_url,
            api_key=api_key or "none",
            timeout=timeout,
            max_retries=retries,
            default_query=dict(address.query) or None,
            http_client=connections,
        )
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(self._loop, connections), name="endpoint", daemon=True)
        thread.start()
        weakref.finalize(self, _stop, self._loop, thread)

    def wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run on the loop, wait here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _watch(limiter: Limiter) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Sees every attempt's response, also of those that the client would repeat by itself."""

    async def seen(response: httpx2.Response) -> None:
        if response.status_code not in (429, 500, 503):
            return
        await response.aread()
        if not refused(response.status_code, decoded(response.content)).passing:
            response.headers["x-should-retry"] = "false"  # a text stays too long, and an account empty
        elif response.status_code in _PUSHES_BACK:
            limiter.push_back()

    return seen


def _serve(loop: asyncio.AbstractEventLoop, connections: httpx2.AsyncClient) -> None:
    """Run the loop until it is stopped, then let go of its connections: aiohttp complains of those left open."""
    loop.run_forever()
    loop.run_until_complete(connections.aclose())
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Stop the loop, at the end of the process or when the transport is garbage-collected.

    The latter may happen in the loop's own thread.
    """
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_CLOSING_SECONDS)


def _timed_out(error: BaseException) -> bool:
    """Whether time ran out: the bridge between httpx and aiohttp calls a refused or lost connection a time-out too."""
    return _caused(error, TimeoutError)


def _caused(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Whether an error, or one that it comes from, is of these kinds."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, kinds):
        cause = cause.__cause__
    return cause is not None
