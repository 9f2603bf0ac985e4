"""HTTP errors of endpoints: the endpoint's message, without secrets, and the kind of problem that it means.

Error bodies differ per provider: OpenAI's ``{"error": {"message", "param", "code"}}``, Gemini's list of such objects,
``{"error": "text"}`` (TGI, Ollama), ``{"detail": …}`` (FastAPI), ``{"message": …}`` (Mistral), HTML of a proxy.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from llm.classifier import Problem
from prompts.text import without_lone_surrogates

_EXCERPT_CHARS = 200
_MESSAGE_CHARS = 4_000  # searched for reasons; some servers repeat the whole request
_HTML_CHARS = 20_000
_DEPTH = 6
_LONGEST_RETRY_AFTER = 86_400.0  # seconds
_MESSAGE_KEYS = (
    "error errors detail details message msg fault faultstring error_message error_msg status_msg reason description "
    "raw title"
).split()
_NO_MESSAGE_KEYS = ("usage", "metadata")
_CODE_KEYS = ("code", "type", "status", "error_type", "param")

_SECRET_SHAPES = re.compile(
    r"(?i)\b(?:sk|pk|rk|gsk|hf|xai|nvapi|pplx|key)[-_][\w\-*.]{6,}|\bAIza[\w-]{20,}|\beyJ[\w-]{10,}\.[\w.-]+"
    r"|\bmq_[\w-]{6,}|\bBearer\s+[^\s\"',;]+"
    r"|\b(?:api[-_ ]?key|authorization|set-cookie|cookie|password|secret|access[-_ ]?token)[\"']?\s*[:=]\s*"
    r"(?:(?:bearer|basic)\s+)?[^\s,}]+"
)
# Sentences about a prompt that exceeds the context. tests/outside/test_endpoints.py has real bodies of each endpoint.
_TOO_LONG = re.compile(
    r"(?is)context[ _-]?(?:length|window|size|limit)|\bn_ctx\b|exceed_context_size|max_model_len|\bmaximum model length"
    r"|(?:prompt|input|request|message|text|sequence|conversation)s?(?: is| are| was)?(?: \w+)? too (?:long|large)"
    r"|too many (?:input |prompt )?tokens|too large for model|string too long"
    r"|reduce (?:the|your) (?:length|size|prompt|input|message)|range of input length"
    r"|input[- ]tokens? (?:count )?exceed|exceeded model token limit|maximum (?:prompt|input) length"
    r"|(?:prompt|input|inputs|sequence|token count|tokens?)\b.{0,60}(?:exceeds?|longer than|larger than|greater than"
    r"|must have less than|must be <=|cannot exceed).{0,80}(?:token|length|limit|maximum|context|\d)"
    r"|(?:\u8f93\u5165|prompt|\u4e0a\u4e0b\u6587).{0,10}(?:\u8d85\u957f|\u8d85\u8fc7|\u8fc7\u957f)"
)
_OTHER_LIMIT = re.compile(
    r"(?i)schema|\benum\b|response_format|top_logprobs|rate.?limit reached|quota|per (?:day|month)|logit_bias"
    r"|completion tokens, whereas"
    r"|(?:max_tokens|max_completion_tokens).{0,20}(?:is not supported|unsupported|must be|should be|value)"
)
_TOO_LONG_STATUSES = frozenset((200, 400, 413, 422, 429, 500))
_TOO_LARGE_ALONE = re.compile(r"(?i)request too large|(?:input|prompt) (?:is )?too (?:large|long)")
_FIELD_NAMES = re.compile(r"(?i)logprobs|response_format|json_schema")
_NO_CREDIT = re.compile(
    r"(?i)insufficient_quota|exceeded your current quota|insufficient (?:balance|credit|funds)|billing|credit balance"
    r"|payment required|arrearage|out of credits"
)
_NO_SUCH_MODEL = re.compile(
    r"(?i)\b(?:no such|unknown|invalid|unrecognized) model\b(?! (?:param|option|setting|input))|no models? loaded"
    r"|\bmodel\b(?: ?['\"`]?[\w./:-]+['\"`]?)? (?:does )?not (?:exist|found|loaded|available)"
    r"|not a valid model|model_not_found"
)


@dataclass(frozen=True)
class Refusal:
    """An HTTP error of an endpoint."""

    status: int  # HTTP status
    message: str = ""  # the endpoint's message, on one line and without secrets
    codes: str = ""  # error codes and types beside the message, such as ``context_length_exceeded``
    parameter: str = ""  # request field that the endpoint names; empty if it names none

    @property
    def text(self) -> str:
        """Message and codes, to search for reasons."""
        return f"{self.message} {self.codes}"

    @property
    def too_long(self) -> bool:
        """Whether the text exceeds the model's context or the endpoint's limit."""
        if self.status == 413:
            return True
        if self.status not in _TOO_LONG_STATUSES or _OTHER_LIMIT.search(self.message):
            return False
        if self.status == 429:
            return bool(_TOO_LARGE_ALONE.search(self.message))
        return bool(_TOO_LONG.search(self.text))

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        busy = self.status in (408, 409, 425, 429) or (self.status >= 500 and self.status != 501)
        return busy and not self.too_long and not self.no_credit

    @property
    def no_such_model(self) -> bool:
        """Whether a 400 or 422 means that the model does not exist (most endpoints send 404)."""
        return self.status in (400, 422) and bool(_NO_SUCH_MODEL.search(self.text))

    @property
    def no_credit(self) -> bool:
        """Whether the account has no credit or quota left."""
        return self.status == 402 or (self.status in (400, 403, 429) and bool(_NO_CREDIT.search(self.text)))

    @property
    def is_about_text_or_account(self) -> bool:
        """Whether no other form of the request can help."""
        return self.too_long or self.no_credit or self.no_such_model


def read_refusal(status: int, document: Any, secrets: Iterable[str] = ()) -> Refusal:
    """Read an error body: decoded JSON, or text. The secrets are removed from the message."""
    codes = " ".join(_codes(document))
    return Refusal(status, redact(_message(document), secrets), redact(codes, secrets), _parameter(document))


def problem_of(endpoint: str, refusal: Refusal, retry_after: float | None = None, hint: str = "") -> Problem:
    """The problem of a text whose request was refused; ``hint`` is added if address or model may be wrong."""
    status = refusal.status
    quoted = f": {excerpt(refusal.message)}" if refusal.message else ""
    if refusal.too_long:
        return Problem("too_long", "the text is longer than the model's context")
    if refusal.no_credit:
        return Problem("misconfigured", f"{endpoint} grants no more requests to this account ({status}){quoted}")
    if status == 401:
        return Problem("misconfigured", f"{endpoint} refused the API key (401){quoted}; check OPENAI_API_KEY")
    if status == 403 and not _FIELD_NAMES.search(refusal.message):
        remedy = "check OPENAI_API_KEY, and whether it may use this model from here"
        return Problem("misconfigured", f"{endpoint} refused access (403){quoted}; {remedy}")
    if status in (404, 405, 501) or refusal.no_such_model:
        detail = f"{endpoint} does not serve this model or this request ({status}){quoted}"
        return Problem("misconfigured", f"{detail}; {hint}" if hint else detail)
    if refusal.is_transient:
        return Problem("busy", f"{endpoint} is overloaded or failing ({status}){quoted}", retry_after)
    return Problem("rejected", f"{endpoint} refused the request ({status}){quoted}")


def retry_after_seconds(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, a number or a date; None if it has no sensible value."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except (ValueError, OverflowError, TypeError, IndexError):
            return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _LONGEST_RETRY_AFTER else None


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """One printable line without the secrets and without anything that looks like a key or a cookie."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    line = " ".join("".join(char if char.isprintable() else " " for char in without_lone_surrogates(text)).split())
    return _SECRET_SHAPES.sub("***", line)[:_MESSAGE_CHARS]


def excerpt(message: str) -> str:
    """The beginning of an endpoint's message, for a problem."""
    message = " ".join(message.split())
    return message if len(message) <= _EXCERPT_CHARS else message[: _EXCERPT_CHARS - 3] + "..."


def _message(document: Any, depth: int = 0) -> str:
    """The message in an error body of any shape."""
    if isinstance(document, str):
        return _message_in_text(document, depth)
    if depth > _DEPTH or document is None or isinstance(document, bool):
        return ""
    if isinstance(document, list):
        return "; ".join(filter(None, (_message(entry, depth + 1) for entry in document[:3])))
    if isinstance(document, Mapping):
        return _message_in_object(document, depth)
    return str(document)[:_MESSAGE_CHARS]


def _message_in_object(document: Mapping[str, Any], depth: int) -> str:
    if isinstance(document.get("loc"), list) and isinstance(document.get("msg"), str):  # FastAPI
        return f"{'.'.join(map(str, document['loc']))}: {document['msg']}"
    by_key = {str(key).casefold(): value for key, value in document.items()}  # AWS writes "Message"
    found = next((text for key in _MESSAGE_KEYS if (text := _message(by_key.get(key), depth + 1))), "")
    if not found:
        inner = (value for key, value in by_key.items() if isinstance(value, Mapping) and key not in _NO_MESSAGE_KEYS)
        found = next((text for value in inner if (text := _message_in_object(value, depth + 1))), "")
    metadata = document.get("metadata")  # OpenRouter: the message of the provider that it has called
    provider = _message(metadata.get("raw"), depth + 1) if isinstance(metadata, Mapping) else ""
    return ": ".join(filter(None, (found, provider)))


def _message_in_text(text: str, depth: int) -> str:
    text = text.strip()
    if text.startswith(("{", "[")) and depth <= _DEPTH:  # JSON in a string, or with a wrong content type
        try:
            return _message(json.loads(text), depth + 1) or text[:_MESSAGE_CHARS]
        except (ValueError, RecursionError):
            return text[:_MESSAGE_CHARS]
    if re.match(r"(?i)\s*<(?:!doctype|html|head|body|\?xml)", text):
        title = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", text[:_HTML_CHARS])
        content = title[2] if title else re.sub(r"(?is)<(script|style).*?</\1>|<[^>]+>", " ", text[:_HTML_CHARS])
        return f"a web page: {' '.join(re.sub('<[^>]+>', ' ', content).split())}"
    return text[:_MESSAGE_CHARS]


def _codes(document: Any) -> list[str]:
    if isinstance(document, list):
        return [code for entry in document[:3] for code in _codes(entry)]
    if not isinstance(document, Mapping):
        return []
    codes = [str(document[key]) for key in _CODE_KEYS if isinstance(document.get(key), str | int)]
    inner = [document.get(key) for key in ("error", "detail", "fault")]
    return codes + [code for value in inner if isinstance(value, Mapping | list) for code in _codes(value)]


def _parameter(document: Any) -> str:
    """The request field that an error body names, without the path inside it: ``messages``, ``temperature``."""
    if isinstance(document, list):
        return next((found for entry in document[:3] if (found := _parameter(entry))), "")
    if not isinstance(document, Mapping):
        return ""
    if isinstance(document.get("param"), str):
        return re.split(r"[.\[]", document["param"])[0]
    if isinstance(loc := document.get("loc"), list):
        return next((str(step) for step in loc if step != "body" and isinstance(step, str)), "")
    return next((found for key in ("error", "detail", "errors") if (found := _parameter(document.get(key)))), "")
