"""A request's body: from bytes to a checked request, or to a problem that names the fault."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError

from service.decisions import ChoiceQuestion, DecisionRequest, Question, ScoreQuestion
from service.parts import Limits
from service.problems import RequestProblem
from service.schemas import ClassifyRequest, TextFields
from service.similar import SimilarRequest

Body = TypeVar("Body", bound=BaseModel)
Asked = TypeVar("Asked", bound=ClassifyRequest)


def read_request(request: Request, limits: Limits, shape: type[Asked]) -> Asked:
    """The request of this shape that a body holds.

    Raises:
        RequestProblem: wrong content type, not JSON, a rule of the schema broken, or a limit passed.
    """
    asked = _read(request, shape)
    _hold_limits(asked, limits)
    return asked


def read_similar(request: Request, limits: Limits) -> SimilarRequest:
    """The question for similar films that a body holds.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    asked = _read(request, SimilarRequest)
    if asked.id is None:
        _hold_text(asked, "text", limits)
    return asked


def read_decision(request: Request, limits: Limits) -> DecisionRequest:
    """The typed questions that a body holds.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    asked = _read(request, DecisionRequest)
    _hold_length("input", asked.conversation(), limits)
    for place, question in enumerate(asked.questions):
        _hold_length(f"questions.{place}.instructions", question.asks, limits)
    if (labels := sum(map(_labels, asked.questions))) > limits.labels:
        detail = f"{labels} conditions, options and levels in one request; at most {limits.labels}"
        raise RequestProblem("too-large", detail, "questions")
    return asked


def _labels(question: Question) -> int:
    if isinstance(question, ChoiceQuestion):
        return len(question.choices)
    return len(question.levels) if isinstance(question, ScoreQuestion) else 1


def _read(request: Request, model: type[Body]) -> Body:
    if not request.is_json:
        raise RequestProblem(
            "unsupported-media-type",
            f"the content type is {request.mimetype or 'missing'}; send -H 'Content-Type: application/json'",
        )
    try:
        return model.model_validate(_decode(request.get_data()))
    except ValidationError as error:
        raise _rule_broken(error, model) from None


def _decode(raw: bytes) -> Any:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
        return _without_lone_surrogates(value) if b"\\ud" in raw.lower() else value
    except UnicodeDecodeError:
        raise RequestProblem("not-json", "the body is not UTF-8") from None
    except RecursionError:
        raise RequestProblem("not-json", "the body is nested too deeply") from None
    except ValueError as error:
        raise RequestProblem("not-json", f"the body is not JSON: {error}") from None


def _without_lone_surrogates(value: Any) -> Any:
    """A lone surrogate (``"\\ud800"``) is JSON but not text: neither pydantic nor UTF-8 takes it. It becomes "?"."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise RequestProblem("invalid-request", f"the key {repeated!r} stands twice; which one is meant?", repeated)
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _rule_broken(error: ValidationError, model: type[BaseModel]) -> RequestProblem:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or None
    said = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        said = (
            f"unknown key; known here: {', '.join(model.model_fields)}" if "." not in (field or "") else "unknown key"
        )
    return RequestProblem("invalid-request", f"{field}: {said}" if field else said, field)


def _hold_limits(asked: ClassifyRequest, limits: Limits) -> None:
    texts = asked.all_texts()
    if len(texts) > limits.texts:
        raise RequestProblem("too-large", f"{len(texts)} texts in one request; at most {limits.texts}", "texts")
    if asked.labels is not None and len(asked.labels) > limits.labels:
        raise RequestProblem(
            "too-large", f"{len(asked.labels)} labels in one request; at most {limits.labels}", "labels"
        )
    if asked.texts is None:
        _hold_text(asked, "text", limits)
    for place, fields in enumerate(asked.texts or ()):
        _hold_text(fields, f"texts.{place}", limits)


def _hold_text(fields: TextFields, field: str, limits: Limits) -> None:
    text = fields.given()
    if text.empty:
        raise RequestProblem("invalid-request", f"{field} is empty; give a text, or a title", field)
    _hold_length(field, text.body + text.title, limits)


def _hold_length(field: str, words: str, limits: Limits) -> None:
    if not words.strip():
        raise RequestProblem("invalid-request", f"{field} is empty; give a text", field)
    if len(words) > limits.text_chars:
        detail = f"{field} has {len(words)} characters; at most {limits.text_chars}"
        raise RequestProblem("text-too-long", detail, field)
