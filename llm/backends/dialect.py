"""What one model at one endpoint accepts in a request, learnt from its refusals.

"OpenAI-compatible" endpoints refuse fields that others demand: OpenAI's reasoning models take ``max_completion_tokens``
instead of ``max_tokens`` and no ``temperature``; Gemma's and some of Mistral's chat templates take no system message;
schemas are refused for their root, a keyword or their size. A ``RequestForm`` rewrites requests accordingly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llm.backends.address import AZURE_HOSTS
from llm.backends.refusals import Refusal

Body = Mapping[str, Any]

OPTIONAL = (
    *("response_format", "max_tokens", "temperature", "logprobs", "top_logprobs", "seed", "logprob_token_ids"),
    *("return_tokens_as_token_ids", "return_token_ids", "cache_salt"),
)
"""Fields of ours that a request can do without, the most useful first."""

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
_WORD = re.compile(r"\w+")
_SIZE = re.compile(
    r"exceed|limit|too (?:many|large|long|complex|big|deep)|at most|maximum|more than|up to \d|no more|states|size",
    re.IGNORECASE,
)
_ROOM = re.compile(r"could not finish the message because max_tokens|model output limit was reached", re.IGNORECASE)
_POSITIVE = re.compile(r"strictly positive|greater than 0|> ?0|must be positive", re.IGNORECASE)
_LEAST = re.compile(
    r"(?:at least|minimum(?: value)?(?: of| is)?|>=|greater than or equal to)\D{0,12}(\d+)", re.IGNORECASE
)
_REASONING_NAMES = re.compile(r"(?:^|/)(?:gpt-5|o[134])(?:[.\-]|$)", re.IGNORECASE)
# The chat templates of Gemma up to 2 refuse a system message; those of Gemma 3 put it before the first user message.
_WITHOUT_SYSTEM_NAMES = re.compile(r"(?:^|/)(?:(?:code)?gemma-(?:1\.1|[237])|o1-(?:mini|preview))", re.IGNORECASE)
_OPENAI_HOSTS = ("api.openai.com", *AZURE_HOSTS)
_SENTENCE_CHARS = 300
_SMALL_SCHEMA = 50  # labels; a schema of fewer is refused for another reason than its size
LEVELS = ("json_schema", "json_object", "none")
_CHANGEABLE = (
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "const",
    "minimum",
    "maximum",
)


@dataclass(frozen=True)
class RequestForm:
    """How requests are rewritten.

    Attributes:
        renamed: fields that are called otherwise, such as ``max_tokens`` to ``max_completion_tokens``.
        values: values in place of ours, such as the highest ``top_logprobs``.
        omitted: fields that are left out.
        folds_system: whether the system message goes into the first user message.
        schema: what holds the answer to JSON: ``json_schema``, ``json_object`` or ``none``.
        wraps: whether a schema needs an object at its root.
        without: keywords that schemas must not have.
        refused_sizes: number of labels and characters of schemas that were too large.
        refused_schemas: digests of schemas that were refused for another reason where others are taken.
        room: tokens added to ``max_tokens``, for models that reason before they answer.
        least_tokens: the smallest ``max_tokens``.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()
    folds_system: bool = False
    schema: str = "json_schema"
    wraps: bool = False
    without: tuple[str, ...] = ()
    refused_sizes: tuple[tuple[int, int], ...] = ()
    refused_schemas: tuple[str, ...] = ()
    room: int = 0
    least_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Any) -> RequestForm:
        """From what ``as_json`` gave; the default for anything else."""
        try:
            one = cls(**kept)
            if one.schema not in LEVELS:
                return cls()
            return replace(
                one,
                renamed=dict(one.renamed),
                values=dict(one.values),
                omitted=tuple(one.omitted),
                without=tuple(one.without),
                refused_sizes=tuple((int(count), int(size)) for count, size in one.refused_sizes),
                refused_schemas=tuple(one.refused_schemas),
            )
        except (TypeError, ValueError):
            return cls()

    def applied(self, body: Body, keep: Collection[str] = ()) -> dict[str, Any]:
        """A request as this model takes it.

        Args:
            body: the request in the form that most endpoints take.
            keep: fields that must stay as they are, or the request would have no purpose.
        """
        new = dict(body)
        if "response_format" in new and "response_format" not in keep:
            self._constrain(new)
        if self.folds_system and "messages" in new:
            new["messages"] = _folded(new["messages"])
        if (most := new.get("max_tokens", 0)) > 1:
            new["max_tokens"] = max(most + self.room, self.least_tokens)
        for name in self.omitted:
            if name not in keep:
                new.pop(name, None)
        new.update({name: value for name, value in self.values.items() if name in new and name not in keep})
        return {self.renamed.get(name, name): value for name, value in new.items()}

    def learnt(
        self, body: Body, refusal: Refusal, keep: Collection[str] = (), worked: bool = False
    ) -> RequestForm | None:
        """This dialect with what a refusal teaches; None where it teaches nothing.

        Args:
            body: the request before it was rewritten.
            refusal: the answer to it.
            keep: fields that must stay as they are.
            worked: whether requests with these fields have succeeded here; then the fault is this schema's own.
        """
        if refusal.status not in _STATUSES or refusal.too_long or refusal.spent or refusal.lacks_model:
            return None
        words = refusal.words
        if ran_out(refusal):
            return None
        if not self.folds_system and _SYSTEM.search(words) and _has_system(body):
            return replace(self, folds_system=True)
        name = self.named(body, refusal)
        if name is None or (name in keep and name != "max_tokens"):
            return None
        if name == "response_format":
            return self._other_schema(body, words, worked)
        return self._other_field(name, body, words)

    def without_field(self, name: str) -> RequestForm:
        """This dialect with one more field left out."""
        if name == "response_format":
            return replace(self, schema="none")
        return replace(self, omitted=tuple(dict.fromkeys((*self.omitted, *_together(name)))))

    def named(self, body: Body, refusal: Refusal) -> str | None:
        """The field of our request that a refusal means."""
        ours = {self.renamed.get(name, name): name for name in body if name not in ("model", "messages", *self.omitted)}
        if refusal.parameter in ours:
            return ours[refusal.parameter]
        echoes = len(refusal.words) > _SENTENCE_CHARS  # some repeat the request, and with it names of fields
        if echoes and not _UNSUPPORTED.search(refusal.everything) and not _SCHEMA.search(refusal.words):
            return None
        found = {name: re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", refusal.words) for name in ours}
        first = min((match.start(), name) for name, match in found.items() if match) if any(found.values()) else None
        if first:
            return ours[first[1]]
        return "response_format" if "response_format" in ours and _SCHEMA.search(refusal.everything) else None

    def _other_field(self, name: str, body: Body, words: str) -> RequestForm | None:
        if name == "max_tokens":
            least = _LEAST.search(words)
            if least and 1 < int(least[1]) <= 1_024 and int(least[1]) > self.least_tokens:
                return replace(self, least_tokens=int(least[1]))
            if name not in self.renamed and (not least or "max_completion_tokens" in words):
                return replace(self, renamed={**self.renamed, name: "max_completion_tokens"})
        if name == "temperature" and _POSITIVE.search(words) and name not in self.values:
            return replace(self, values={**self.values, name: 0.01})
        if name == "top_logprobs" and name not in self.values:
            lower = [int(one) for one in re.findall(r"\b\d{1,2}\b", words) if 0 < int(one) < body[name]]
            if lower:
                return replace(self, values={**self.values, name: max(lower)})
        return self.without_field(name)

    def _other_schema(self, body: Body, words: str, worked: bool) -> RequestForm | None:
        schema = _schema_of(body["response_format"])
        if schema is not None and self.schema == "json_schema":
            if _ROOT.search(words) and schema.get("type") == "array" and not self.wraps:
                return replace(self, wraps=True)
            named = set(_WORD.findall(words)) & set(re.findall(r'"(\w+)": ', json.dumps(schema)))
            keywords = sorted(named & set(_CHANGEABLE) - set(self.without))
            if keywords:
                return replace(self, without=(*self.without, *keywords))
            labels, size = _size(schema)
            if _SIZE.search(words) and labels >= _SMALL_SCHEMA:
                return replace(self, refused_sizes=(*self.refused_sizes, (labels, size)))
            if worked:
                return replace(self, refused_schemas=(*self.refused_schemas[-99:], _digest(schema)))
        level = LEVELS.index(self.schema) + 1
        return replace(self, schema=LEVELS[level]) if level < len(LEVELS) else None

    def _constrain(self, body: dict[str, Any]) -> None:
        """Give ``response_format`` the form that is taken, or leave it out."""
        schema = _schema_of(body["response_format"])
        if schema is None:
            return
        if self.schema == "none" or self._refuses(schema):
            del body["response_format"]
        elif self.schema == "json_object":
            body["response_format"] = {"type": "json_object"}
        elif self.wraps or self.without:
            described = body["response_format"]["json_schema"]
            new = _stripped(schema, self.without)
            new = wrapped(new) if self.wraps and new.get("type") == "array" else new
            body["response_format"] = {"type": "json_schema", "json_schema": {**described, "schema": new}}

    def _refuses(self, schema: Mapping[str, Any]) -> bool:
        if not (self.refused_sizes or self.refused_schemas):
            return False
        labels, size = _size(schema)
        too_large = any(labels >= count and size >= length for count, length in self.refused_sizes)
        return too_large or _digest(schema) in self.refused_schemas


def assumed(host: str, model: str, room: int = 0) -> RequestForm:
    """What is known of a model by its name, before the first request.

    Args:
        host: of the endpoint; OpenAI's own reasoning models are known on OpenAI's and Azure's hosts.
        model: its name.
        room: tokens that reasoning models get beside those of the answer.
    """
    folds = bool(_WITHOUT_SYSTEM_NAMES.search(model))
    if host.endswith(_OPENAI_HOSTS) and _REASONING_NAMES.search(model):
        return RequestForm(
            {"max_tokens": "max_completion_tokens"}, omitted=("temperature",), folds_system=folds, room=room
        )
    return RequestForm(folds_system=folds)


def is_batch(body: Body) -> bool:
    """Whether a request carries many conversations."""
    messages = body.get("messages")
    return isinstance(messages, list | tuple) and bool(messages) and isinstance(messages[0], list | tuple)


def ran_out(refusal: Refusal) -> bool:
    """Whether a refusal says that the tokens ran out before the answer began, as OpenAI's reasoning models do."""
    return bool(_ROOM.search(refusal.words))


def wrapped(array: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema of an array as the one member ``labels`` of an object, for endpoints that want an object at the root."""
    return {
        "type": "object",
        "properties": {"labels": dict(array)},
        "required": ["labels"],
        "additionalProperties": False,
    }


def _together(name: str) -> tuple[str, ...]:
    """Fields that make no sense without the one named."""
    return ("logprobs", "top_logprobs") if name in ("logprobs", "top_logprobs") else (name,)


def _schema_of(response_format: Any) -> Mapping[str, Any] | None:
    described = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _size(schema: Any) -> tuple[int, int]:
    """How many values all enumerations have, and their characters."""
    if isinstance(schema, Mapping):
        own = [value for value in schema.get("enum", ()) if isinstance(value, str)]
        parts = [(len(own), sum(map(len, own))), *(_size(value) for key, value in schema.items() if key != "enum")]
    elif isinstance(schema, list):
        parts = [_size(value) for value in schema]
    else:
        return 0, 0
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def _digest(schema: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:16]


def _stripped(schema: Any, keywords: Collection[str]) -> Any:
    """A schema without some keywords, at any depth."""
    if isinstance(schema, Mapping):
        return {key: _stripped(value, keywords) for key, value in schema.items() if key not in keywords}
    return [_stripped(value, keywords) for value in schema] if isinstance(schema, list) else schema


def _has_system(body: Body) -> bool:
    return any(message.get("role") == "system" for one in _conversations(body) for message in one)


def _conversations(body: Body) -> Sequence[Sequence[Mapping[str, Any]]]:
    """The conversation of a request, or those of a batch."""
    messages = body.get("messages") or ()
    return messages if is_batch(body) else [messages]


def _folded(messages: Sequence[Any]) -> list[Any]:
    """The system messages in front of the first user message's text."""
    if messages and isinstance(messages[0], list | tuple):
        return [_folded(one) for one in messages]
    system = [one["content"] for one in messages if one["role"] == "system"]
    rest = [dict(one) for one in messages if one["role"] != "system"]
    first = next((one for one in rest if one["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": "\n\n".join(system)}, *rest]
    first["content"] = "\n\n".join([*system, first["content"]])
    return rest
