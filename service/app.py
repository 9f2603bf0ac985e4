"""The Flask application, and its error responses: application/problem+json (RFC 9457) with a stable ``type`` each."""

from __future__ import annotations

import json
import logging
import math
from difflib import get_close_matches

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from llm.request_context import waiting_problem
from prompts.errors import InvalidExamples, InvalidSetting, InvalidTaxonomy, OtherTaxonomy, UnknownName, quoted
from service import classification, feedback, request_hooks, review, routes
from service.problem_kinds import KINDS
from service.problems import RequestProblem, problem_body
from service.services import Services
from similarity.errors import (
    Disconnected,
    Expired,
    InvalidIndex,
    Rejected,
    SeveralFilms,
    UnknownFilm,
    UnknownGenre,
    UnknownTitle,
)

log = logging.getLogger(__name__)

_SYSTEM_ONE = "/v1/systemone"  # TypeSafe's clients read FastAPI's shape of an invalid request there
_OPENAI = "/v1/"  # OpenAI's clients read a member "error" there; RFC 9457 allows further members
# Error of the packages below -> kind of the error response, and the field of the body that is wrong.
_KIND_OF_ERROR: dict[type[Exception], tuple[str, str | None]] = {
    InvalidTaxonomy: ("invalid-request", "labels"),
    OtherTaxonomy: ("invalid-request", "taxonomy"),
    InvalidExamples: ("invalid-request", "examples"),
    InvalidSetting: ("model-misconfigured", None),
    UnknownFilm: ("unknown-film", "id"),
    UnknownTitle: ("unknown-film", "title"),
    UnknownGenre: ("unknown-genre", "genres"),
    SeveralFilms: ("invalid-request", "title"),
    InvalidIndex: ("no-index", None),
}
_KIND_OF_STATUS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
}


def create_app(services: Services) -> Flask:
    """The service as a WSGI application."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False  # before the routes are added: /classify/ is /classify
    app.config["MAX_CONTENT_LENGTH"] = services.limits.body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]  # scores come best first
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.extensions["marquee"] = services
    app.extensions["marquee readiness"] = routes.Readiness(services.check)
    calibrations = app.extensions["marquee calibrations"] = classification.Calibrations(services)
    app.extensions["marquee responses"] = classification.ResponseCache(services.cache_shared, calibrations)
    # First: rejected requests are logged and counted, too.
    request_hooks.install(app, services.metrics, services.limits.seconds, services.origins)
    request_hooks.install_access_control(app, services.access)
    app.register_blueprint(classification.blueprint)
    app.register_blueprint(feedback.blueprint)
    app.register_blueprint(review.blueprint)
    app.register_blueprint(routes.blueprint)
    _register_error_handlers(app)
    if count := services.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, count, count, count, 0, count)  # type: ignore[method-assign]
    return app


def _register_error_handlers(app: Flask) -> None:
    """Every way in which a request can fail ends in a problem document."""
    app.register_error_handler(RequestProblem, _respond)
    app.register_error_handler(UnknownName, _unknown_name)
    for error in _KIND_OF_ERROR:
        app.register_error_handler(error, _known_error)
    for waiting_error in (Rejected, Expired, Disconnected):
        app.register_error_handler(waiting_error, lambda e: _respond(RequestProblem.of(waiting_problem(e))))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _respond(problem: RequestProblem) -> Response:
    """The problem as a response."""
    status, body = KINDS[problem.slug].status, problem_body(problem.slug, problem.detail, problem.field)
    mimetype = "application/problem+json"
    if request.path.startswith(_OPENAI):
        body["error"] = {
            "message": problem.detail, "type": problem.slug, "param": problem.field, "code": str(status),
        }  # fmt: skip
    if status == 422 and request.path == _SYSTEM_ONE:
        place = [int(part) if part.isdecimal() else part for part in (problem.field or "").split(".") if part]
        fault = {"loc": ["body", *place], "msg": problem.detail, "type": problem.slug}
        body, mimetype = {"detail": [fault], "error": body["error"]}, "application/json"
    response = Response(json.dumps(body, ensure_ascii=False) + "\n", status, mimetype=mimetype)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(problem.retry_after))
    return response


def _known_error(error: Exception) -> Response:
    slug, field = next(_KIND_OF_ERROR[kind] for kind in type(error).__mro__ if kind in _KIND_OF_ERROR)
    return _respond(RequestProblem(slug, str(error), field))


def _unknown_name(error: UnknownName) -> Response:
    return _respond(RequestProblem(f"unknown-{error.kind}", str(error), error.kind))


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    slug = _KIND_OF_STATUS.get(code, "bad-request" if 400 <= code < 500 else "internal")
    methods = ", ".join(sorted(getattr(error, "valid_methods", None) or []))
    detail = {
        "not-found": _not_found(),
        "method-not-allowed": f"{_path()} has no method {request.method}; use {methods}",
        "too-large": "the body is larger than this service allows; send fewer or shorter texts",
        "too-many-requests": f"more than {error.description}; wait for the seconds of Retry-After",
        "bad-request": "the request could not be read to its end; send it again",
        "unsupported-media-type": "the body is not JSON; send -H 'Content-Type: application/json'",
        "internal": "the request failed",
    }[slug]
    response = _respond(RequestProblem(slug, detail))
    if slug == "method-not-allowed":
        response.headers["Allow"] = methods
    return response


def _path() -> str:
    """The path for a message: on one line, and shortened."""
    return quoted(request.path)[1:-1]


def _not_found() -> str:
    paths = {rule.rule for rule in current_app.url_map.iter_rules() if not rule.arguments}
    close = get_close_matches(request.path.lower().rstrip("/"), paths, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else "GET / lists the routes"
    return f"no route {_path()}; {hint}"


def _unexpected(error: Exception) -> Response:
    if current_app.debug:
        raise error  # the debugger shows its traceback
    log.exception("unexpected error at %s %s", request.method, request.path)
    return _respond(RequestProblem("internal", "an unexpected error; the server's log has the traceback"))
