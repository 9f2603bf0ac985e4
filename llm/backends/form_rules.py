"""Rules for refusals: which other form of a request to try when an endpoint refuses a field.

"OpenAI-compatible" endpoints refuse fields that others require: OpenAI's reasoning models take
``max_completion_tokens`` instead of ``max_tokens`` and no ``temperature``; chat templates of Gemma and of some Mistral
models take no system message; schemas are refused for their root, a keyword or their size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm.backends.refusals import Refusal
from llm.backends.request_forms import LEVELS, Body, RequestForm, is_batch, schema_digest, schema_of, schema_size

_STATUSES = frozenset((400, 403, 404, 406, 415, 422, 500, 501))
_UNSUPPORTED = re.compile(
    r"unsupported|not (?:\w+ )?(?:supported|allowed|permitted|implemented|enabled|available|accept)|unknown|unexpected"
    r"|unrecognized|extra (?:inputs|fields|parameters)|does not (?:support|accept|exist)|invalid|deprecated|no longer"
    r"|only .{0,40}supported|must|should|cannot|can't|expected",
    re.IGNORECASE,
)
_SYSTEM = re.compile(
    r"system (?:role|messages?|prompts?|instructions?)|role[^.]{0,40}['\"`]?system"
    r"|developer (?:instruction|role|message)|roles must alternate|only user and assistant roles"
    r"|first message must be (?:from )?(?:the )?user",
    re.IGNORECASE,
)
_SCHEMA = re.compile(
    r"schema|response_format|structured.?output|json.?(?:mode|object)|guided|grammar|\benum\b|xgrammar|outlines",
    re.IGNORECASE,
)
_ROOT = re.compile(r"root|top.?level|type: ?\W?object|\"object\"|'object'|must be an object", re.IGNORECASE)
_SIZE = re.compile(
    r"exceed|limit|too (?:many|large|long|complex|big|deep)|at most|maximum|more than|up to \d|no more|states|size",
    re.IGNORECASE,
)
_OUT_OF_TOKENS = re.compile(
    r"could not finish the message because max_tokens|model output limit was reached", re.IGNORECASE
)
_POSITIVE = re.compile(r"strictly positive|greater than 0|> ?0|must be positive", re.IGNORECASE)
_MINIMUM = re.compile(
    r"(?:at least|minimum(?: value)?(?: of| is)?|>=|greater than or equal to)\D{0,12}(\d+)", re.IGNORECASE
)
_SENTENCE_CHARS = 300
_SMALL_SCHEMA = 50  # labels; a schema with fewer is refused for another reason than its size
_REFUSED_SCHEMAS = 100  # digests stored
_OPTIONAL_KEYWORDS = frozenset(
    "minItems maxItems uniqueItems minLength maxLength pattern const minimum maximum".split()
)


def next_form(
    form: RequestForm, body: Body, refusal: Refusal, keep: Collection[str] = (), worked: bool = False
) -> RequestForm | None:
    """The form to try after a refusal, by the first rule that applies; None if no other form can help.

    Args:
        form: in which the request was sent.
        body: the request before it was rewritten.
        refusal: the endpoint's error.
        keep: fields that must not change.
        worked: whether requests with the same fields have succeeded; then only this schema is at fault.
    """
    if refusal.status not in _STATUSES or refusal.is_about_text_or_account or ran_out_of_tokens(refusal):
        return None
    name = refused_field(form, body, refusal)
    name = None if name in keep and name != "max_tokens" else name
    rejected = _Rejected(body, refusal.message, name, worked)
    for rule_field, pattern, rule in _RULES:
        applies = rule_field in (None, name) and (pattern is None or pattern.search(refusal.message))
        if applies and (changed := rule(form, rejected)):
            return changed
    return None


def refused_field(form: RequestForm, body: Body, refusal: Refusal) -> str | None:
    """The field of the request that a refusal is about; None if it is unclear."""
    sent = {form.renamed.get(name, name): name for name in body if name not in ("model", "messages", *form.omitted)}
    if refusal.parameter in sent:
        return sent[refusal.parameter]
    is_echo = len(refusal.message) > _SENTENCE_CHARS  # may repeat the request, and with it names of fields
    if is_echo and not _UNSUPPORTED.search(refusal.text) and not _SCHEMA.search(refusal.message):
        return None
    matches = {name: re.search(rf"(?<!\w){re.escape(name)}(?!\w)", refusal.message) for name in sent}
    if places := [(match.start(), name) for name, match in matches.items() if match]:
        return sent[min(places)[1]]
    return "response_format" if "response_format" in sent and _SCHEMA.search(refusal.text) else None


def ran_out_of_tokens(refusal: Refusal) -> bool:
    """Whether the tokens ran out before the answer began, as OpenAI's reasoning models report it."""
    return bool(_OUT_OF_TOKENS.search(refusal.message))


@dataclass(frozen=True)
class _Rejected:
    """A refused request as rules see it; ``field`` is None if it is unclear or must stay."""

    body: Body
    message: str
    field: str | None
    worked: bool


def _merge_system(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    messages = rejected.body.get("messages") or ()
    conversations = messages if is_batch(rejected.body) else [messages]
    has_system = any(message.get("role") == "system" for one in conversations for message in one)
    return replace(form, merges_system=True) if has_system and not form.merges_system else None


def _raise_minimum(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    match = _MINIMUM.search(rejected.message)
    minimum = int(match[1]) if match else 0
    return replace(form, min_tokens=minimum) if max(1, form.min_tokens) < minimum <= 1_024 else None


def _rename_max_tokens(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    if "max_tokens" in form.renamed or (
        _MINIMUM.search(rejected.message) and "max_completion_tokens" not in rejected.message
    ):
        return None
    return replace(form, renamed={**form.renamed, "max_tokens": "max_completion_tokens"})


def _positive_temperature(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    return None if "temperature" in form.values else replace(form, values={**form.values, "temperature": 0.01})


def _fewer_top_logprobs(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    numbers = map(int, re.findall(r"\b\d{1,2}\b", rejected.message))
    lower = [number for number in numbers if 0 < number < rejected.body["top_logprobs"]]
    if not lower or "top_logprobs" in form.values:
        return None
    return replace(form, values={**form.values, "top_logprobs": max(lower)})


def _omit(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    return form.without_field(rejected.field) if rejected.field not in (None, "response_format") else None


def _wrap_schema(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    schema = _constraining(form, rejected)
    return replace(form, wraps_schema=True) if schema.get("type") == "array" and not form.wraps_schema else None


def _remove_keywords(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    in_schema = set(re.findall(r'"(\w+)": ', json.dumps(_constraining(form, rejected))))
    named = set(re.findall(r"\w+", rejected.message)) & in_schema & _OPTIONAL_KEYWORDS - set(form.removed_keywords)
    return replace(form, removed_keywords=(*form.removed_keywords, *sorted(named))) if named else None


def _note_size(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    size = schema_size(_constraining(form, rejected))
    return replace(form, refused_sizes=(*form.refused_sizes, size)) if size[0] >= _SMALL_SCHEMA else None


def _note_schema(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    schema = _constraining(form, rejected)
    if not schema or not rejected.worked:
        return None
    return replace(form, refused_schemas=(*form.refused_schemas, schema_digest(schema))[-_REFUSED_SCHEMAS:])


def _next_level(form: RequestForm, rejected: _Rejected) -> RequestForm | None:
    level = LEVELS.index(form.schema) + 1
    return replace(form, schema=LEVELS[level]) if level < len(LEVELS) else None


def _constraining(form: RequestForm, rejected: _Rejected) -> Mapping[str, Any]:
    """The schema that was refused; empty if none was sent."""
    return (schema_of(rejected.body) if form.schema == "json_schema" else None) or {}


_Rule = Callable[[RequestForm, _Rejected], RequestForm | None]
# Refused field (None: any), pattern of the message (None: any), and the rule. The first rule that returns a form wins.
_RULES: tuple[tuple[str | None, re.Pattern[str] | None, _Rule], ...] = (
    (None, _SYSTEM, _merge_system),
    ("max_tokens", _MINIMUM, _raise_minimum),
    ("max_tokens", None, _rename_max_tokens),
    ("temperature", _POSITIVE, _positive_temperature),
    ("top_logprobs", None, _fewer_top_logprobs),
    ("response_format", _ROOT, _wrap_schema),
    ("response_format", None, _remove_keywords),
    ("response_format", _SIZE, _note_size),
    ("response_format", None, _note_schema),
    ("response_format", None, _next_level),
    (None, None, _omit),
)
