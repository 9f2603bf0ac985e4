"""``POST /classify``, ``/predict_genre`` and ``/prompt``."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request

from llm.classifier import OF_A_TEXT, AnswerSource, Classifier, Prediction, Problem
from llm.request_context import CURRENT_REQUEST
from llm.spending.costs import CHARS_PER_TOKEN
from marquee.feedback.store import FeedbackStore
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.label_tasks import LabelTask
from service.problems import RequestProblem
from service.request_parsing import read_request
from service.schemas.classify import ClassifyAnswer, ClassifyRequest, PromptRequest
from service.schemas.label_fields import REPORTED, answer_options, chosen_options
from service.services import Services
from similarity.lru import LRUCache

blueprint = Blueprint("classification", __name__)
_GENRES = "/predict_genre"
LOOK_EVERY = 1.0  # seconds
_MAX_RESPONSES = 4_096
_MAX_RESPONSE_BYTES = 16_384


@dataclass(frozen=True)
class CachedResponse:
    """A response body, and what is counted when it is sent again: the model and the number of texts."""

    body: bytes
    model: str
    texts: int


class Calibrations:
    """The files of calibrations of a service, looked at once a second at most: a ``stat`` of each costs every request.

    Attributes:
        state: changes with the files.
        has_sets: whether answers may have prediction sets.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._looked, self.state, self.has_sets = services, -math.inf, "", False

    def look(self) -> None:
        """Look at the files, unless that was less than a second ago."""
        now = time.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self.state, self.has_sets, self._looked = *self._services.calibration_state(), now


class ResponseCache:
    """Responses by the bytes of their requests, which saves parsing, rendering and SQLite.

    It has only responses whose predictions all came from the answer cache: they depend on nothing but the request and
    files.

    Args:
        shared: whether requests with different API keys share responses; see ``llm.wrappers.cache.Cached``.
        calibrations: the files that answers depend on.
    """

    def __init__(self, shared: bool, calibrations: Calibrations) -> None:
        self._shared, self._calibrations = shared, calibrations
        self._responses: LRUCache[bytes, CachedResponse] = LRUCache(_MAX_RESPONSES)

    def get(self) -> CachedResponse | None:
        """The response to the current request, if it is cached."""
        return self._responses.get(self._key())

    def put(self, response: CachedResponse) -> None:
        """Cache the response to the current request, unless it is large."""
        if len(response.body) <= _MAX_RESPONSE_BYTES:
            self._responses.put(self._key(), response)

    def _key(self) -> bytes:
        """Digest of everything that the response depends on.

        The path is part of it: the same body has ``genres`` in the response of one path only.
        """
        environ, own = request.environ, registry.OWN
        files = f"{registry.versions() if own.taxonomies or own.prompts else ''} {self._calibrations.state}"
        scope = "" if self._shared else CURRENT_REQUEST.get().cache_salt
        parts = (scope, request.path, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", ""), files)
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + request.get_data()).digest()


def current_services() -> Services:
    """The services of the current application."""
    services: Services = current_app.extensions["marquee"]
    return services


def default_taxonomy(services: Services) -> Taxonomy:
    """The taxonomy of requests that name none; as at the start where its file has been removed since."""
    first = services.first_default
    return registry.taxonomies().get(services.taxonomy, first) if registry.OWN.taxonomies else first


@blueprint.post("/classify")
@blueprint.post("/predict_genre")
def classify() -> Response:
    """Label a text, or a batch of texts under ``texts``."""
    services = current_services()
    responses: ResponseCache = current_app.extensions["marquee responses"]
    calibrations: Calibrations = current_app.extensions["marquee calibrations"]
    calibrations.look()
    if _caches_responses(services) and request.is_json and (cached := responses.get()):
        services.metrics.count_cached(cached.model, cached.texts)
        return Response(cached.body, mimetype="application/json")
    body = read_request(request, services.limits, ClassifyRequest)
    if body.taxonomies is not None or body.has_own_labels:
        return _classify_sets(services, body)
    taxonomy = body.resolve_taxonomy(default_taxonomy(services))
    genres = request.path.rstrip("/").endswith(_GENRES) or body.returns_genres(taxonomy)
    task = None if body.is_plain else _task(body, taxonomy, genres)
    lookups = services.titles.look_up(body) if body.lookup else []
    texts = [lookup.text for lookup in lookups] if body.lookup else body.all_texts()
    options = task.options if task else body.options()
    classifier = services.classifier_for(options)
    offered = task.taxonomy_for(classifier.name) if task else taxonomy
    predictions = _predict(classifier, texts, offered, services.limits.text_chars)
    if calibrations.has_sets:
        predictions = services.with_sets(predictions, options)
    if task:
        predictions = [task.apply(prediction) for prediction in predictions]
    if body.explain:
        from llm.evidence.explaining import Explainer

        predictions = Explainer(classifier).explain(texts, predictions, offered)
    services.metrics.count_predictions(predictions)
    _raise_if_all_failed(predictions, single=body.texts is None)
    if services.feedback:
        _record(
            services,
            services.feedback,
            [(place, taxonomy.name, texts[place], taxonomy) for place in range(len(texts))],
            predictions,
        )
    results = [lookup.answer for lookup in lookups] if body.lookup else [None] * len(texts)
    answers = [
        (task.answer_of(prediction, result) if task else ClassifyAnswer.of(prediction, False, result, genres)).body()
        for prediction, result in zip(predictions, results, strict=True)
    ]
    response = jsonify(answers[0] if body.texts is None else {"results": answers})
    repeated = _caches_responses(services) and not (body.lookup or body.explain)
    if repeated and all(prediction.cached for prediction in predictions):
        responses.put(CachedResponse(response.get_data(), predictions[0].source.model, len(predictions)))
    return response


def _classify_sets(services: Services, body: ClassifyRequest) -> Response:
    """Label the texts with several label sets; see ``service.label_sets``."""
    from service.label_sets import LabelSets, predict

    lookups = services.titles.look_up(body) if body.lookup else []
    texts = [lookup.text for lookup in lookups] if body.lookup else body.all_texts()
    results = [lookup.answer for lookup in lookups] if body.lookup else [None] * len(texts)
    sets = LabelSets(body, default_taxonomy(services), request.path.rstrip("/").endswith(_GENRES))
    jobs = sets.jobs(texts, services.limits.labels)
    predictions = predict(services, jobs, body.explain)
    services.metrics.count_predictions(predictions)
    _raise_if_all_failed(predictions, single=body.texts is None)
    if services.feedback:
        _record(services, services.feedback, sets.places(jobs), predictions)
    answers = sets.answers(predictions, jobs, results)
    return jsonify(answers[0] if body.texts is None else {"results": answers})


def _task(body: ClassifyRequest, taxonomy: Taxonomy, genres: bool) -> LabelTask:
    options = chosen_options(body, body.options(), taxonomy)
    reports = not REPORTED.isdisjoint(body.model_fields_set)
    return LabelTask(taxonomy, options, answer_options(body, body.scores is True), body.with_scores, genres, reports)


def _predict(classifier: Classifier, texts: Sequence[Text], taxonomy: Taxonomy, max_chars: int) -> list[Prediction]:
    """One prediction per text; a text above the limit gets the problem ``too_long`` and is not sent on."""
    lengths = [len(text.body) + len(text.title) for text in texts]
    short = [text for text, length in zip(texts, lengths, strict=True) if length <= max_chars]
    predictions = iter(classifier.classify(short, taxonomy) if short else [])
    source = AnswerSource(classifier.name, taxonomy.versioned_name)
    return [
        next(predictions) if length <= max_chars else Prediction((), source, problem=_too_long(length, max_chars))
        for length in lengths
    ]


def _too_long(length: int, max_chars: int) -> Problem:
    return Problem("too_long", f"the text has {length} characters; at most {max_chars}")


def _record(
    services: Services,
    store: FeedbackStore,
    answered: Sequence[tuple[int, str, Text, Taxonomy]],
    predictions: Sequence[Prediction],
) -> None:
    """Record the answers of the current request, for feedback on them.

    Args:
        services: has what is learned.
        store: records the answers.
        answered: per prediction, the number of its text, the name of its taxonomy in the request, text and taxonomy.
        predictions: the answers; those with a problem are left out.
    """
    from marquee.feedback.entries import RecordedAnswer

    version_of = services.learned.name if services.learned else _no_version
    rows = [
        (place, name, RecordedAnswer.of(text, taxonomy, prediction, version_of(taxonomy), store.with_texts))
        for (place, name, text, taxonomy), prediction in zip(answered, predictions, strict=True)
        if not prediction.problem
    ]
    store.record(g.get("key") or "", CURRENT_REQUEST.get().request_id, rows)


def _caches_responses(services: Services) -> bool:
    """Whether the response to the same bytes stays the same, and needs no record of its own."""
    return services.feedback is None and services.learned is None


def _no_version(taxonomy: Taxonomy) -> str:
    return ""


def _raise_if_all_failed(predictions: Sequence[Prediction], single: bool) -> None:
    """End the request where no text has an answer and a retry may help.

    A single text ends its request with any problem. A batch ends with a problem that does not depend on the texts
    (an outage); a problem of a text stays in the results.
    """
    problems = [prediction.problem for prediction in predictions]
    if not all(problems):
        return
    if problem := next((one for one in problems if one and (single or one.kind not in OF_A_TEXT)), None):
        raise RequestProblem.of(problem)


@blueprint.post("/prompt")
def prompt() -> dict[str, Any]:
    """Show the messages that a language model receives for a text.

    The body is that of ``/classify``, with one text. The messages are those under the settings of the service, with
    the labels of its shortlist, or those of the first step of a descent through a hierarchy.
    """
    services = current_services()
    body = read_request(request, services.limits, PromptRequest)
    taxonomy = body.resolve_taxonomy(default_taxonomy(services))
    options = chosen_options(body, body.options(), taxonomy)
    (text,) = [lookup.text for lookup in services.titles.look_up(body)] if body.lookup else body.all_texts()
    preview = services.preview(options, text, taxonomy)
    chars = sum(len(message["content"]) for one in preview.conversations for message in one)
    steps = [{"below": path, "labels": labels} for path, labels in preview.steps.items()]
    return {
        "prompt": preview.prompt,
        "strategy": preview.strategy,
        "sent": preview.sent,
        "requests": len(preview.conversations),
        "prompt_tokens": round(chars / CHARS_PER_TOKEN),
        **({"shortlist": preview.shortlist} if preview.shortlist else {}),
        **({"steps": steps} if steps else {}),
        "messages": preview.conversations[0],
    }
