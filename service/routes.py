"""The routes: what can be asked of the service."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, request

from llm.classifier import Prediction
from prompts import shelf
from service.body import read_request
from service.hot import Hot
from service.parts import Choice, Parts
from service.problems import KINDS, RequestProblem
from service.schemas import ClassifyAnswer

blueprint = Blueprint("marquee", __name__)


def parts() -> Parts:
    """The parts that this application was made of."""
    return cast(Parts, current_app.extensions["marquee"])


@blueprint.post("/classify")
@blueprint.post("/predict_genre")
def classify() -> Response:
    """Label one text, or a batch of them under ``texts``."""
    if hot := _remembered():
        return hot
    asked = read_request(request, parts().limits)
    taxonomy = asked.vocabulary(parts().taxonomy)
    predictions = parts().classifier_for(asked.choice()).classify(asked.all_texts(), taxonomy)
    parts().metrics.answered(predictions)
    _raise_if_all_failed(predictions)
    answers = [ClassifyAnswer.of(prediction, asked.scores).body() for prediction in predictions]
    response = jsonify(answers[0] if asked.texts is None else {"results": answers})
    if all(prediction.cached for prediction in predictions):
        hot_answer = Hot(response.get_data(), predictions[0].source.model, len(predictions))
        parts().hot.put(request.get_data(), hot_answer)
    return response


def _remembered() -> Response | None:
    """The answer to a request that came before, word for word."""
    hot = parts().hot.get(request.get_data()) if request.is_json else None
    if hot is None:
        return None
    parts().metrics.again(hot.model, hot.texts)
    return Response(hot.body, mimetype="application/json")


def _raise_if_all_failed(predictions: list[Prediction]) -> None:
    """A request with no answer at all fails; one failed text of a batch is told in its place."""
    found = [prediction.problem for prediction in predictions]
    if found[0] is not None and all(found):
        raise RequestProblem.of(found[0])


@blueprint.get("/taxonomies")
def taxonomies() -> dict[str, Any]:
    """The vocabularies that requests may name."""
    return {
        "default": parts().taxonomy,
        "taxonomies": [taxonomy.as_json() for taxonomy in shelf.taxonomies().values()],
    }


@blueprint.get("/prompts")
def prompts() -> dict[str, Any]:
    """The prompts that requests may name."""
    return {
        "prompts": [
            {"name": prompt.name, "digest": prompt.digest, "about": prompt.about, "source": prompt.source}
            for prompt in shelf.prompts().values()
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
    if problem := parts().check():
        raise RequestProblem.of(problem)
    return {"status": "ready", "model": parts().classifier_for(Choice()).name}


@blueprint.get("/problems/<slug>")
def problem(slug: str) -> dict[str, Any]:
    """What a problem's ``type`` means."""
    if slug not in KINDS:
        raise RequestProblem("not-found", f"there is no problem type {slug!r}")
    return {"type": f"/problems/{slug}", "title": KINDS[slug].title, "status": KINDS[slug].status}


@blueprint.get("/")
def index() -> dict[str, Any]:
    """What can be asked here."""
    return {
        "service": "Marquee: zero-shot text classification",
        "answers": parts().classifier_for(Choice()).name,
        "routes": {
            "POST /classify": 'label a text: {"description": "..."}',
            "GET /taxonomies": "the vocabularies",
            "GET /prompts": "the prompts",
            "GET /healthz": "alive",
            "GET /readyz": "able to answer",
            "GET /metrics": "figures for Prometheus",
        },
    }
