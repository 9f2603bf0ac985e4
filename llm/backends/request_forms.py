"""Request forms: which fields of a request one model at one endpoint accepts, and which form to try after a refusal.

"OpenAI-compatible" endpoints refuse fields that others require: OpenAI's reasoning models take
``max_completion_tokens`` instead of ``max_tokens`` and no ``temperature``; chat templates of Gemma and of some Mistral
models take no system message; schemas are refused for their root, a keyword or their size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from llm.backends.endpoint import Address
from llm.backends.refusals import Refusal
from prompts.files import digest_of

Body = Mapping[str, Any]
SchemaLevel = Literal["json_schema", "json_object", "none"]

# Fields that a request can do without, the most useful first.
OPTIONAL = (
    "response_format max_tokens temperature logprobs top_logprobs seed logprob_token_ids return_tokens_as_token_ids "
    "return_token_ids cache_salt"
).split()
_LOGPROBS = ("logprobs", "top_logprobs")  # neither makes sense without the other
_LEVELS: tuple[SchemaLevel, ...] = get_args(SchemaLevel)
_REASONING_MODELS = re.compile(r"(?i)(?:^|/)(?:gpt-5|o[134])(?:[.\-]|$)")
# The chat templates of Gemma up to 2 refuse a system message; those of Gemma 3 put it before the first user message.
_NO_SYSTEM_MODELS = re.compile(r"(?i)(?:^|/)(?:(?:code)?gemma-(?:1\.1|[237])|o1-(?:mini|preview))")
_STATUSES = frozenset((400, 403, 404, 406, 415, 422, 500, 501))
_UNSUPPORTED = re.compile(
    r"(?i)unsupported|not (?:\w+ )?(?:supported|allowed|permitted|implemented|enabled|available|accept)|deprecated"
    r"|unexpected|unknown|unrecognized|extra (?:inputs|fields|parameters)|does not (?:support|accept|exist)|invalid"
    r"|no longer|only .{0,40}supported|must|should|cannot|can't|expected"
)
_SYSTEM = re.compile(
    r"(?i)system (?:role|messages?|prompts?|instructions?)|role[^.]{0,40}['\"`]?system"
    r"|developer (?:instruction|role|message)|roles must alternate|only user and assistant roles"
    r"|first message must be (?:from )?(?:the )?user"
)
_SCHEMA = re.compile(
    r"(?i)schema|response_format|structured.?output|json.?(?:mode|object)|guided|grammar|\benum\b|xgrammar|outlines"
)
_ROOT = re.compile(r"(?i)root|top.?level|type: ?\W?object|\"object\"|'object'|must be an object")
_SIZE = re.compile(
    r"(?i)exceed|limit|too (?:many|large|long|complex|big|deep)|at most|maximum|more than|up to \d|no more|states|size"
)
_OUT_OF_TOKENS = re.compile(r"(?i)could not finish the message because max_tokens|model output limit was reached")
_POSITIVE = re.compile(r"(?i)strictly positive|greater than 0|> ?0|must be positive")
_MINIMUM = re.compile(r"(?i)(?:at least|minimum(?: value)?(?: of| is)?|>=|greater than or equal to)\D{0,12}(\d+)")
_SENTENCE_CHARS = 300
_HIGHEST_MINIMUM = 1_024  # of tokens; a higher number is no minimum
_SMALL_SCHEMA = 50  # labels; a schema with fewer is refused for another reason than its size
_REFUSED_SCHEMAS = 100  # digests stored
_OPTIONAL_KEYWORDS = frozenset(
    "minItems maxItems uniqueItems minLength maxLength pattern const minimum maximum".split()
)


@dataclass(frozen=True)
class RequestForm:
    """How the requests to a model are rewritten."""

    # New names of fields, such as ``max_completion_tokens`` for ``max_tokens``.
    renamed: Mapping[str, str] = field(default_factory=dict)
    # Replaced values, such as the highest permitted ``top_logprobs``.
    values: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()  # fields that are removed
    merges_system: bool = False  # whether the system message goes into the first user message
    schema: SchemaLevel = "json_schema"  # constraint of the answer
    wraps_schema: bool = False  # whether a schema needs an object at its root
    removed_keywords: tuple[str, ...] = ()  # keywords that schemas must not have
    # Number of labels and of characters of schemas that were too large.
    refused_sizes: tuple[tuple[int, int], ...] = ()
    refused_schemas: tuple[str, ...] = ()  # digests of schemas that were refused while others are accepted
    extra_tokens: int = 0  # added to ``max_tokens`` for models that reason before they answer
    min_tokens: int = 0  # the smallest permitted ``max_tokens``

    @classmethod
    def from_json(cls, stored: Any) -> RequestForm:
        """The form from its fields (``asdict``); the default for anything else."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(stored)
        except ValidationError:
            return cls()

    def applied(self, body: Body, keep: Collection[str] = ()) -> dict[str, Any]:
        """Rewrite a request; the fields ``keep`` stay, since it would have no purpose without them."""
        new = dict(body)
        if "response_format" in new and "response_format" not in keep:
            self._rewrite_schema(new)
        if self.merges_system and "messages" in new:
            new["messages"] = _merged_system(new["messages"])
        if (limit := new.get("max_tokens", 0)) > 1:
            new["max_tokens"] = max(limit + self.extra_tokens, self.min_tokens)
        for name in self.omitted:
            if name not in keep:
                new.pop(name, None)
        new.update({name: value for name, value in self.values.items() if name in new and name not in keep})
        return {self.renamed.get(name, name): value for name, value in new.items()}

    def without(self, *names: str) -> RequestForm:
        """This form with fields removed; ``system`` means the system message, which is merged into another one."""
        omitted = [name for name in names if name not in ("system", "response_format")]
        return replace(
            self,
            omitted=tuple(dict.fromkeys((*self.omitted, *omitted))),
            merges_system=self.merges_system or "system" in names,
            schema="none" if "response_format" in names else self.schema,
        )

    def merged(self, other: RequestForm) -> RequestForm:
        """What either of two forms has learned."""
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        schema = max(pairs.pop("schema"), key=_LEVELS.index)
        return RequestForm(**{name: _union(*pair) for name, pair in pairs.items()}, schema=schema)

    def _rewrite_schema(self, body: dict[str, Any]) -> None:
        schema = _schema_of(body)
        if schema is None:
            return
        if self.schema == "none" or self._refuses(schema):
            del body["response_format"]
        elif self.schema == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif self.wraps_schema or self.removed_keywords:
            new = _without_keywords(schema, self.removed_keywords)
            new = wrapped(new) if self.wraps_schema and new.get("type") == "array" else new
            described = body["response_format"]["json_schema"]
            body["response_format"] = {"type": "json_schema", "json_schema": {**described, "schema": new}}

    def _refuses(self, schema: Mapping[str, Any]) -> bool:
        if not (self.refused_sizes or self.refused_schemas):
            return False
        labels, chars = _schema_size(schema)
        too_large = any(labels >= count and chars >= size for count, size in self.refused_sizes)
        return too_large or _schema_digest(schema) in self.refused_schemas


def assumed_form(address: Address, model: str, extra_tokens: int = 0) -> RequestForm:
    """The form that a model's name suggests, before the first request.

    OpenAI's reasoning models are recognised on OpenAI's and Azure's hosts only; they get ``extra_tokens``.
    """
    form = RequestForm(merges_system=bool(_NO_SYSTEM_MODELS.search(model)))
    if not (address.is_openai and _REASONING_MODELS.search(model)):
        return form
    renamed = {"max_tokens": "max_completion_tokens"}
    return replace(form, renamed=renamed, omitted=("temperature",), extra_tokens=extra_tokens)


def next_form(
    form: RequestForm, body: Body, refusal: Refusal, keep: Collection[str] = (), worked: bool = False
) -> RequestForm | None:
    """The form to try after a refusal; None if no other form can help.

    ``body`` is the request before it was rewritten; the fields ``keep`` must not change. Where requests with the same
    fields have ``worked``, only this schema is at fault.
    """
    if refusal.status not in _STATUSES or refusal.is_about_text_or_account or ran_out_of_tokens(refusal):
        return None
    name = refused_field(form, body, refusal)
    name = None if name in keep and name != "max_tokens" else name
    return next(_forms_to_try(form, body, refusal.message, name, worked), None)


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


def _forms_to_try(form: RequestForm, body: Body, message: str, name: str | None, worked: bool) -> Iterator[RequestForm]:
    """Other forms after a refusal of the field ``name`` (None if it is unclear or must stay), the best first."""
    if _SYSTEM.search(message) and not form.merges_system and _has_system(body):
        yield form.without("system")
    if name == "response_format":
        yield from _schemas_to_try(form, body, message, worked)
        return
    if name == "max_tokens":
        match = _MINIMUM.search(message)
        if match and max(1, form.min_tokens) < int(match[1]) <= _HIGHEST_MINIMUM:
            yield replace(form, min_tokens=int(match[1]))
        if name not in form.renamed and (not match or "max_completion_tokens" in message):
            yield replace(form, renamed={**form.renamed, name: "max_completion_tokens"})
    elif name == "temperature" and _POSITIVE.search(message) and name not in form.values:
        yield replace(form, values={**form.values, name: 0.01})
    elif name == "top_logprobs" and name not in form.values:
        lower = [int(number) for number in re.findall(r"\b\d{1,2}\b", message) if 0 < int(number) < body[name]]
        if lower:
            yield replace(form, values={**form.values, name: max(lower)})
    if name:
        yield form.without(*(_LOGPROBS if name in _LOGPROBS else (name,)))


def _schemas_to_try(form: RequestForm, body: Body, message: str, worked: bool) -> Iterator[RequestForm]:
    schema = (_schema_of(body) if form.schema == "json_schema" else None) or {}  # empty if none was sent
    if _ROOT.search(message) and schema.get("type") == "array" and not form.wraps_schema:
        yield replace(form, wraps_schema=True)
    keywords = _OPTIONAL_KEYWORDS.intersection(re.findall(r'"(\w+)": ', json.dumps(schema)))
    if named := keywords.intersection(re.findall(r"\w+", message)).difference(form.removed_keywords):
        yield replace(form, removed_keywords=(*form.removed_keywords, *sorted(named)))
    if _SIZE.search(message) and (size := _schema_size(schema))[0] >= _SMALL_SCHEMA:
        yield replace(form, refused_sizes=(*form.refused_sizes, size))
    if schema and worked:
        yield replace(form, refused_schemas=(*form.refused_schemas, _schema_digest(schema))[-_REFUSED_SCHEMAS:])
    yield from (replace(form, schema=level) for level in _LEVELS[_LEVELS.index(form.schema) + 1 :][:1])


def _has_system(body: Body) -> bool:
    conversations = body["messages"] if is_batch(body) else [body.get("messages") or ()]
    return any(message.get("role") == "system" for one in conversations for message in one)


def is_batch(body: Body) -> bool:
    """Whether a request has several conversations."""
    messages = body.get("messages")
    return isinstance(messages, list | tuple) and bool(messages) and isinstance(messages[0], list | tuple)


def wrapped(array: Mapping[str, Any]) -> Mapping[str, Any]:
    """An array's schema as the only member ``labels`` of an object, for endpoints that require an object."""
    members = {"labels": dict(array)}
    return {"type": "object", "properties": members, "required": ["labels"], "additionalProperties": False}


def _union(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {**one, **other}
    return tuple(dict.fromkeys((*one, *other))) if isinstance(one, tuple) else max(one, other)


def _schema_of(body: Body) -> Mapping[str, Any] | None:
    response_format = body.get("response_format")
    described = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _schema_size(schema: Any) -> tuple[int, int]:
    """Number of values in all enumerations, and their characters."""
    parts: list[tuple[int, int]] = []
    if isinstance(schema, Mapping):
        own = [value for value in schema.get("enum", ()) if isinstance(value, str)]
        parts = [_schema_size(value) for key, value in schema.items() if key != "enum"]
        parts.append((len(own), sum(map(len, own))))
    return sum(count for count, _ in parts), sum(chars for _, chars in parts)


def _schema_digest(schema: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(schema, sort_keys=True), 16)


def _without_keywords(schema: Any, keywords: Collection[str]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    return {key: _without_keywords(value, keywords) for key, value in schema.items() if key not in keywords}


def _merged_system(messages: Sequence[Any]) -> list[Any]:
    """The messages with the system messages in front of the first user message's text."""
    if messages and isinstance(messages[0], list | tuple):
        return [_merged_system(conversation) for conversation in messages]
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    first = next((message for message in rest if message["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(system)}, *rest]
    first["content"] = "\n\n".join([*system, first["content"]])
    return rest
