"""Every request gets an id and a time to be done in, and leaves a line in the log and its figures."""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from dataclasses import replace

from flask import Flask, Response, g, request

from llm.request_context import CURRENT_REQUEST, RequestContext
from prompts.network import client_address
from service.errors import RequestProblem
from service.metrics import Metrics
from service.server.client_disconnected import disconnected
from service.tracing import Spans

log = logging.getLogger("service.requests")

_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_QUIET = frozenset(["/healthz", "/readyz", "/metrics"])  # asked every few seconds, and of no interest when they go well


def install(app: Flask, metrics: Metrics, seconds: float, spans: Spans | None = None) -> None:
    """Trace an application's requests.

    Args:
        app: the application.
        metrics: where figures go.
        seconds: how long a request may take that does not say so itself.
        spans: makes OpenTelemetry's spans, where they are asked for.
    """

    @app.before_request
    def begin() -> None:
        g.start = time.perf_counter()
        CURRENT_REQUEST.set(RequestContext(_request_id()))  # first, so that a refusal of the next line has one
        client = request.environ.get("gunicorn.socket")
        asking = RequestContext(
            _request_id(), deadline=time.monotonic() + _allowed(seconds), disconnected=disconnected(client)
        )
        if spans and _route() not in _QUIET:
            g.span = spans.request(request.method, _route(), dict(request.headers))
            asking = replace(asking, trace=g.span)
        CURRENT_REQUEST.set(asking)

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.perf_counter() - g.get("start", time.perf_counter())
        response.headers["X-Request-ID"] = CURRENT_REQUEST.get().request_id
        route = _route()
        metrics.asked(route, response.status_code, seconds)
        if "span" in g:
            g.span.end(response.status_code)
        level = logging.DEBUG if route in _QUIET and response.status_code < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "request", extra={"told": _told(response, seconds)})
        return response

    @app.teardown_request
    def forget(error: BaseException | None) -> None:
        CURRENT_REQUEST.set(RequestContext())


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
    traced = {"trace_id": g.span.trace_id} if "span" in g else {}
    return told | traced | ({"key": g.key} if g.get("key") else {})
