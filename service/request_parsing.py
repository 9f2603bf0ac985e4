"""A request's body: from bytes to a checked request, or to a problem that names the fault."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError

from prompts.errors import quoted
from prompts.faults import fault_of
from prompts.text import without_lone_surrogates
from service.encodings import decoded, decompressed
from service.foreign import FOREIGN
from service.request_problem import RequestProblem
from service.schemas.classify import ClassifyRequest, TextFields
from service.schemas.decisions import ChoiceQuestion, DecisionRequest, Question, ScoreQuestion
from service.schemas.similar import SimilarRequest
from service.services import Limits

Body = TypeVar("Body", bound=BaseModel)
Asked = TypeVar("Asked", bound=ClassifyRequest)


def read_request(request: Request, limits: Limits, shape: type[Asked]) -> Asked:
    """The request of this shape that a body holds.

    Raises:
        RequestProblem: wrong content type, not JSON, a rule of the schema broken, or a limit passed.
    """
    asked = _read(request, shape, limits)
    if asked.texts is None:
        _hold_text(asked, "text", limits)
    return asked


def read_similar(request: Request, limits: Limits) -> SimilarRequest:
    """The question for similar films that a body holds.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    asked = _read(request, SimilarRequest, limits)
    if asked.id is None:
        _hold_text(asked, "text", limits)
    return asked


def read_decision(request: Request, limits: Limits) -> DecisionRequest:
    """The typed questions that a body holds.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    asked = _read(request, DecisionRequest, limits)
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


def _read(request: Request, model: type[Body], limits: Limits) -> Body:
    if not request.is_json:
        raise RequestProblem(
            "unsupported-media-type",
            f"the content type is {request.mimetype or 'missing'}; send -H 'Content-Type: application/json'",
        )
    raw = decompressed(request.get_data(), request.headers.get("Content-Encoding", ""), limits.body_bytes)
    data = _parsed(decoded(raw, request.mimetype_params.get("charset")))
    _hold_counts(data, limits)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fault = fault_of(error, model, data, FOREIGN)
        raise RequestProblem("invalid-request", str(fault), fault.place or None) from None


def _parsed(body: str) -> Any:
    try:
        value = json.loads(
            body.removeprefix("\ufeff"),
            object_pairs_hook=_no_repeats,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        return _without_lone_surrogates(value) if "\\ud" in body.lower() else value
    except RecursionError:
        raise RequestProblem("not-json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RequestProblem("not-json", not_json(error)) from None
    except ValueError:  # Python reads no whole number of so many digits
        raise RequestProblem("not-json", "the body is not JSON: a number has thousands of digits") from None


def _without_lone_surrogates(value: Any) -> Any:
    r"""A lone surrogate (``"\ud800"``) is JSON but not text: neither pydantic nor UTF-8 takes it."""
    return json.loads(without_lone_surrogates(json.dumps(value, ensure_ascii=False)))


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise RequestProblem("invalid-request", f"the key {quoted(repeated)} is there twice; keep one", repeated)
    return members


def _no_constant(name: str) -> NoReturn:
    raise RequestProblem("not-json", f"the body is not JSON: {name} is no JSON value; send null or leave the field out")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise RequestProblem("not-json", f"the body is not JSON: {digits[:40]} is too large for a number")
    return number


def not_json(error: json.JSONDecodeError) -> str:
    """What is wrong with a text that should be JSON, in one line: where, what, and what is seen there."""
    if not error.doc.strip():
        return 'the body is not JSON: it is empty; send an object such as {"text": "..."}'
    seen = " ".join(error.doc[error.pos : error.pos + _SEEN].split())
    where = f"line {error.lineno}, column {error.colno}" + (f", before {seen!r}" if seen else ", at the end")
    return f"the body is not JSON: {_said(error, seen)} ({where})"


def _said(error: json.JSONDecodeError, seen: str) -> str:
    if seen.startswith("'"):
        return "strings need double quotes"
    if literal := next((name for name in _PYTHON if seen.startswith(name)), None):
        return f"{literal} is Python; JSON writes {_PYTHON[literal]}"
    if seen.startswith(("//", "/*", "#")):
        return "there are no comments in JSON"
    if seen.startswith(("}", "]")):
        return "something is missing, or a comma is one too many"
    return next((words for start, words in _REASONS.items() if error.msg.startswith(start)), "a fault")


def _hold_counts(data: Any, limits: Limits) -> None:
    """Before validation, which takes time for each entry."""
    for name, most in (("texts", limits.texts), ("labels", limits.labels)):
        given = data.get(name) if isinstance(data, dict) else None
        if isinstance(given, list) and len(given) > most:
            raise RequestProblem("too-large", f"{len(given)} {name} in one request; at most {most}", name)


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


_SEEN = 20  # characters of a fault in JSON that are shown
_PYTHON: Mapping[str, str] = {"None": "null", "True": "true", "False": "false", "undefined": "null"}
# What ``json`` says, and the same in plain words.
_REASONS: Mapping[str, str] = {
    "Expecting property name": "a key in double quotes is expected",
    "Expecting ':'": "a colon is expected after the key",
    "Expecting ','": "a comma is expected",
    "Expecting value": "a value is expected",
    "Illegal trailing comma": "a comma is one too many",
    "Extra data": 'something follows the first value; send several texts as {"texts": [...]}',
    "Unterminated string": "a string has no closing quote",
    "Invalid control character": "a string contains a line break or control character; write \\n",
    "Invalid \\": "a backslash comes before a character that needs none; write \\\\ for a backslash itself",
}
