"""Errors as people and programs read them: application/problem+json (RFC 9457), of a stable ``type`` each."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from difflib import get_close_matches

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from llm.request_context import waiting_problem
from prompts.errors import InvalidSetting, InvalidTaxonomy, OtherTaxonomy, UnknownName, quoted
from service.problem_kinds import KINDS
from service.request_problem import RequestProblem, problem_body
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

_OPENAI = "/v1/"  # below it, clients of OpenAI's look for a member "error"; RFC 9457 lets a document have more members


def respond(problem: RequestProblem) -> Response:
    """The problem as a response."""
    status, body = KINDS[problem.slug].status, problem_body(problem.slug, problem.detail, problem.field)
    if request.path.startswith(_OPENAI):
        told = {"message": problem.detail, "type": problem.slug, "param": problem.field, "code": str(status)}
        body["error"] = told
    raw = json.dumps(body, ensure_ascii=False) + "\n"
    response = Response(raw, status, mimetype="application/problem+json")
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(problem.retry_after))
    return response


def install(app: Flask) -> None:
    """Let every way in which a request can fail end in a problem document."""
    app.register_error_handler(RequestProblem, respond)
    app.register_error_handler(UnknownName, _unknown_name)
    app.register_error_handler(InvalidTaxonomy, lambda e: respond(RequestProblem("invalid-request", str(e), "labels")))
    app.register_error_handler(OtherTaxonomy, lambda e: respond(RequestProblem("invalid-request", str(e), "taxonomy")))
    app.register_error_handler(InvalidSetting, lambda e: respond(RequestProblem("model-misconfigured", str(e))))
    app.register_error_handler(UnknownFilm, lambda e: respond(RequestProblem("unknown-film", str(e), "id")))
    app.register_error_handler(UnknownTitle, lambda e: respond(RequestProblem("unknown-film", str(e), "title")))
    app.register_error_handler(UnknownGenre, lambda e: respond(RequestProblem("unknown-genre", str(e), "genres")))
    app.register_error_handler(SeveralFilms, lambda e: respond(RequestProblem("invalid-request", str(e), "title")))
    app.register_error_handler(InvalidIndex, lambda e: respond(RequestProblem("no-index", str(e))))
    for error in (Rejected, Expired, Disconnected):
        app.register_error_handler(error, lambda e: respond(RequestProblem.of(waiting_problem(e))))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _surprise)


def _unknown_name(error: UnknownName) -> Response:
    return respond(RequestProblem(f"unknown-{error.kind}", str(error), error.kind))


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    slug = _SLUG_BY_STATUS.get(code, "bad-request" if 400 <= code < 500 else "internal")
    detail = {
        "not-found": _nothing_there(),
        "method-not-allowed": f"{_path()} does not take {request.method}; it takes {_allowed(error)}",
        "too-large": "the body is larger than this service takes; send fewer or shorter texts",
        "too-many-requests": f"more than {error.description}; wait as long as Retry-After says",
        "bad-request": "the request could not be read to its end; send it again",
        "unsupported-media-type": "the body is not JSON; send -H 'Content-Type: application/json'",
        "internal": "the request could not be served",
    }[slug]
    response = respond(RequestProblem(slug, detail))
    if slug == "method-not-allowed":
        response.headers["Allow"] = _allowed(error)
    return response


def _path() -> str:
    """The path as a message shows it: on one line, and cut."""
    return quoted(request.path)[1:-1]


def _nothing_there() -> str:
    paths = {rule.rule for rule in current_app.url_map.iter_rules() if not rule.arguments}
    close = get_close_matches(request.path.lower().rstrip("/"), paths, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else "GET / lists what there is"
    return f"there is nothing at {_path()}; {hint}"


def _allowed(error: HTTPException) -> str:
    return ", ".join(sorted(getattr(error, "valid_methods", None) or []))


def _surprise(error: Exception) -> Response:
    if current_app.debug:
        raise error  # its story belongs in the debugger
    log.exception("unexpected error at %s %s", request.method, request.path)
    return respond(RequestProblem("internal", "an unexpected error; it stands in the server's log"))


_SLUG_BY_STATUS: Mapping[int, str] = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
}
