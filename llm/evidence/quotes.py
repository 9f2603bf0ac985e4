"""Evidence of a language model: a quote from the text for each label, in a request of its own after the labels.

Labels and their requests do not change. A quote counts only where it is found in the text
(``llm.evidence.passages.located``); one that the model made up is no evidence. Quotes are cached like answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from llm.backends.backend import Backend, Completion, Constraint, Conversation
from llm.backends.local_backend import LocalBackend
from llm.backends.reasoning import without_reasoning
from llm.classifier import Evidence, Usage
from llm.evidence.passages import located, sentences
from llm.request_context import CURRENT_REQUEST, waiting_problem
from llm.strategies.json_repair import json_values
from llm.wrappers.cache import AnswerStore, Cached
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from prompts.taxonomy import Label
from prompts.template import TEMPLATES, Prompt
from prompts.text import Text
from similarity.errors import Rejected
from similarity.micro_batching import Admission

_LONGEST = 300  # characters of a quote; a model that copies the text points at nothing
_NOT_IN_TEXT = "the model's quote is not in the text"
_TOO_LONG = f"the model's quote is longer than {_LONGEST} characters"
REJECTED = frozenset([_NOT_IN_TEXT, _TOO_LONG])
"""Why something that a model quotes is no evidence."""
_MAX_TOKENS = 200
_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 0, "maxItems": 1}


@dataclass(frozen=True)
class QuoteRequest:
    """The question about one text and one of its labels."""

    text: Text
    label: Label


@dataclass(frozen=True)
class Quote:
    """What a model quotes: an empty passage where it finds none, or ``fault``, why there is nothing to read."""

    passage: str = ""
    fault: str = ""
    usage: Usage = Usage()

    def evidence(self, request: QuoteRequest) -> Evidence | str:
        """The evidence, or why there is none."""
        if self.fault or not self.passage:
            return self.fault or "the model quotes no passage for it"
        if len(self.passage) > _LONGEST:
            return _TOO_LONG
        passage = located(self.passage, request.text)
        if passage is None:
            return _NOT_IN_TEXT
        return Evidence(request.label.name, "quote", passage.of(request.text), passage.start, passage.end,
                        field=passage.field)  # fmt: skip


@dataclass(frozen=True)
class Quoter:
    """Requests quotes from a language model.

    Attributes:
        backend: the language model.
        gate: limit on pending requests, shared with the labels.
        cached: the cache of its answers; None: quotes are not cached.
    """

    backend: Backend
    gate: Admission
    cached: Cached | None = None

    def quotes(self, requests: Sequence[QuoteRequest]) -> list[Quote]:
        """One quote per request, in their order; a failure is the ``fault`` of each."""
        if not requests:
            return []
        keys = self._keys(requests) if self.cached else [str(place) for place in range(len(requests))]
        known = _read(self.cached.store, keys) if self.cached else {}
        missing = {key: one for key, one in zip(keys, requests, strict=True) if key not in known}
        new = dict(zip(missing, self._ask(list(missing.values())), strict=True)) if missing else {}
        if self.cached and (stored := {key: json.dumps(one.passage) for key, one in new.items() if not one.fault}):
            self.cached.store.put(stored)
        spent: set[str] = set()
        found = []
        for key in keys:  # the tokens of a repeated text count once
            quote = new.get(key) or known[key]
            found.append(replace(quote, usage=Usage()) if key in spent else quote)
            spent.add(key)
        return found

    def _ask(self, requests: Sequence[QuoteRequest]) -> list[Quote]:
        try:
            with self.gate.admit():
                return _generated(self.backend, requests)
        except Rejected as error:
            return [Quote(fault=waiting_problem(error).detail)] * len(requests)

    def _keys(self, requests: Sequence[QuoteRequest]) -> list[str]:
        common = [_prompt().digest, self.backend.name, dict(self.backend.decoding)]
        scope = "" if self.cached and self.cached.shared else CURRENT_REQUEST.get().cache_salt
        parts = ([one.text.body, one.text.title, one.label.name, one.label.description] for one in requests)
        return [f"quote:{scope}:{digest_of(json.dumps([*common, *part], sort_keys=True))}" for part in parts]


def conversation(request: QuoteRequest) -> Conversation:
    """The messages; the text comes before the label, so that all labels of a text share a prefix."""
    values: dict[str, Any] = {"text": request.text.body.strip(), "title": request.text.title.strip()}
    return (
        {"role": "system", "content": _prompt().fill("system")},
        {"role": "user", "content": _prompt().fill("user", **values, label=request.label)},
    )


@cache
def _prompt() -> Prompt:
    return Prompt("quote.v1", (TEMPLATES / "evidence" / "quote.v1.jinja").read_text(encoding="utf-8"))


def _generated(backend: Backend, requests: Sequence[QuoteRequest]) -> list[Quote]:
    conversations = [conversation(request) for request in requests]
    if not isinstance(backend, LocalBackend):
        return [_quote(one) for one in backend.generate(conversations, Constraint(_SCHEMA, _MAX_TOKENS))]
    found: list[Quote] = []
    for request, messages in zip(requests, conversations, strict=True):
        # Weights in this process write only lists of given strings: they choose among the sentences.
        choices = list(dict.fromkeys(passage.of(request.text) for passage in sentences(request.text)))
        schema = {**_SCHEMA, "items": {"type": "string", "enum": choices}}
        try:
            found += map(_quote, backend.generate([messages], Constraint(schema, _MAX_TOKENS)))
        except InvalidSetting:
            found.append(Quote(fault="the model cannot tell the sentences of the text apart"))
    return found


def _quote(completion: Completion) -> Quote:
    usage = completion.usage
    if completion.problem:
        return Quote(fault=completion.problem.detail, usage=usage)
    written = without_reasoning(completion.text or "")
    if not written:
        return Quote(fault="the model wrote nothing", usage=usage)
    values = list(json_values(written))
    if completion.truncated and not (values and values[-1].closed):
        return Quote(fault="the model's quote was cut off", usage=usage)
    if not values:
        return Quote(written.strip().strip("\"'\u201c\u201d\u00ab\u00bb"), usage=usage)
    return Quote(next(_strings(values[-1].value), ""), usage=usage)


def _strings(value: Any) -> Iterator[str]:
    """All strings inside a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(inner)


def _read(store: AnswerStore, keys: Sequence[str]) -> dict[str, Quote]:
    found = {}
    for key, value in store.get(list(dict.fromkeys(keys))).items():
        try:
            passage = json.loads(value)
        except ValueError:
            continue
        if isinstance(passage, str):
            found[key] = Quote(passage)
    return found
