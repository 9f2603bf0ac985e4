"""``/openapi.json``: what can be asked and answered, made from the pydantic models and the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from itertools import groupby
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.access_control import is_guarded
from service.problem_kinds import KINDS
from service.schemas import answers
from service.schemas.classify import BatchAnswer, ClassifyAnswer, ClassifyRequest, PromptRequest
from service.schemas.decisions import DecisionAnswer, DecisionRequest
from service.schemas.similar import SimilarAnswer, SimilarRequest

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_REFERENCE = "#/components/schemas/{model}"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # Flask adds HEAD and OPTIONS by itself
_SUPPLIED = {
    "title": "Marquee",
    "version": "1",
    "summary": "Zero-shot text classification",
    "description": "Texts and a closed taxonomy in; labels from that taxonomy, and nothing else, out.",
}


@dataclass(frozen=True)
class Operation:
    """What a route takes and gives; the words stand in the docstring of its function.

    Attributes:
        answers: models of a good answer, one of which it has; none where the answer is not of our own shape.
        body: model of the request's body.
        media: content type of a good answer that no model tells of.
        problems: slugs of ``problems.KINDS`` with which it may fail, beside ``EVERYWHERE``.
        values: for a variable of the path, the values that there are.
        example: a body to try it with.
    """

    answers: tuple[type[BaseModel], ...] = ()
    body: type[BaseModel] | None = None
    media: Mapping[str, str] | None = None
    problems: tuple[str, ...] = ()
    values: Mapping[str, Sequence[str]] | None = None
    example: Mapping[str, Any] | None = None


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI document (3.1) of an application: every route that it has."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, endpoint in sorted(routes_of(app), key=_place):
        told = (getdoc(app.view_functions[endpoint]) or "").replace("``", "`")
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, told)
    components = {"schemas": _schemas(), "securitySchemes": _SCHEMES, "headers": _HEADERS}
    return {"openapi": "3.1.0", "info": _SUPPLIED, "paths": paths, "components": components}


def routes_of(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Method, path as OpenAPI writes it, and endpoint of every route."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) & set(_METHODS)):
            yield method, path, rule.endpoint


def _place(route: tuple[str, str, str]) -> tuple[int, str]:
    """Routes come in the order in which they are told below; what is not told there comes last."""
    known = list(OPERATIONS)
    key = route[:2]
    return (known.index(key) if key in known else len(known), route[1])


def _operation(method: str, path: str, told: str) -> dict[str, Any]:
    operation = OPERATIONS.get((method, path), Operation())
    summary, _, description = told.partition("\n")
    name = re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_")
    whole: dict[str, Any] = {"operationId": name, "summary": summary.rstrip(".")}
    if description.strip():
        whole["description"] = description.strip()
    if variables := re.findall(r"{(\w+)}", path):
        whole["parameters"] = [_parameter(variable, operation.values or {}) for variable in variables]
    if operation.body:
        content = {"schema": _reference(operation.body), "example": operation.example}
        whole["requestBody"] = {"required": True, "content": {_JSON: content}}
    guarded = is_guarded(method, path)
    if guarded:  # without a key too, where the service asks for none
        whole["security"] = [*({name: []} for name in _SCHEMES), {}]
    return whole | {"responses": {"200": _good(operation, guarded), **_bad(operation, guarded)}}


def _parameter(variable: str, values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if variable in values:
        schema["examples"] = list(values[variable])
    return {"name": variable, "in": "path", "required": True, "schema": schema}


def _good(operation: Operation, guarded: bool) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": {"type": kind}} for media, kind in (operation.media or {}).items()}
    if operation.answers:
        references = [_reference(model) for model in operation.answers]
        content[_JSON] = {"schema": references[0] if len(references) == 1 else {"anyOf": references}}
    return {"description": "The answer", "headers": _headers(200, guarded), "content": content}


def _bad(operation: Operation, guarded: bool) -> dict[str, Any]:
    found = {*operation.problems, *EVERYWHERE, *(GUARDED if guarded else ())}
    slugs = sorted(found, key=lambda slug: (KINDS[slug].status, slug))
    groups = groupby(slugs, key=lambda slug: KINDS[slug].status)
    return {str(status): _problem(list(group), _headers(status, guarded)) for status, group in groups}


def _headers(status: int, guarded: bool) -> dict[str, Any]:
    """Which headers an answer may carry."""
    rates = [name for name in _HEADERS if guarded and name.startswith("RateLimit")]
    names = ["X-Request-ID", *rates, *_HEADERS_OF.get(status, ())]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem(slugs: list[str], headers: Mapping[str, Any]) -> dict[str, Any]:
    types = {"properties": {"type": {"pattern": f"/problems/({'|'.join(slugs)})$"}}}
    schema = {"allOf": [_reference(answers.ProblemDocument), types]}
    words = "; ".join(KINDS[slug].title for slug in slugs)
    return {"description": words, "headers": headers, "content": {_PROBLEM: {"schema": schema}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    models = {model for operation in OPERATIONS.values() for model in operation.answers}
    models |= {operation.body for operation in OPERATIONS.values() if operation.body} | {answers.ProblemDocument}
    # As they are validated: serialised models would be said to hold members that we leave out where there are none.
    ordered = [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)]
    _, whole = models_json_schema(ordered, ref_template=_REFERENCE)  # type: ignore[arg-type]
    schemas: dict[str, Any] = whole["$defs"]
    return schemas


_PLOT = "A young smith forges a magic sword to free her kingdom from a dragon."
# How strategy a body fails, and how asking a classifier does.
_BODY = ("bad-request", "not-json", "too-large", "text-too-long", "unsupported-media-type", "invalid-request")
_NAMES = ("unknown-taxonomy", "unknown-prompt", "unknown-strategy")
_MODEL = ("model-rejected", "model-unreadable", "model-misconfigured", "model-unreachable", "model-busy")

EVERYWHERE: tuple[str, ...] = ("internal", "timeout", "stopping")
GUARDED: tuple[str, ...] = ("no-key", "too-many-requests")  # where work is asked for

_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer mq_…"},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "the same in a header of its own",
    },
}

_SECONDS = {"type": "integer", "minimum": 0}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Request-ID": {"description": "the request's own id, or the one made for it", "schema": {"type": "string"}},
    "RateLimit-Limit": {"description": "requests of a window", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "how many of them are left", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "seconds to the next window", "schema": _SECONDS},
    "Retry-After": {"description": "seconds after which trying again makes sense", "schema": _SECONDS},
    "WWW-Authenticate": {"description": "how a key is sent", "schema": {"type": "string"}},
}
_HEADERS_OF: Mapping[int, Sequence[str]] = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}

_CLASSIFY = Operation(
    answers=(ClassifyAnswer, BatchAnswer),
    body=ClassifyRequest,
    problems=(*_BODY, *_NAMES, *_MODEL),
    example={"description": _PLOT, "scores": True},
)

_SIMILAR = Operation(
    answers=(SimilarAnswer,),
    body=SimilarRequest,
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

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/classify"): _CLASSIFY,
    ("POST", "/predict_genre"): _CLASSIFY,
    ("POST", "/prompt"): Operation(
        answers=(answers.PromptAnswer,),
        body=PromptRequest,
        problems=(*_BODY, *_NAMES, *_MODEL),
        example={"description": _PLOT},
    ),
    ("POST", "/similar"): _SIMILAR,
    ("POST", "/suggest"): _SIMILAR,
    ("POST", "/v1/decisions"): _DECISIONS,
    ("GET", "/v1/models"): Operation((answers.ModelsAnswer,)),
    ("GET", "/version"): Operation((answers.VersionAnswer,)),
    ("GET", "/taxonomies"): Operation((answers.TaxonomiesAnswer,)),
    ("GET", "/prompts"): Operation((answers.PromptsAnswer,)),
    ("GET", "/healthz"): Operation((answers.HealthAnswer,)),
    ("GET", "/readyz"): Operation((answers.ReadyAnswer,), problems=_MODEL),
    ("GET", "/metrics"): Operation(media={"text/plain": "string"}),
    ("GET", "/problems/{slug}"): Operation(
        (answers.ProblemType,), problems=("not-found",), values={"slug": tuple(KINDS)}
    ),
    ("GET", "/"): Operation((answers.IndexAnswer,), media={"text/html": "string"}),
    ("GET", "/docs"): Operation(media={"text/html": "string"}),
    ("GET", "/openapi.json"): Operation(media={_JSON: "object"}),
    ("GET", "/page/{name}"): Operation(
        media=dict.fromkeys(("text/css", "text/javascript", "image/svg+xml"), "string"), problems=("not-found",)
    ),
}
