"""``/openapi.json``, built from the routes and their pydantic models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getdoc
from itertools import groupby
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.access_control import is_guarded
from service.problem_kinds import KINDS
from service.schemas import routes
from service.schemas.batch_answers import BatchAnswer, TaxonomyAnswers
from service.schemas.classify import ClassifyAnswer, ClassifyRequest, PromptRequest
from service.schemas.decisions import DecisionAnswer, DecisionRequest
from service.schemas.feedback import DeletionAnswer, FeedbackAnswer, FeedbackRequest
from service.schemas.review import ReviewAnswer
from service.schemas.systemone import SystemOneAnswer, SystemOneInvalid, SystemOneRequest

_JSON = "application/json"
_REFERENCE = "#/components/schemas/{model}"
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}  # Flask adds HEAD and OPTIONS
_INFO = {
    "title": "Marquee",
    "version": "1",
    "summary": "Zero-shot text classification",
    "description": "Labels texts with the labels of a closed taxonomy.",
}


@dataclass(frozen=True)
class Operation:
    """Request and response of a route; the docstring of its function is the description.

    Attributes:
        answers: alternative models of a successful response.
        body: model of the request body.
        media: content types of a successful response without a model, with their JSON types.
        problems: further keys of ``KINDS``, beside ``EVERYWHERE`` and ``GUARDED``.
        values: examples for each variable of the path.
        example: an example of the request body.
        invalid: model of the response to an invalid request, where it is no problem document.
    """

    answers: tuple[type[BaseModel], ...] = ()
    body: type[BaseModel] | None = None
    media: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    invalid: type[BaseModel] | None = None


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document (3.1) of all routes of an application, in the order of ``OPERATIONS``."""
    order = list(OPERATIONS)
    found = sorted(
        routes_of(app), key=lambda route: (order.index(route[:2]) if route[:2] in order else len(order), route)
    )
    paths: dict[str, dict[str, Any]] = {}
    for method, path, endpoint in found:
        docstring = (getdoc(app.view_functions[endpoint]) or "").replace("``", "`")
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, docstring)
    components = {"schemas": _schemas(), "securitySchemes": _SCHEMES, "headers": _HEADERS}
    return {"openapi": "3.1.0", "info": _INFO, "paths": paths, "components": components}


def routes_of(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Method, path in OpenAPI's notation, and endpoint of every route."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) & _METHODS):
            yield method, path, rule.endpoint


def _operation(method: str, path: str, docstring: str) -> dict[str, Any]:
    operation = OPERATIONS.get((method, path), Operation())
    summary, _, description = docstring.partition("\n")
    name = re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_")
    members: dict[str, Any] = {"operationId": name, "summary": summary.rstrip(".")}
    if description.strip():
        members["description"] = description.strip()
    if variables := re.findall(r"{(\w+)}", path):
        members["parameters"] = [_parameter(variable, operation.values.get(variable, ())) for variable in variables]
    if operation.body:
        content = {"schema": _reference(operation.body), "example": operation.example}
        members["requestBody"] = {"required": True, "content": {_JSON: content}}
    guarded = is_guarded(method, path)
    if guarded:  # {}: no key, where the service has none; a deletion always needs one
        members["security"] = [*({name: []} for name in _SCHEMES), *([] if method == "DELETE" else [{}])]
    return members | {"responses": {"200": _success(operation, guarded), **_problems(operation, guarded)}}


def _parameter(variable: str, examples: Sequence[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if examples:
        schema["examples"] = list(examples)
    return {"name": variable, "in": "path", "required": True, "schema": schema}


def _success(operation: Operation, guarded: bool) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": {"type": kind}} for media, kind in operation.media.items()}
    if operation.answers:
        references = [_reference(model) for model in operation.answers]
        content[_JSON] = {"schema": references[0] if len(references) == 1 else {"anyOf": references}}
    return {"description": "The answer", "headers": _headers(200, guarded), "content": content}


def _problems(operation: Operation, guarded: bool) -> dict[str, Any]:
    """The error responses by status."""
    slugs = {*operation.problems, *EVERYWHERE, *(GUARDED if guarded else ())}
    in_order = sorted(slugs, key=lambda slug: (KINDS[slug].status, slug))
    groups = groupby(in_order, key=lambda slug: KINDS[slug].status)
    problems = {str(status): _problem(list(group), _headers(status, guarded)) for status, group in groups}
    if operation.invalid:
        problems["422"]["content"] = {_JSON: {"schema": _reference(operation.invalid)}}
    return problems


def _problem(slugs: list[str], headers: Mapping[str, Any]) -> dict[str, Any]:
    types = {"properties": {"type": {"pattern": f"/problems/({'|'.join(slugs)})$"}}}
    schema = {"allOf": [_reference(routes.ProblemDocument), types]}
    content = {"application/problem+json": {"schema": schema}}
    return {"description": "; ".join(KINDS[slug].title for slug in slugs), "headers": headers, "content": content}


def _headers(status: int, guarded: bool) -> dict[str, Any]:
    rates = [name for name in _HEADERS if guarded and name.startswith("RateLimit")]
    names = ["X-Request-ID", *rates, *_HEADERS_OF_STATUS.get(status, ())]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    models = {
        model
        for operation in OPERATIONS.values()
        for model in (*operation.answers, operation.body, operation.invalid)
        if model
    }
    # As validated: in serialised models every member is required, also those that a response omits.
    ordered = [(model, "validation") for model in sorted(models | {routes.ProblemDocument}, key=lambda m: m.__name__)]
    _, definitions = models_json_schema(ordered, ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


_PLOT = "A young smith forges a magic sword to free her kingdom from a dragon."
# Errors of a request body, of names in it, and of a model.
_BODY = ("bad-request", "not-json", "too-large", "text-too-long", "unsupported-media-type", "invalid-request")
_NAMES = ("unknown-taxonomy", "unknown-prompt", "unknown-strategy")
_MODEL = ("model-rejected", "model-unreadable", "model-misconfigured", "model-unreachable", "model-busy")

_FEEDBACK = ("no-feedback", "feedback-unusable", "feedback-full")
EVERYWHERE: tuple[str, ...] = ("internal", "timeout", "stopping")
GUARDED: tuple[str, ...] = ("no-key", "too-many-requests")

_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer mq_…"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the key alone"},
}

_SECONDS = {"type": "integer", "minimum": 0}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Request-ID": {"description": "the id of the request, or a new one", "schema": {"type": "string"}},
    "RateLimit-Limit": {"description": "requests per window", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "remaining requests of this window", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "seconds until the next window", "schema": _SECONDS},
    "Retry-After": {"description": "seconds after which a retry may succeed", "schema": _SECONDS},
    "WWW-Authenticate": {"description": "authentication scheme", "schema": {"type": "string"}},
}
_HEADERS_OF_STATUS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}

_CLASSIFY = Operation(
    answers=(ClassifyAnswer, TaxonomyAnswers, BatchAnswer),
    body=ClassifyRequest,
    problems=(*_BODY, *_NAMES, *_MODEL),
    example={"description": _PLOT, "scores": True},
)

_SIMILAR = Operation(
    answers=(routes.SimilarAnswer,),
    body=routes.SimilarRequest,
    problems=(*_BODY, "unknown-film", "unknown-genre", "no-index"),
    example={"description": _PLOT, "k": 6},
)

_DECISIONS = Operation(
    answers=(DecisionAnswer,),
    body=DecisionRequest,
    problems=(*_BODY, *_MODEL, "unknown-model", "cannot-decide"),
    example={
        "model": "marquee",
        "input": "My card was charged twice for one order.",
        "questions": [
            {"type": "predicate", "name": "refund", "instructions": "The customer wants money back."},
            {
                "type": "choice",
                "instructions": "Who should answer?",
                "choices": [{"value": "billing"}, {"value": "shipping"}],
            },
        ],
    },
)

_SYSTEM_ONE = Operation(
    answers=(SystemOneAnswer,),
    body=SystemOneRequest,
    problems=(*_BODY, *_MODEL, "unknown-model", "cannot-decide"),
    example={
        "model": "marquee",
        "state": "My card was charged twice for one order.",
        "questions": {
            "refund": {"type": "noul", "instructions": "The customer wants money back."},
            "team": {
                "type": "choice",
                "instructions": "Who should answer?",
                "criteria": {"billing": "charges, invoices, refunds", "shipping": None},
            },
        },
    },
    invalid=SystemOneInvalid,
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/classify"): _CLASSIFY,
    ("POST", "/predict_genre"): _CLASSIFY,
    ("POST", "/prompt"): Operation(
        answers=(routes.PromptAnswer,),
        body=PromptRequest,
        problems=(*_BODY, *_NAMES, *_MODEL),
        example={"description": _PLOT},
    ),
    ("POST", "/similar"): _SIMILAR,
    ("POST", "/suggest"): _SIMILAR,
    ("POST", "/v1/decisions"): _DECISIONS,
    ("POST", "/v1/systemone"): _SYSTEM_ONE,
    ("POST", "/feedback"): Operation(
        answers=(FeedbackAnswer,),
        body=FeedbackRequest,
        problems=(*_BODY, "unknown-taxonomy", "unknown-answer", "no-review", *_FEEDBACK),
        example={"description": _PLOT, "labels": ["Fantasy", "Adventure"]},
    ),
    ("DELETE", "/feedback"): Operation((DeletionAnswer,), problems=_FEEDBACK),
    ("DELETE", "/feedback/{id}"): Operation((DeletionAnswer,), problems=_FEEDBACK),
    ("DELETE", "/feedback/texts/{digest}"): Operation((DeletionAnswer,), problems=_FEEDBACK),
    ("GET", "/review/texts"): Operation((ReviewAnswer,), problems=("no-review", "no-feedback", "feedback-unusable")),
    ("GET", "/review"): Operation(media={"text/html": "string"}, problems=("no-review",)),
    ("GET", "/v1/models"): Operation((routes.ModelsAnswer,)),
    ("GET", "/version"): Operation((routes.VersionAnswer,)),
    ("GET", "/taxonomies"): Operation((routes.TaxonomiesAnswer,)),
    ("GET", "/prompts"): Operation((routes.PromptsAnswer,)),
    ("GET", "/healthz"): Operation((routes.HealthAnswer,)),
    ("GET", "/health"): Operation((routes.HealthAnswer,)),
    ("GET", "/readyz"): Operation((routes.ReadyAnswer,), problems=_MODEL),
    ("GET", "/metrics"): Operation(media={"text/plain": "string"}),
    ("GET", "/problems/{slug}"): Operation(
        (routes.ProblemType,), problems=("not-found",), values={"slug": tuple(KINDS)}
    ),
    ("GET", "/"): Operation((routes.IndexAnswer,), media={"text/html": "string"}),
    ("GET", "/docs"): Operation(media={"text/html": "string"}),
    ("GET", "/openapi.json"): Operation(media={_JSON: "object"}),
    ("GET", "/page/{name}"): Operation(
        media=dict.fromkeys(("text/css", "text/javascript", "image/svg+xml"), "string"), problems=("not-found",)
    ),
}
