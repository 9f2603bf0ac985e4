"""Hooks of every request: id, deadline, span, log line, metrics, CORS and security headers, API key, rate limits."""

from __future__ import annotations

import logging
import math
import re
import socket
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter
from limits.errors import ConfigurationError
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from llm.request_context import CURRENT_REQUEST, RequestContext
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from prompts.network import client_address, client_network
from service.access_control import AccessControl, is_guarded
from service.problems import RequestProblem
from service.telemetry import Metrics

log = logging.getLogger(f"{__package__}.requests")
_TRACER = trace.get_tracer("marquee")

_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_QUIET = frozenset(
    ["/health", "/healthz", "/readyz", "/metrics"]
)  # polled every few seconds; logged only when they fail
_WRONG_KEYS = "20 per minute"  # per address
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_CORS_EXPOSED = "X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
_CORS_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout, "
    "traceparent, tracestate",
    "Access-Control-Max-Age": "600",
}


def install(app: Flask, metrics: Metrics, seconds: float, origins: Collection[str] = ()) -> None:
    """Install the hooks.

    Args:
        app: the application.
        metrics: counts the requests.
        seconds: longest time of a request; the default where it has no ``X-Request-Timeout``.
        origins: origins whose pages may call the service. Without any, no response has a CORS header.
    """

    @app.before_request
    def begin() -> None:
        g.start, request_id = time.perf_counter(), _request_id()
        CURRENT_REQUEST.set(RequestContext(request_id))  # first: an error response of a later line has the id
        if (route := _route()) not in _QUIET:
            _start_span(route)
        is_disconnected = disconnected(request.environ.get("gunicorn.socket"))
        deadline = time.monotonic() + _timeout(seconds)
        CURRENT_REQUEST.set(RequestContext(request_id, "", deadline, is_disconnected, trace.get_current_span()))

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.get("start", time.perf_counter())
        headers, route = response.headers, _route()
        headers["X-Request-ID"] = CURRENT_REQUEST.get().request_id
        present = set(headers.keys(lower=True))
        for name, value in _SECURITY_HEADERS.items():
            if name.lower() not in present:
                headers.add(name, value)  # `setdefault` is slower: a tenth of the time of a cached answer
        if origins:
            _add_cors_headers(response, origins)
        metrics.count_request(route, response.status_code, seconds)
        if span := g.get("span"):
            _end_span(span, response.status_code)
        level = logging.DEBUG if route in _QUIET and response.status_code < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "request", extra={"fields": _log_fields(response, seconds)})
        return response

    @app.teardown_request
    def reset(error: BaseException | None) -> None:
        CURRENT_REQUEST.set(RequestContext())
        if token := g.get("token"):
            context.detach(token)


def install_access_control(app: Flask, access: AccessControl) -> None:
    """Check keys and rates before each request.

    Raises:
        InvalidSetting: the storage of the counts is invalid.
    """
    if access.keys is None and not access.rate_limit:
        return
    limiter = _limiter(app, access)

    @app.before_request
    def check_key() -> None:
        if (owner := _owner(access)) is not None and access.keys:
            g.key = owner
            salt = digest_of(access.keys.all()[owner].digest, 32)
            CURRENT_REQUEST.set(replace(CURRENT_REQUEST.get(), cache_salt=salt))
        elif _is_guarded() and access.needs_key:
            detail = "this key is not valid" if _token() else "send a key: Authorization: Bearer KEY, or X-API-Key: KEY"
            raise RequestProblem("no-key", detail)

    @app.after_request
    def add_headers(response: Response) -> Response:
        if limit := limiter.current_limit:
            wait = max(0, math.ceil(limit.reset_at - time.time()))
            response.headers["RateLimit-Limit"] = str(limit.limit.amount)
            response.headers["RateLimit-Remaining"] = str(max(0, limit.remaining))
            response.headers["RateLimit-Reset"] = str(wait)
            if response.status_code == 429:
                response.headers["Retry-After"] = str(max(1, wait))
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def _limiter(app: Flask, access: AccessControl) -> Limiter:
    """The limiter, registered before the check of keys: after too many guesses a client gets 429, not 401."""
    guesses = ApplicationLimit(
        _WRONG_KEYS,
        key_function=_address,
        scope="wrong keys",
        exempt_when=lambda: not _is_guarded() or not access.needs_key or _owner(access) is not None,
        deduct_when=lambda response: response.status_code == 401,
    )
    requests = ApplicationLimit(
        access.rate_limit,
        key_function=lambda: f"key {owner}" if (owner := _owner(access)) else _address(),
        scope="requests",
        exempt_when=lambda: not _is_guarded() or (access.needs_key and _owner(access) is None),
    )
    try:
        limiter = Limiter(
            _address,
            application_limits=[guesses, requests] if access.rate_limit else [guesses],
            storage_uri=access.storage,
            swallow_errors=True,  # the service stays available while the storage is unreachable
        )
        # Going through the limiter's rules takes a quarter of our own time: skip it where nothing is counted.
        limiter.request_filter(lambda: not (_is_guarded() and (access.rate_limit or access.needs_key)))
        limiter.init_app(app)
    except ConfigurationError as error:
        raise InvalidSetting(f"MARQUEE_RATE_STORAGE: {error}") from None
    return limiter


def _owner(access: AccessControl) -> str | None:
    """Name of the current request's key; None where it has no valid one."""
    if "owner" not in g:
        token = _token()
        g.owner = access.keys.owner(token) if access.keys and token else None
    owner: str | None = g.owner
    return owner


def _is_guarded() -> bool:
    return request.url_rule is not None and is_guarded(request.method, request.url_rule.rule)  # a path may end in /


def _token() -> str:
    """The key that the request carries; empty where it has none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")


def _address() -> str:
    return f"address {client_network(client_address(request.remote_addr))}"


def disconnected(client: socket.socket | None) -> Callable[[], bool]:
    """A function that returns whether a client has closed its connection.

    It peeks at the client's next byte without waiting. The end of the stream or an error means disconnected; no byte
    yet, or a further request, means connected. A client that closes only its sending side counts as disconnected, as
    with nginx.

    Args:
        client: the connection; None where the server does not provide it, and the client then counts as connected.
    """
    if client is None:
        return lambda: False

    def is_disconnected() -> bool:
        try:
            return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    return is_disconnected


def _add_cors_headers(response: Response, origins: Collection[str]) -> None:
    """Allow pages of the origins to read the response (Fetch standard, CORS protocol).

    No response has a wildcard or ``Access-Control-Allow-Credentials``: a page sends its key in a header, and the
    service uses no cookies.
    """
    response.vary.add("Origin")
    if (origin := request.headers.get("Origin", "")) not in origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = _CORS_EXPOSED
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers.update(_CORS_PREFLIGHT)


def _start_span(route: str) -> None:
    """Open the request's span under the caller's (W3C ``traceparent``); it is current until the request's teardown.

    The caller's baggage is left out, since it would be sent to the endpoint.
    """
    method, caller = request.method, propagate.extract(request.headers)
    span = _TRACER.start_span(f"{method} {route}", caller, SpanKind.SERVER)
    if span.is_recording():
        span.set_attributes({"http.request.method": method, "http.route": route})
    g.span, g.token = span, context.attach(trace.set_span_in_context(span))


def _end_span(span: trace.Span, status: int) -> None:
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR, f"status {status}")
    span.end()


def _route() -> str:
    return request.url_rule.rule if request.url_rule else "none"


def _request_id() -> str:
    """The caller's ``X-Request-ID`` where it is safe to log, else a new id."""
    header = request.headers.get("X-Request-ID", "")
    return header if _ID.fullmatch(header) else uuid.uuid4().hex


def _timeout(longest: float) -> float:
    """Seconds until the request's deadline: ``X-Request-Timeout``, at most ``longest``."""
    header = request.headers.get("X-Request-Timeout")
    if header is None:
        return longest
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise RequestProblem("bad-request", "X-Request-Timeout should be a number of seconds above 0")
    return min(seconds, longest)


def _log_fields(response: Response, seconds: float) -> dict[str, object]:
    fields: dict[str, object] = {
        "method": request.method,
        "path": request.path[:200],
        "status": response.status_code,
        "ms": round(1_000 * seconds, 2),
        "bytes": request.content_length or 0,
        "address": client_address(request.remote_addr),
    }
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = trace.format_trace_id(span.trace_id)
    return fields | ({"key": g.key} if g.get("key") else {})
