"""Request forms: which fields of a request one model at one endpoint accepts (see ``form_rules``)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from llm.backends.endpoint import Address

Body = Mapping[str, Any]
SchemaLevel = Literal["json_schema", "json_object", "none"]

OPTIONAL = (
    *("response_format", "max_tokens", "temperature", "logprobs", "top_logprobs", "seed", "logprob_token_ids"),
    *("return_tokens_as_token_ids", "return_token_ids", "cache_salt"),
)
"""Fields that a request can do without, the most useful first."""

LEVELS: tuple[SchemaLevel, ...] = get_args(SchemaLevel)
_REASONING_MODELS = re.compile(r"(?:^|/)(?:gpt-5|o[134])(?:[.\-]|$)", re.IGNORECASE)
# The chat templates of Gemma up to 2 refuse a system message; those of Gemma 3 put it before the first user message.
_NO_SYSTEM_MODELS = re.compile(r"(?:^|/)(?:(?:code)?gemma-(?:1\.1|[237])|o1-(?:mini|preview))", re.IGNORECASE)


@dataclass(frozen=True)
class RequestForm:
    """How the requests to a model are rewritten.

    Attributes:
        renamed: new names of fields, such as ``max_completion_tokens`` for ``max_tokens``.
        values: replaced values, such as the highest permitted ``top_logprobs``.
        omitted: fields that are removed.
        merges_system: whether the system message goes into the first user message.
        schema: constraint of the answer.
        wraps_schema: whether a schema needs an object at its root.
        removed_keywords: keywords that schemas must not have.
        refused_sizes: number of labels and of characters of schemas that were too large.
        refused_schemas: digests of schemas that were refused while others are accepted.
        extra_tokens: added to ``max_tokens`` for models that reason before they answer.
        min_tokens: the smallest permitted ``max_tokens``.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()
    merges_system: bool = False
    schema: SchemaLevel = "json_schema"
    wraps_schema: bool = False
    removed_keywords: tuple[str, ...] = ()
    refused_sizes: tuple[tuple[int, int], ...] = ()
    refused_schemas: tuple[str, ...] = ()
    extra_tokens: int = 0
    min_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """The form as JSON, for the findings file."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> RequestForm:
        """The form that ``as_json`` returned; the default for anything else."""
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

    def without_field(self, name: str) -> RequestForm:
        """This form with one more field removed, and the fields that make no sense without it."""
        if name == "response_format":
            return replace(self, schema="none")
        names = ("logprobs", "top_logprobs") if name in ("logprobs", "top_logprobs") else (name,)
        return replace(self, omitted=tuple(dict.fromkeys((*self.omitted, *names))))

    def with_field(self, name: str, before: RequestForm) -> RequestForm:
        """This form with one field as it was before; ``system`` means the system message."""
        if name == "system":
            return replace(self, merges_system=before.merges_system)
        if name == "response_format":
            return replace(self, schema=before.schema)
        return replace(self, omitted=tuple(one for one in self.omitted if one != name or one in before.omitted))

    def merged(self, other: RequestForm) -> RequestForm:
        """What either of two forms has learned."""
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        schema = max(pairs.pop("schema"), key=LEVELS.index)
        return RequestForm(**{name: _union(*pair) for name, pair in pairs.items()}, schema=schema)

    def _rewrite_schema(self, body: dict[str, Any]) -> None:
        schema = schema_of(body)
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
        labels, chars = schema_size(schema)
        too_large = any(labels >= count and chars >= size for count, size in self.refused_sizes)
        return too_large or schema_digest(schema) in self.refused_schemas


def assumed_form(address: Address, model: str, extra_tokens: int = 0) -> RequestForm:
    """The form that a model's name suggests, before the first request.

    OpenAI's reasoning models are recognised on OpenAI's and Azure's hosts only; they get ``extra_tokens``.
    """
    form = RequestForm(merges_system=bool(_NO_SYSTEM_MODELS.search(model)))
    if not (address.is_openai and _REASONING_MODELS.search(model)):
        return form
    renamed = {"max_tokens": "max_completion_tokens"}
    return replace(form, renamed=renamed, omitted=("temperature",), extra_tokens=extra_tokens)


def is_batch(body: Body) -> bool:
    """Whether a request has several conversations."""
    messages = body.get("messages")
    return isinstance(messages, list | tuple) and bool(messages) and isinstance(messages[0], list | tuple)


def wrapped(array: Mapping[str, Any]) -> Mapping[str, Any]:
    """An array's schema as the only member ``labels`` of an object, for endpoints that require an object."""
    return {
        "type": "object",
        "properties": {"labels": dict(array)},
        "required": ["labels"],
        "additionalProperties": False,
    }


def _union(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {**one, **other}
    return tuple(dict.fromkeys((*one, *other))) if isinstance(one, tuple) else max(one, other)


def schema_of(body: Body) -> Mapping[str, Any] | None:
    """The JSON schema of a request; None without one."""
    response_format = body.get("response_format")
    described = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def schema_size(schema: Any) -> tuple[int, int]:
    """Number of values in all enumerations, and their characters."""
    if isinstance(schema, Mapping):
        own = [value for value in schema.get("enum", ()) if isinstance(value, str)]
        parts = [
            (len(own), sum(map(len, own))),
            *(schema_size(value) for key, value in schema.items() if key != "enum"),
        ]
    else:
        parts = [schema_size(value) for value in schema] if isinstance(schema, list) else []
    return sum(count for count, _ in parts), sum(chars for _, chars in parts)


def schema_digest(schema: Mapping[str, Any]) -> str:
    """16 hex digits that identify a schema."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:16]


def _without_keywords(schema: Any, keywords: Collection[str]) -> Any:
    if isinstance(schema, Mapping):
        return {key: _without_keywords(value, keywords) for key, value in schema.items() if key not in keywords}
    return [_without_keywords(value, keywords) for value in schema] if isinstance(schema, list) else schema


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
