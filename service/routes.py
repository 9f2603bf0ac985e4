"""The routes: what can be asked of the service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, request

from llm.classifier import OF_A_TEXT, Prediction
from llm.request_context import CURRENT_REQUEST
from llm.wrappers.limits import LengthLimited
from marquee.factory import RequestOptions
from marquee.version import __version__
from prompts import registry
from prompts.errors import UnknownName
from service.notes import notes_of
from service.pages import for_either
from service.problem_kinds import KINDS
from service.prompt_preview import asking
from service.readiness import Readiness
from service.request_parsing import read_decision, read_request, read_similar
from service.request_problem import RequestProblem, problem_type
from service.response_cache import CachedResponse
from service.schemas.classify import ClassifyAnswer, ClassifyRequest, PromptRequest
from service.schemas.reference import ModelEntry, ModelsAnswer, VersionAnswer
from service.schemas.similar import SimilarAnswer
from service.services import Services
from service.title_lookup import looked_up

blueprint = Blueprint("marquee", __name__)
_GENRES = "/predict_genre"
_WHOEVER = "marquee"  # as the model of a request: whoever answers here
_STARTED = int(time.time())


def parts() -> Services:
    """The parts that this application was made of."""
    return cast(Services, current_app.extensions["marquee"])


@blueprint.post("/classify")
@blueprint.post("/predict_genre")
def classify() -> Response:
    """Label one text, or a batch of them under ``texts``."""
    if hot := _remembered():
        return hot
    asked = read_request(request, parts().limits, ClassifyRequest)
    taxonomy, choice = asked.vocabulary(parts().taxonomy), asked.choice()
    texts = looked_up(parts().titles, asked)
    classifier = LengthLimited(parts().classifier_for(choice), parts().limits.text_chars)
    predictions = classifier.classify([one.text for one in texts], taxonomy)
    parts().metrics.answered(predictions)
    _raise_if_none_answered(predictions, alone=asked.texts is None)
    genres = request.path.endswith(_GENRES) or asked.asks_for_genres(taxonomy)
    answers = [
        ClassifyAnswer.of(prediction, asked.scores, one.told, genres, notes_of(choice, prediction)).body()
        for prediction, one in zip(predictions, texts, strict=True)
    ]
    response = jsonify(answers[0] if asked.texts is None else {"results": answers})
    if all(prediction.cached for prediction in predictions) and not asked.lookup:
        hot_answer = CachedResponse(response.get_data(), predictions[0].source.model, len(predictions))
        parts().hot.put(_hot_key(), hot_answer)
    return response


def _hot_key() -> bytes:
    """Cache key of everything that a response depends on.

    That is the body, the headers that say how to decode it, and the path, because the same body gives ``genres`` on one
    path and not on the other.
    """
    environ = request.environ
    read_as = (request.path, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", ""))
    return "\0".join(read_as).encode() + b"\0" + request.get_data()


def _remembered() -> Response | None:
    """The answer to a request that came before, word for word."""
    hot = parts().hot.get(_hot_key()) if request.is_json else None
    if hot is None:
        return None
    parts().metrics.again(hot.model, hot.texts)
    return Response(hot.body, mimetype="application/json")


def _raise_if_none_answered(predictions: Sequence[Prediction], alone: bool) -> None:
    """Raise where the whole request fails.

    A single text without an answer fails its request. A batch fails only for a temporary reason that all its readable
    texts share, so that clients retry; an invalid text is that text's problem.
    """
    found = [prediction.problem for prediction in predictions]
    if not all(found):
        return
    passing = [problem for problem in found if problem and (alone or problem.kind not in OF_A_TEXT)]
    if passing:
        raise RequestProblem.of(passing[0])


@blueprint.post("/prompt")
def prompt() -> dict[str, Any]:
    """The very messages that a language model is sent for a text.

    The body is that of ``/classify``, with one text. Where labels are narrowed or reordered before the model is asked,
    the messages are those for the whole taxonomy in its own order.
    """
    asked = read_request(request, parts().limits, PromptRequest)
    choice, taxonomy = asked.choice(), asked.vocabulary(parts().taxonomy)
    told = asking(parts(), choice, looked_up(parts().titles, asked)[0].text, taxonomy)
    return {
        "prompt": told.prompt,
        "strategy": told.strategy,
        "sent": told.sent,
        "requests": len(told.conversations),
        "messages": told.conversations[0],
    }


@blueprint.post("/similar")
@blueprint.post("/suggest")
def similar() -> Response:
    """The films most like a text, or like a film of the catalogue."""
    asked = read_similar(request, parts().limits)
    films = parts().similar()
    return jsonify(SimilarAnswer.of_found(films.search(asked.query(), CURRENT_REQUEST.get()), films.model).body())


@blueprint.post("/v1/decisions")
def decisions() -> Response:
    """Answer typed questions about a text with probabilities, in the shapes of OpenAI's Decisions API."""
    asked, decider = read_decision(request, parts().limits), parts().returns_labels()
    if asked.model not in (names := (decider.name, _WHOEVER)):
        raise UnknownName("model", asked.model, names)
    decided = decider.decide(asked)
    parts().metrics.answered(decided.asked)
    parts().metrics.decided(answer.type for answer in decided.answers)
    return jsonify(decided.told().body())


@blueprint.get("/v1/models")
def models() -> dict[str, Any]:
    """The names under which ``/v1/decisions`` can be asked, as OpenAI lists models."""
    names = (parts().returns_labels().name, _WHOEVER)
    return ModelsAnswer(data=[ModelEntry(id=name, created=_STARTED) for name in names]).model_dump()


@blueprint.get("/taxonomies")
def taxonomies() -> dict[str, Any]:
    """The taxonomies that requests may name."""
    return {
        "default": parts().taxonomy,
        "taxonomies": [taxonomy.as_json() for taxonomy in registry.taxonomies().values()],
    }


@blueprint.get("/prompts")
def prompts() -> dict[str, Any]:
    """The prompts that requests may name."""
    return {
        "prompts": [
            {"name": prompt.name, "digest": prompt.digest, "about": prompt.about, "source": prompt.source}
            for prompt in registry.prompts().values()
        ]
    }


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> dict[str, str]:
    """The classifier could answer now; else 503 and why not."""
    if parts().stopping.is_set():
        raise RequestProblem("stopping", "this process has been told to stop and takes no new work soon", retry_after=5)
    if problem := cast(Readiness, current_app.extensions["marquee readiness"])():
        raise RequestProblem.of(problem)
    return {"status": "ready", "model": parts().classifier_for(RequestOptions()).name}


@blueprint.get("/version")
def version() -> dict[str, str]:
    """The version of this program, and the model that answers."""
    model = parts().classifier_for(RequestOptions()).name
    return VersionAnswer(name="marquee", version=__version__, model=model).model_dump()


@blueprint.get("/problems/<slug>")
def problem(slug: str) -> Response:
    """What a problem's ``type`` means, its usual causes and what to do: a page for browsers, JSON for programs."""
    if slug not in KINDS:
        raise RequestProblem("not-found", str(UnknownName("problem type", slug, KINDS)))
    members = {"type": problem_type(slug), **asdict(KINDS[slug])}
    return for_either(members, "problem.html", slug=slug, kind=KINDS[slug])


@blueprint.get("/")
def index() -> Response:
    """What can be asked here: a page for browsers, JSON for programs."""
    return for_either(_index(), "index.html")


def _index() -> dict[str, Any]:
    return {
        "service": "Marquee: zero-shot text classification",
        "answers": parts().classifier_for(RequestOptions()).name,
        "routes": {
            "POST /classify": 'label a text: {"description": "..."}',
            "POST /prompt": "the messages that a language model is sent for a text",
            "POST /similar": 'films like a text: {"description": "...", "k": 10}',
            "POST /v1/decisions": "typed questions about a text, in OpenAI's shapes",
            "GET /v1/models": "the names of the model that answers them",
            "GET /taxonomies": "the taxonomies",
            "GET /prompts": "the prompts",
            "GET /healthz": "alive",
            "GET /readyz": "able to answer",
            "GET /version": "the version of this program, and the model that answers",
            "GET /docs": "all routes with their schemas, to read and try; GET /openapi.json for programs",
            "GET /metrics": "figures for Prometheus",
        },
    }
