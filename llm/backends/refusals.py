"""HTTP errors of endpoints: the endpoint's own words, and which kind of problem they mean.

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
_WORDS_CHARS = 4_000  # what is searched for reasons; some servers repeat the whole request
_DEPTH = 6
_MOST_RETRY_AFTER = 86_400.0
_KEY_NAMES = (
    "error errors detail details message msg fault faultstring error_message error_msg status_msg reason description "
    "raw title"
)
_NO_MESSAGE = ("usage", "metadata")
_MESSAGE_KEYS = tuple(_KEY_NAMES.split())
_NAMING_KEYS = ("code", "type", "status", "error_type", "param")

_SECRET_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi|pplx|key)[-_][\w\-*.]{6,}|\bAIza[\w-]{20,}|\beyJ[\w-]{10,}\.[\w.-]+"
    r"|\bmq_[\w-]{6,}|\bBearer\s+[^\s\"',;]+"
    r"|\b(?:api[-_ ]?key|authorization|set-cookie|cookie|password|secret|access[-_ ]?token)[\"']?\s*[:=]\s*"
    r"(?:(?:bearer|basic)\s+)?[^\s,}]+",
    re.IGNORECASE,
)
# A sentence that names the context or the prompt as too long. Real bodies of each endpoint: tests/outside.
_LENGTH_WORDS = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|\bn_ctx\b|exceed_context_size|max_model_len|\bmaximum model length"
    r"|(?:prompt|input|request|message|text|sequence|conversation)s?(?: is| are| was)?(?: \w+)? too (?:long|large)"
    r"|too many (?:input |prompt )?tokens|too large for model|string too long"
    r"|reduce (?:the|your) (?:length|size|prompt|input|message)|range of input length"
    r"|input[- ]tokens? (?:count )?exceed|exceeded model token limit|maximum (?:prompt|input) length"
    r"|(?:prompt|input|inputs|sequence|token count|tokens?)\b.{0,60}(?:exceeds?|longer than|larger than|greater than"
    r"|must have less than|must be <=|cannot exceed).{0,80}(?:token|length|limit|maximum|context|\d)"
    r"|(?:\u8f93\u5165|prompt|\u4e0a\u4e0b\u6587).{0,10}(?:\u8d85\u957f|\u8d85\u8fc7|\u8fc7\u957f)",
    re.IGNORECASE | re.DOTALL,
)
_LENGTH_IS_NOT_MEANT = re.compile(
    r"schema|\benum\b|response_format|top_logprobs|rate.?limit reached|quota|per (?:day|month)|logit_bias"
    r"|completion tokens, whereas"
    r"|(?:max_tokens|max_completion_tokens).{0,20}(?:is not supported|unsupported|must be|should be|value)",
    re.IGNORECASE,
)
_LENGTH_STATUSES = frozenset((200, 400, 413, 422, 429, 500))
_TOO_LARGE_AT_ALL = re.compile(r"request too large|(?:input|prompt) (?:is )?too (?:large|long)", re.IGNORECASE)
_FIELDS = re.compile(r"logprobs|response_format|json_schema", re.IGNORECASE)
_SPENT = re.compile(
    r"insufficient_quota|exceeded your current quota|insufficient (?:balance|credit|funds)|billing|credit balance"
    r"|payment required|arrearage|out of credits",
    re.IGNORECASE,
)


_NO_SUCH_MODEL = re.compile(
    r"\b(?:no such|unknown|invalid|unrecognized) model\b(?! (?:param|option|setting|input))|no models? loaded"
    r"|\bmodel\b(?: ?['\"`]?[\w./:-]+['\"`]?)? (?:does )?not (?:exist|found|loaded|available)"
    r"|not a valid model|model_not_found",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """What an endpoint said in place of an answer.

    Attributes:
        status: of HTTP.
        words: the endpoint's own sentence, on one line and without secrets.
        names: codes and types beside the sentence, such as ``context_length_exceeded``.
        parameter: the field of the request that the endpoint names; empty where it names none.
    """

    status: int
    words: str = ""
    names: str = ""
    parameter: str = ""

    @property
    def everything(self) -> str:
        """Sentence and codes, to search for reasons."""
        return f"{self.words} {self.names}"

    @property
    def too_long(self) -> bool:
        """Whether the text is longer than the model's context, or than the endpoint takes."""
        if self.status == 413:
            return True
        if self.status not in _LENGTH_STATUSES or _LENGTH_IS_NOT_MEANT.search(self.words):
            return False
        if self.status == 429:
            return bool(_TOO_LARGE_AT_ALL.search(self.words))
        return bool(_LENGTH_WORDS.search(self.everything))

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        busy = self.status in (408, 409, 425, 429) or (self.status >= 500 and self.status != 501)
        return busy and not self.too_long and not self.spent

    @property
    def lacks_model(self) -> bool:
        """Whether the endpoint says that it does not serve the model: 404 at most endpoints, 400 at some."""
        return self.status in (400, 422) and bool(_NO_SUCH_MODEL.search(self.everything))

    @property
    def spent(self) -> bool:
        """Whether the account has no credit or quota left."""
        return self.status == 402 or (self.status in (400, 403, 429) and bool(_SPENT.search(self.everything)))


def refused(status: int, document: Any, secrets: Iterable[str] = ()) -> Refusal:
    """Read an error body.

    Args:
        status: of HTTP.
        document: the decoded body, or its text where it is no JSON.
        secrets: never shown, should the endpoint repeat them.
    """
    words = _sentence(document)
    names = " ".join(_named(document))
    return Refusal(status, redacted(words, secrets), redacted(names, secrets), _parameter(document))


def problem_of(place: str, refusal: Refusal, retry_after: float | None = None, hint: str = "") -> Problem:
    """The problem of a text whose request was refused.

    Args:
        place: host and port of the endpoint.
        refusal: what the endpoint said.
        retry_after: seconds after which to try again, where that is known.
        hint: what to do, added where the address may be wrong.
    """
    status = refusal.status
    said = f": {excerpt(refusal.words)}" if refusal.words else ""
    if refusal.too_long:
        return Problem("too_long", "the text is longer than the model's context")
    if refusal.spent:
        return Problem("misconfigured", f"{place} grants no more requests to this account ({status}){said}")
    if status == 401:
        return Problem("misconfigured", f"{place} refused the API key (401){said}; check OPENAI_API_KEY")
    if status == 403 and not _FIELDS.search(refusal.words):
        remedy = "check OPENAI_API_KEY, and whether it may use this model from here"
        return Problem("misconfigured", f"{place} refused access (403){said}; {remedy}")
    if status in (404, 405, 501) or refusal.lacks_model:
        detail = f"{place} does not serve this model or this request ({status}){said}"
        return Problem("misconfigured", f"{detail}; {hint}" if hint else detail)
    if refusal.passing:
        return Problem("busy", f"{place} is overloaded or failing ({status}){said}", retry_after)
    return Problem("rejected", f"{place} refused the request ({status}){said}")


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, a number or a date; None where it has no sensible value."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after or "").timestamp() - time.time()
        except (ValueError, OverflowError, TypeError, IndexError):
            return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= _MOST_RETRY_AFTER else None


def redacted(words: str, secrets: Iterable[str] = ()) -> str:
    """One printable line without secrets: neither those given nor anything of a key's or cookie's shape."""
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in without_lone_surrogates(words)).split())
    return _SECRET_SHAPES.sub("***", line)[:_WORDS_CHARS]


def excerpt(words: str) -> str:
    """The first words of what an endpoint said."""
    words = " ".join(words.split())
    return words if len(words) <= _EXCERPT_CHARS else words[: _EXCERPT_CHARS - 3] + "..."


def _sentence(document: Any, depth: int = 0) -> str:
    """The message in an error body of any shape."""
    if isinstance(document, str):
        return _from_text(document, depth)
    if depth > _DEPTH or document is None or isinstance(document, bool):
        return ""
    if isinstance(document, list):
        return "; ".join(filter(None, (_sentence(one, depth + 1) for one in document[:3])))
    if isinstance(document, Mapping):
        return _from_object(document, depth)
    return str(document)[:_WORDS_CHARS]


def _from_object(document: Mapping[str, Any], depth: int) -> str:
    if isinstance(document.get("loc"), list) and isinstance(document.get("msg"), str):  # FastAPI
        return f"{'.'.join(map(str, document['loc']))}: {document['msg']}"
    by_key = {str(key).casefold(): value for key, value in document.items()}  # AWS writes "Message"
    found = next((words for key in _MESSAGE_KEYS if (words := _sentence(by_key.get(key), depth + 1))), "")
    if not found:
        inner = (value for key, value in by_key.items() if isinstance(value, Mapping) and key not in _NO_MESSAGE)
        found = next((words for value in inner if (words := _from_object(value, depth + 1))), "")
    provider = document.get("metadata")  # OpenRouter: the words of the provider behind it
    behind = _sentence(provider.get("raw"), depth + 1) if isinstance(provider, Mapping) else ""
    return ": ".join(filter(None, (found, behind)))


def _from_text(text: str, depth: int) -> str:
    text = text.strip()
    if text.startswith(("{", "[")) and depth <= _DEPTH:  # JSON in a string, or under the wrong content type
        try:
            return _sentence(json.loads(text), depth + 1) or text[:_WORDS_CHARS]
        except (ValueError, RecursionError):
            return text[:_WORDS_CHARS]
    if re.match(r"(?i)\s*<(?:!doctype|html|head|body|\?xml)", text):
        title = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", text[:20_000])
        bare = title[2] if title else re.sub(r"(?is)<(script|style).*?</\1>|<[^>]+>", " ", text[:20_000])
        return f"a web page: {' '.join(re.sub('<[^>]+>', ' ', bare).split())}"
    return text[:_WORDS_CHARS]


def _named(document: Any) -> list[str]:
    """Codes and types of an error body."""
    if isinstance(document, list):
        return [name for one in document[:3] for name in _named(one)]
    if not isinstance(document, Mapping):
        return []
    own = [str(document[key]) for key in _NAMING_KEYS if isinstance(document.get(key), str | int)]
    inner = [document.get(key) for key in ("error", "detail", "fault")]
    return own + [name for one in inner if isinstance(one, Mapping | list) for name in _named(one)]


def _parameter(document: Any) -> str:
    """The field of the request that an error body names, without what is inside it: ``messages``, ``temperature``."""
    if isinstance(document, list):
        return next((found for one in document[:3] if (found := _parameter(one))), "")
    if not isinstance(document, Mapping):
        return ""
    if isinstance(document.get("param"), str):
        return re.split(r"[.\[]", document["param"])[0]
    if isinstance(loc := document.get("loc"), list):
        return next((str(step) for step in loc if step != "body" and isinstance(step, str)), "")
    return next((found for key in ("error", "detail", "errors") if (found := _parameter(document.get(key)))), "")
