"""The other routes: similar films, typed questions, taxonomies, prompts, health, metrics, and the pages of browsers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
    send_from_directory,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from werkzeug.exceptions import NotFound

from llm.classifier import Problem
from llm.request_context import CURRENT_REQUEST
from marquee import __version__
from prompts import registry
from prompts.errors import UnknownName, quoted
from service.classification import current_services
from service.decision_answers import DecisionResult
from service.openapi import document, routes_of
from service.problem_kinds import KINDS
from service.problems import RequestProblem, problem_type
from service.request_parsing import read_decision, read_similar, read_systemone
from service.schemas.decisions import DecisionRequest
from service.schemas.routes import ModelEntry, ModelMetadata, ModelsAnswer, SimilarAnswer, VersionAnswer

blueprint = Blueprint("marquee", __name__, template_folder="page")

_ANY_MODEL = "marquee"  # model name of a request that accepts any model
_STARTED = int(time.time())
_CHECK_SECONDS = 1.0  # a check's result is used again for so long
_STALE_SECONDS = 10.0  # and for so long while the next check runs
# Pages load everything from this service, so markup in a label or a text can load and run nothing.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


class Readiness:
    """Caches the result of a check that threads share. One check runs at a time.

    While a check runs, other threads get the last result where it is not stale. An endpoint that does not respond then
    blocks one thread, not all.

    Args:
        check: returns why the model cannot answer now; None where it can.
    """

    def __init__(self, check: Callable[[], Problem | None]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._last: tuple[Problem | None, float] | None = None  # a result, and its monotonic time
        self._running: Future[Problem | None] | None = None

    def __call__(self) -> Problem | None:
        """The result of a check of the last second, or of the running one."""
        with self._lock:
            last = self._last_within(_STALE_SECONDS if self._running else _CHECK_SECONDS)
            if last is not None:
                return last[0]
            running, starts = self._running, self._running is None
            if running is None:
                running = self._running = Future()
        if starts:
            self._run(running)
        return running.result()

    def _last_within(self, seconds: float) -> tuple[Problem | None, float] | None:
        return self._last if self._last and time.monotonic() - self._last[1] < seconds else None

    def _run(self, running: Future[Problem | None]) -> None:
        try:
            result = self._check()
        except BaseException as error:
            self._end(None)
            running.set_exception(error)
        else:
            self._end((result, time.monotonic()))
            running.set_result(result)

    def _end(self, last: tuple[Problem | None, float] | None) -> None:
        with self._lock:
            self._last, self._running = last, None


@blueprint.post("/similar")
@blueprint.post("/suggest")
def similar() -> Response:
    """Find the films that are most similar to a text, or to a film of the index."""
    body = read_similar(request, current_services().limits)
    films = current_services().similar()
    return jsonify(SimilarAnswer.from_result(films.search(body.query(), CURRENT_REQUEST.get()), films.model).body())


@blueprint.post("/v1/decisions")
def decisions() -> Response:
    """Answer typed questions about a text with probabilities, in the shapes of OpenAI's Decisions API."""
    return jsonify(_decide(read_decision(request, current_services().limits)).response().body())


@blueprint.post("/v1/systemone")
def systemone() -> Response:
    """Answer typed questions about a text with probabilities, in the shapes of TypeSafe's System One API."""
    from service.schemas.systemone import SystemOneAnswer

    body = read_systemone(request, current_services().limits)
    try:
        result = _decide(body.decision)
    except RequestProblem as problem:
        if not problem.field:
            raise
        place = body.place(problem.field)
        detail = problem.detail.replace(problem.field, place)
        raise RequestProblem(problem.slug, detail, place, problem.retry_after) from None
    return jsonify(SystemOneAnswer.of(body, result.response()).body())


def _decide(body: DecisionRequest) -> DecisionResult:
    """The model's answers, counted in the metrics."""
    services = current_services()
    decider = services.question_decider
    if body.model not in (names := (decider.name, _ANY_MODEL)):
        raise UnknownName("model", body.model, names)
    result = decider.decide(body)
    services.metrics.count_predictions(result.predictions)
    services.metrics.count_questions(answer.type for answer in result.answers)
    return result


@blueprint.get("/v1/models")
def models() -> dict[str, Any]:
    """List the model names that typed questions accept, as OpenAI (``data``) and TypeSafe (``models``) list them."""
    names = (current_services().question_decider.name, _ANY_MODEL)
    day = time.strftime("%Y-%m-%d", time.gmtime(_STARTED))
    return ModelsAnswer(
        data=[ModelEntry(id=name, created=_STARTED) for name in names],
        models=[ModelMetadata(name=name, release_date=day) for name in names],
    ).model_dump()


@blueprint.get("/taxonomies")
def taxonomies() -> dict[str, Any]:
    """List the taxonomies that requests may name."""
    found = registry.taxonomies()
    return {
        "default": current_services().taxonomy,
        "taxonomies": [taxonomy.as_json() for taxonomy in found.values()],
        "skipped": [str(error) for error in found.faulty.values()],
    }


@blueprint.get("/prompts")
def prompts() -> dict[str, Any]:
    """List the prompts that requests may name."""
    found = registry.prompts()
    return {
        "prompts": [
            {"name": prompt.name, "digest": prompt.digest, "about": prompt.about, "source": prompt.source}
            for prompt in found.values()
        ],
        "skipped": [str(error) for error in found.faulty.values()],
    }


@blueprint.get("/healthz")
@blueprint.get("/health")
def healthz() -> dict[str, Any]:
    """Report that the process is alive, and which files of taxonomies and prompts it cannot use as they are now."""
    skipped = registry.skipped()
    return {"status": "ok", **({"skipped": skipped} if skipped else {})}


@blueprint.get("/readyz")
def readyz() -> dict[str, str]:
    """Report that the classifier can answer now; else 503 and the reason."""
    if current_services().stopping.is_set():
        raise RequestProblem("stopping", "this process is stopping and accepts no more requests soon", retry_after=5)
    readiness: Readiness = current_app.extensions["marquee readiness"]
    if problem := readiness():
        raise RequestProblem.of(problem)
    return {"status": "ready", "model": current_services().model}


@blueprint.get("/version")
def version() -> dict[str, Any]:
    """Report the version of this program, the model that answers and its strategy."""
    return _version().model_dump()


def _version() -> VersionAnswer:
    services = current_services()
    return VersionAnswer(name="marquee", version=__version__, model=services.model, strategy=services.strategy)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Metrics for Prometheus."""
    services = current_services()
    services.set_coverage_targets()
    return Response(services.metrics.exposition(), content_type=CONTENT_TYPE_LATEST)


@blueprint.get("/problems/<slug>")
def problem(slug: str) -> Response:
    """Explain the ``type`` of an error: its causes and what to do, as a page for browsers or JSON for programs."""
    if slug not in KINDS:
        raise RequestProblem("not-found", str(UnknownName("problem type", slug, KINDS)))
    members = {"type": problem_type(slug), **asdict(KINDS[slug])}
    return _page_or_json(members, "problem.html", slug=slug, kind=KINDS[slug])


@blueprint.get("/", strict_slashes=True)  # without the slash, the links of the page would lead elsewhere
def index() -> Response:
    """List the routes: a page for browsers, JSON for programs."""
    return _page_or_json(_index(), "index.html", version=_version())


def _index() -> dict[str, Any]:
    return {
        "service": "Marquee: zero-shot text classification",
        "answers": current_services().model,
        "routes": {
            "POST /classify": 'label a text: {"description": "..."}',
            "POST /prompt": "the messages that a language model receives for a text",
            "POST /similar": 'similar films: {"description": "...", "k": 10}',
            "POST /v1/decisions": "typed questions about a text, in OpenAI's shapes",
            "POST /v1/systemone": "typed questions about a text, in TypeSafe's shapes",
            "POST /feedback": "the right labels of an answer or of a text",
            "GET /review": "a page to label texts that were picked; GET /review/texts for programs",
            "GET /v1/models": "the model names of /v1/decisions and /v1/systemone",
            "GET /taxonomies": "the taxonomies",
            "GET /prompts": "the prompts",
            "GET /healthz": "liveness",
            "GET /readyz": "readiness",
            "GET /version": "the version of this program, and the model that answers",
            "GET /docs": "all routes with their schemas and a form to try each; GET /openapi.json for programs",
            "GET /metrics": "metrics for Prometheus",
        },
    }


@blueprint.get("/docs")
def docs() -> Response:
    """Show every route with its schema, an example and a form to try it, as a page."""
    return html_page("docs.html")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This document."""
    built = current_app.extensions.get("marquee openapi")
    if built is None:  # the routes of an application do not change once it serves
        built = current_app.extensions["marquee openapi"] = current_app.json.dumps(document(current_app))
    servers = json.dumps([{"url": request.script_root or "/"}])
    return Response(f'{{"servers": {servers}, {built[1:]}', mimetype="application/json")


@blueprint.get("/page/<name>")
def static_file(name: str) -> Response:
    """Send a stylesheet, script or picture of the pages."""
    try:
        response = send_from_directory(f"{blueprint.root_path}/page/static", name, conditional=False)
    except NotFound:
        raise RequestProblem("not-found", f"the pages have no file {quoted(name)}") from None
    response.make_conditional(request.environ)  # not for ranges: a header Range is ignored
    return response


def _page_or_json(members: Mapping[str, Any], template: str, **values: Any) -> Response:
    """A page where the client prefers HTML, as browsers do; else JSON."""
    preferred = request.accept_mimetypes.best_match(("application/json", "text/html"))
    response = html_page(template, **values) if preferred == "text/html" else jsonify(members)
    response.vary.add("Accept")
    return response


def html_page(template: str, **values: Any) -> Response:
    """A page. Its links are relative to the service's root, so they work under any prefix of a reverse proxy."""
    paths = {path for _, path, _ in routes_of(current_app)}  # the page requests only those that exist
    reviewed = current_services().review is not None
    root = "../" * (request.path.count("/") - 1) or "./"
    response = make_response(render_template(template, paths=paths, root=root, review=reviewed, **values))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY  # the hook adds the other headers
    return response
