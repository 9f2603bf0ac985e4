"""Every request gets an id and a time to be done in, and leaves a line in the log and its figures."""

from __future__ import annotations

import logging
import math
import re
import time
import uuid

from flask import Flask, Response, g, request
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind

from llm.request_context import CURRENT_REQUEST, RequestContext
from prompts.network import client_address
from service.metrics import Metrics
from service.request_problem import RequestProblem
from service.server.client_disconnected import disconnected

log = logging.getLogger(f"{__package__}.requests")
_TRACER = trace.get_tracer("marquee")

_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_QUIET = frozenset(["/healthz", "/readyz", "/metrics"])  # asked every few seconds, and of no interest when they go well


def install(app: Flask, metrics: Metrics, seconds: float) -> None:
    """Trace an application's requests.

    Args:
        app: the application.
        metrics: where figures go.
        seconds: how long a request may take that does not say so itself.
    """

    @app.before_request
    def begin() -> None:
        g.start = time.perf_counter()
        CURRENT_REQUEST.set(RequestContext(_request_id()))  # first, so that a refusal of the next line has one
        if (route := _route()) not in _QUIET:
            _start_span(route)
        client = request.environ.get("gunicorn.socket")
        deadline = time.monotonic() + _allowed(seconds)
        span = trace.get_current_span()
        CURRENT_REQUEST.set(RequestContext(_request_id(), "", deadline, disconnected(client), span))

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.get("start", time.perf_counter())
        response.headers["X-Request-ID"] = CURRENT_REQUEST.get().request_id
        route = _route()
        metrics.asked(route, response.status_code, seconds)
        if span := g.get("span"):
            _end_span(span, response.status_code)
        level = logging.DEBUG if route in _QUIET and response.status_code < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "request", extra={"told": _told(response, seconds)})
        return response

    @app.teardown_request
    def forget(error: BaseException | None) -> None:
        CURRENT_REQUEST.set(RequestContext())
        if token := g.get("token"):
            context.detach(token)


def _start_span(route: str) -> None:
    """Start a span of the request under the caller's (W3C ``traceparent``), current until the request's teardown.

    The caller's baggage is left out: it would be sent on to the endpoint.
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
    """The caller's own, where it is one that can stand in a log; else a new one."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def _allowed(default: float) -> float:
    """Seconds that the request allows; more than the default is not kept waiting for."""
    given = request.headers.get("X-Request-Timeout")
    if given is None:
        return default
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise RequestProblem("bad-request", "X-Request-Timeout should be a number of seconds above 0")
    return min(seconds, default)


def _told(response: Response, seconds: float) -> dict[str, object]:
    told = {
        "method": request.method,
        "path": request.path[:200],
        "status": response.status_code,
        "ms": round(1_000 * seconds, 2),
        "bytes": request.content_length or 0,
        "address": client_address(request.remote_addr),
    }
    traced = trace.get_current_span().get_span_context()
    trace_id = {"trace_id": trace.format_trace_id(traced.trace_id)} if traced.is_valid else {}
    return told | trace_id | ({"key": g.key} if g.get("key") else {})
