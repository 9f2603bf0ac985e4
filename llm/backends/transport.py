"""HTTP transport to an OpenAI-compatible endpoint: JSON bodies out, JSON bodies or problems back, many at a time.

One event loop in its own thread serves all callers through shared connections. Only the ``openai`` client retries
(408, 409, 429, 5xx and lost connections, obeying ``Retry-After``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from math import isinf
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx2
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind, StatusCode, get_tracer

from llm.backends.concurrency import ConcurrencyLimiter, LoopThread
from llm.backends.endpoint import Address
from llm.backends.refusals import problem_of, read_refusal, redact, retry_after_seconds
from llm.backends.replies import decoded
from llm.backends.request_adapter import Reply, RequestAdapter
from llm.backends.request_forms import Body
from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST, TIMEOUT, RequestContext
from prompts.network import connection, no_connection, without_login

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)
_TRACER = get_tracer("marquee")

CHAT = "/chat/completions"
BATCH = f"{CHAT}/batch"  # vLLM's, for several conversations

_GET_SECONDS = 3.0
_POLL_SECONDS = 0.5  # between two checks whether the client is still connected
# Servers close an idle connection after some 5 s (uvicorn), and a request sent at that moment fails: close it earlier.
_LIMITS = httpx2.Limits(max_connections=1_000, max_keepalive_connections=1_000, keepalive_expiry=2.0)


class Transport(Protocol):
    """Sends requests to an endpoint and returns replies or problems; see ``HTTPTransport`` and ``RequestAdapter``."""

    endpoint: str  # host and port, for messages

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]: ...

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]: ...

    def get(self, path: str) -> Any: ...

    def server_url(self, path: str, /) -> str: ...

    def redact(self, text: str, /) -> str: ...

    def served_model(self, model: str, /) -> str: ...


class HTTPTransport:
    """Sends JSON to an endpoint.

    Args:
        base_url: root of the API, ending in ``/v1`` for most servers; its query goes with every request.
        api_key: sent as a Bearer token, to Azure as ``api-key``; a login in the URL takes precedence. Never shown.
        timeout: seconds of one attempt.
        retries: further attempts after the first.
        concurrency: maximum number of requests in flight over all callers.
        adapter: rewrites requests as the endpoint accepts them; None starts without knowledge and stores nothing.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: float,
        retries: int,
        concurrency: int,
        adapter: RequestAdapter | None = None,
    ) -> None:
        self._address = Address.parse(base_url)
        self.base_url, self.endpoint = base_url, self._address.endpoint
        self._timeout, self._retries, self.concurrency = timeout, retries, concurrency
        self._api_key = api_key
        self._secrets = (api_key, *self._address.secrets)
        self._headers = _headers(self._address, api_key)
        self._adapter = adapter or RequestAdapter(self._address)
        self.fingerprint_parts, self.served_model = self._adapter.fingerprint_parts, self._adapter.served_model
        self.server_url = self._address.server_url
        connection(base_url)  # a wrong proxy or certificate stops the start, not a request
        self._session: _Session | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"HTTPTransport({self.endpoint})"

    def post(self, bodies: Sequence[Body], path: str = CHAT, keep: Collection[str] = ()) -> list[Any]:
        """Send each body; the decoded reply or the ``Problem`` of each, in order.

        The current request (``llm.request_context``) gives its id and its deadline. Requests that are not answered by
        the deadline, or whose client disconnects, are cancelled; this stops vLLM's generation. ``path`` may be a URL;
        the fields ``keep`` are not removed or changed, even if the endpoint refuses them.
        """
        session = self._open()
        return session.thread.run(self._all(session, path, bodies, CURRENT_REQUEST.get(), frozenset(keep)))

    def get(self, path: str) -> Any:
        """One decoded reply or its ``Problem``, after at most a few seconds and without retries."""
        session = self._open()
        client = session.client.with_options(timeout=_GET_SECONDS, max_retries=0)
        request = client.get(path, cast_to=httpx2.Response, options={"headers": self._headers})
        return session.thread.run(self._safely(request)).result

    def clone(self, concurrency: int) -> HTTPTransport:
        """Another transport to the endpoint, with its own connections and concurrency limit."""
        return HTTPTransport(self.base_url, self._api_key, self._timeout, self._retries, concurrency, self._adapter)

    def redact(self, text: str) -> str:
        """Text of the endpoint without the API key and the secrets of the base URL, which some endpoints repeat."""
        return redact(text, self._secrets)

    async def _all(
        self, session: _Session, path: str, bodies: Sequence[Body], request: RequestContext, keep: Collection[str]
    ) -> list[Any]:
        """A few workers share the bodies, so that a million bodies need no million tasks."""
        replies: list[Any] = [TIMEOUT] * len(bodies)
        queue = iter(enumerate(bodies))

        async def send(body: Body) -> Reply:
            return await self._traced(session.client, path, body, request)

        async def work() -> None:
            for index, body in queue:
                if stop := request.stop_reason:
                    replies[index] = stop
                    continue
                remaining = None if isinf(request.remaining) else request.remaining
                with suppress(TimeoutError):
                    async with asyncio.timeout(remaining), session.limiter.acquire():
                        if path in (CHAT, BATCH):
                            replies[index] = await self._adapter.exchange(send, body, keep)
                        else:
                            replies[index] = (await send(body)).result

        workers = asyncio.gather(*(work() for _ in range(min(len(bodies), self.concurrency))))
        while not (await asyncio.wait({workers}, timeout=_POLL_SECONDS))[0]:
            if request.disconnected():
                workers.cancel()
                return [request.stop_reason] * len(bodies)
        workers.result()
        return replies

    async def _traced(self, client: openai.AsyncOpenAI, path: str, body: Body, request: RequestContext) -> Reply:
        """One exchange in a span, which the endpoint gets as ``traceparent``. Spans contain no error messages."""
        with _TRACER.start_as_current_span(
            f"POST {urlsplit(path).path}", kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        ) as span:
            if span.is_recording():
                model = str(body.get("model", ""))
                span.set_attributes({"server.address": self.endpoint, "gen_ai.request.model": model})
            headers = self._headers | ({"X-Request-ID": request.request_id} if request.request_id else {})
            inject(headers)
            post = client.post(path, cast_to=httpx2.Response, body=body, options={"headers": headers})
            try:
                reply = await self._safely(post)
            except asyncio.CancelledError:
                span.set_status(StatusCode.ERROR, "cancelled")
                raise
            if isinstance(reply.result, Problem):
                span.set_status(StatusCode.ERROR, reply.result.kind)
            return reply

    async def _safely(self, request: Coroutine[Any, Any, httpx2.Response]) -> Reply:
        """The reply to a request; every error becomes a problem."""
        import openai

        try:
            return Reply(decoded((await request).content))
        except openai.APIStatusError as error:
            return self._refused(error.response)
        except Exception as error:  # broken encodings, dates and redirects raise errors of many libraries
            return Reply(self._problem(error))

    def _open(self) -> _Session:
        """The session of this process; a forked process opens its own."""
        with self._lock:
            if self._session is None or self._session.thread.process != os.getpid():
                options = (self._timeout, self._retries, self.concurrency)
                self._session = _Session(self._address, self._api_key, *options)
            return self._session

    def _problem(self, error: Exception) -> Problem:
        import aiohttp
        import openai

        # The bridge between httpx and aiohttp calls a refused or lost connection a time-out, too.
        if isinstance(error, openai.APITimeoutError) and _has_cause(error, TimeoutError):
            return Problem("unreachable", f"{self.endpoint} did not answer within {self._timeout:g} s")
        if _has_cause(error, aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            return Problem("unreachable", f"{self.endpoint} closed the connection before its reply was complete")
        if _has_cause(error, aiohttp.ClientResponseError, httpx2.DecodingError):
            return Problem("unreachable", f"{self.endpoint} sent no valid HTTP; is this the port of the model server?")
        if isinstance(error, openai.APIConnectionError | aiohttp.ClientError):
            return Problem("unreachable", no_connection(self.endpoint, self.base_url, error))
        log.debug("a reply of %s cannot be read", self.endpoint, exc_info=error)
        return Problem("unreadable", f"{self.endpoint} sent a reply that cannot be read ({type(error).__name__})")

    def _refused(self, response: httpx2.Response) -> Reply:
        refusal = read_refusal(response.status_code, decoded(response.content), self._secrets)
        hint = self._address.hint
        if response.history:  # a redirect turns a POST into a GET
            url = without_login(str(response.url.copy_with(query=None)))
            hint = f"it redirects to {self.redact(url)}: use that as OPENAI_BASE_URL"
        retry_after = retry_after_seconds(response.headers.get("retry-after"))
        return Reply(problem_of(self.endpoint, refusal, retry_after, hint), refusal)


class _Session:
    """Per process: an event loop thread, the HTTP client on it, and the client's concurrency limit."""

    def __init__(self, address: Address, api_key: str, timeout: float, retries: int, concurrency: int) -> None:
        import openai

        self.limiter = ConcurrencyLimiter(concurrency)
        # aiohttp needs half of httpx's own processor time per request.
        http_client = openai.DefaultAioHttpClient(
            event_hooks={"response": [_on_response(self.limiter)]}, limits=_LIMITS, **connection(address.base_url)
        )
        self.client = openai.AsyncOpenAI(
            base_url=address.base_url,
            api_key=api_key or "none",  # required by the client, not by local servers
            timeout=timeout,
            max_retries=retries,
            default_query=dict(address.query) or None,
            http_client=http_client,
        )
        self.thread = LoopThread(http_client.aclose)


def _headers(address: Address, api_key: str) -> dict[str, Any]:
    import openai

    # Azure takes keys in another header; the client's own header is removed.
    omitted: dict[str, Any] = {"Authorization": openai.Omit()} if address.is_azure else {}
    return omitted | address.headers(api_key)


def _on_response(limiter: ConcurrencyLimiter) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Hook for every attempt's response, including those that the client retries."""

    async def check(response: httpx2.Response) -> None:
        if response.status_code not in (429, 500, 503):
            return
        await response.aread()
        if not read_refusal(response.status_code, decoded(response.content)).is_transient:
            response.headers["x-should-retry"] = "false"  # a text stays too long, and an account empty
        elif response.status_code != 500:
            limiter.push_back()

    return check


def _has_cause(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Whether an error or one of its causes has one of these types."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, kinds):
        cause = cause.__cause__
    return cause is not None
