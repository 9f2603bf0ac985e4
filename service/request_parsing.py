"""A request's body: from bytes to a validated model, or to an error that names the fault."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError

from prompts.errors import fault_of, quoted
from prompts.text import without_lone_surrogates
from service.foreign_names import FOREIGN_NAMES
from service.problems import RequestProblem
from service.schemas.classify import ClassifyRequest, TextFields
from service.schemas.decisions import ChoiceQuestion, DecisionRequest, Question, ScoreQuestion
from service.schemas.routes import SimilarRequest
from service.schemas.systemone import SystemOneRequest
from service.services import Limits

Body = TypeVar("Body", bound=BaseModel)
TextBody = TypeVar("TextBody", bound=ClassifyRequest)

_GZIP_OR_ZLIB, _RAW_DEFLATE = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_CONTENT_ENCODINGS = frozenset(["gzip", "x-gzip", "deflate"])
_MAX_ENCODINGS = 2  # applied one after the other
_MAX_GZIP_MEMBERS = 32  # the rest of the body is copied for each
_ASCII = rb'{"\u0041": "+AEE-"}'  # codecs that unescape read another text here
_EXCERPT = 20  # characters shown of invalid JSON
_PYTHON_LITERALS: Mapping[str, str] = {"None": "null", "True": "true", "False": "false", "undefined": "null"}
# Start of a message of ``json``, and the message to show.
_JSON_ERRORS: Mapping[str, str] = {
    "Expecting property name": "a key in double quotes is expected",
    "Expecting ':'": "a colon is expected after the key",
    "Expecting ','": "a comma is expected",
    "Expecting value": "a value is expected",
    "Illegal trailing comma": "there is one comma too many",
    "Extra data": 'something follows the first value; send several texts as {"texts": [...]}',
    "Unterminated string": "a string has no closing quote",
    "Invalid control character": "a string contains a line break or control character; write \\n",
    "Invalid \\": "a backslash comes before a character that needs none; write \\\\ for a backslash itself",
}


def read_request(request: Request, limits: Limits, model: type[TextBody]) -> TextBody:
    """The body of ``/classify`` or ``/prompt``.

    Raises:
        RequestProblem: wrong content type, invalid JSON, an invalid field, or a limit exceeded.
    """
    body = read_body(request, model, limits)
    if body.texts is None:
        check_text(body, limits)
    return body


def read_similar(request: Request, limits: Limits) -> SimilarRequest:
    """The body of ``/similar``.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    body = read_body(request, SimilarRequest, limits)
    if body.id is None:
        check_text(body, limits)
    return body


def read_decision(request: Request, limits: Limits) -> DecisionRequest:
    """The body of ``/v1/decisions``.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    body = read_body(request, DecisionRequest, limits)
    _check_decision(body, "input", range(len(body.questions)), limits)
    return body


def read_systemone(request: Request, limits: Limits) -> SystemOneRequest:
    """The body of ``/v1/systemone``.

    Raises:
        RequestProblem: as from ``read_request``.
    """
    body = read_body(request, SystemOneRequest, limits)
    _check_decision(body.decision, "state", body.questions, limits)
    return body


def decompressed(body: bytes, encodings: str, max_bytes: int) -> bytes:
    """A body without the encodings of its header ``Content-Encoding`` (RFC 9110).

    Raises:
        RequestProblem: an unknown encoding, damaged data, or a body above ``max_bytes``.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    layers = [name for name in names if name not in ("", "identity")]
    if unknown := [name for name in layers if name not in _CONTENT_ENCODINGS]:
        detail = f"the content encoding {unknown[0][:40]!r} is unknown; send gzip, deflate or none"
        raise RequestProblem("unsupported-media-type", detail)
    if len(layers) > _MAX_ENCODINGS:
        detail = f"{len(layers)} content encodings, one around the other; send {_MAX_ENCODINGS} at most"
        raise RequestProblem("unsupported-media-type", detail)
    for name in reversed(layers):
        body = _inflated(body, name, max_bytes)
    return body


def read_body(request: Request, model: type[Body], limits: Limits) -> Body:
    """A body as its model, whose texts are not checked; errors are those of ``read_request``."""
    if not request.is_json:
        raise RequestProblem(
            "unsupported-media-type",
            f"the content type is {request.mimetype or 'missing'}; send -H 'Content-Type: application/json'",
        )
    raw = decompressed(request.get_data(), request.headers.get("Content-Encoding", ""), limits.body_bytes)
    data = _parsed(_decoded(raw, request.mimetype_params.get("charset")))
    _check_counts(data, limits)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        fault = fault_of(error, model, data, FOREIGN_NAMES)
        raise RequestProblem("invalid-request", str(fault), fault.place or None) from None


def _inflated(body: bytes, name: str, max_bytes: int) -> bytes:
    # Some clients send raw deflate data as "deflate".
    for bits in (_GZIP_OR_ZLIB, _RAW_DEFLATE) if name == "deflate" else (_GZIP_OR_ZLIB,):
        try:
            return _members(body, bits, name, max_bytes)
        except zlib.error:
            continue
    raise _damaged(name)


def _members(body: bytes, bits: int, name: str, max_bytes: int) -> bytes:
    """All members of a stream; gzip data may have several."""
    data = b""
    for _ in range(_MAX_GZIP_MEMBERS):
        stream = zlib.decompressobj(bits)
        data += stream.decompress(body, max_bytes + 1 - len(data))
        if len(data) > max_bytes:
            detail = f"the decompressed body is larger than {max_bytes} bytes; send fewer or shorter texts"
            raise RequestProblem("too-large", detail)
        if not stream.eof:
            raise _damaged(name)
        body = stream.unused_data
        if not body.rstrip(b"\0"):
            return data
    raise _damaged(name)


def _damaged(name: str) -> RequestProblem:
    return RequestProblem("bad-request", f"the body is not {name} data, or was cut off; send it again, or uncompressed")


def _decoded(body: bytes, charset: str | None) -> str:
    """JSON as text: from UTF-8, UTF-16 or UTF-32 by the first bytes, else from the charset of the content type."""
    fault = "an unknown encoding"
    declared = charset if charset and _extends_ascii(charset) else None
    for encoding in filter(None, (json.detect_encoding(body), declared)):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError as error:
            fault = f"byte {body[error.start]:#04x} at position {error.start}"
        except UnicodeError:  # raised by idna and punycode
            continue
    raise RequestProblem("not-json", f"the body is not UTF-8 ({fault}); send JSON in UTF-8")


def _extends_ascii(charset: str) -> bool:
    """Whether Python has a codec of this name that is a superset of ASCII.

    Others are not charsets (``unicode_escape``), or are not used for JSON (EBCDIC).
    """
    try:
        return _ASCII.decode(charset) == _ASCII.decode()
    except (LookupError, ValueError):  # no such codec; a name with a null character
        return False


def _parsed(body: str) -> Any:
    try:
        value = json.loads(
            body.removeprefix("\ufeff"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_reject_constant,
            parse_float=_finite,
        )
        return _without_lone_surrogates(value) if "\\ud" in body.lower() else value
    except RecursionError:
        raise RequestProblem("not-json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RequestProblem("not-json", f"the body is not JSON: {_json_fault(error)}") from None
    except ValueError:  # Python parses no integer of so many digits
        raise RequestProblem("not-json", "the body is not JSON: a number has thousands of digits") from None


def _without_lone_surrogates(value: Any) -> Any:
    r"""A lone surrogate (``"\ud800"``) is JSON but not text: neither pydantic nor UTF-8 accepts it."""
    return json.loads(without_lone_surrogates(json.dumps(value, ensure_ascii=False)))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise RequestProblem("invalid-request", f"the key {quoted(repeated)} is repeated; send it once", repeated)
    return members


def _reject_constant(name: str) -> NoReturn:
    raise RequestProblem("not-json", f"the body is not JSON: {name} is no JSON value; send null or leave the field out")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise RequestProblem("not-json", f"the body is not JSON: the number {digits[:40]} is too large")
    return number


def _json_fault(error: json.JSONDecodeError) -> str:
    """What is wrong, where, and an excerpt, in one line."""
    if not error.doc.strip():
        return 'it is empty; send an object such as {"text": "..."}'
    excerpt = " ".join(error.doc[error.pos : error.pos + _EXCERPT].split())
    where = f"line {error.lineno}, column {error.colno}" + (f", before {excerpt!r}" if excerpt else ", at the end")
    return f"{_json_reason(error, excerpt)} ({where})"


def _json_reason(error: json.JSONDecodeError, excerpt: str) -> str:
    if excerpt.startswith("'"):
        return "strings need double quotes"
    if literal := next((name for name in _PYTHON_LITERALS if excerpt.startswith(name)), None):
        return f"{literal} is Python; write {_PYTHON_LITERALS[literal]}"
    if excerpt.startswith(("//", "/*", "#")):
        return "JSON has no comments"
    if excerpt.startswith(("}", "]")):
        return "a value is missing, or there is one comma too many"
    return next((reason for start, reason in _JSON_ERRORS.items() if error.msg.startswith(start)), "a syntax error")


def _check_counts(data: Any, limits: Limits) -> None:
    """Checked before validation, which takes time for each entry."""
    for name, limit in (("texts", limits.texts), ("labels", limits.labels)):
        entries = data.get(name) if isinstance(data, dict) else None
        if isinstance(entries, list) and (number := _nested_count(entries)) > limit:
            raise RequestProblem("too-large", f"{number} {name} in one request; at most {limit}", name)


def _nested_count(entries: list[Any]) -> int:
    """Number of entries and of their children."""
    number, waiting = 0, [entries]
    while waiting:
        number += len(here := waiting.pop())
        waiting += [one["children"] for one in here if isinstance(one, dict) and isinstance(one.get("children"), list)]
    return number


def check_text(fields: TextFields, limits: Limits) -> None:
    """Refuse a text that is empty or too long with a ``RequestProblem``."""
    text = fields.to_text()
    if text.empty:
        raise RequestProblem("invalid-request", "text is empty; send a text, or a title", "text")
    _check_length("text", text.body + text.title, limits)


def _check_length(field: str, value: str, limits: Limits) -> None:
    if not value.strip():
        raise RequestProblem("invalid-request", f"{field} is empty; send a text", field)
    if len(value) > limits.text_chars:
        detail = f"{field} has {len(value)} characters; at most {limits.text_chars}"
        raise RequestProblem("text-too-long", detail, field)


def _check_decision(body: DecisionRequest, text: str, names: Iterable[object], limits: Limits) -> None:
    """Check the lengths of the text, of a field with this name, and of the questions with these names."""
    _check_length(text, body.conversation(), limits)
    for name, question in zip(names, body.questions, strict=True):
        _check_length(f"questions.{name}.instructions", question.text, limits)
    if (labels := sum(map(_label_count, body.questions))) > limits.labels:
        detail = f"{labels} conditions, options and levels in one request; at most {limits.labels}"
        raise RequestProblem("too-large", detail, "questions")


def _label_count(question: Question) -> int:
    if isinstance(question, ChoiceQuestion):
        return len(question.choices)
    return len(question.levels) if isinstance(question, ScoreQuestion) else 1
