"""The canaries: requests whose answers show whether an endpoint honours what they ask for.

A server that does not know a constraint may drop it and answer 200 (old vLLM fields do that to this day), so its word
is not taken: each canary asks for something that no model says by itself, and looks whether it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llm.classifier import Problem
from llm.engines.wire import BATCH, Wire

Outcome = Literal["honoured", "ignored", "refused", "unknown"]
_CANARY = "zqx-7"
_SAY_HELLO = [{"role": "user", "content": "Say hello."}]
_LONG = [{"role": "user", "content": "One two three four five six seven eight nine ten. " * 60 + "Say hello."}]


@dataclass(frozen=True)
class Finding:
    """How one canary came back; ``note`` is for people, ``amount`` says how much of it there is, where that counts."""

    outcome: Outcome
    note: str = ""
    amount: int = 0


class Canaries:
    """Sends canaries to one model."""

    def __init__(self, wire: Wire, model: str) -> None:
        self.wire, self.model = wire, model

    def ask(self, messages: Any = None, max_tokens: int = 24, **fields: Any) -> Any:
        """A reply's first choice with its usage, or the ``Problem`` that stood against it."""
        body = {"model": self.model, "messages": messages or _SAY_HELLO, "max_tokens": max_tokens, "temperature": 0}
        (reply,) = self.wire.post([body | fields])
        if isinstance(reply, Problem):
            return reply
        choices = reply.get("choices") if isinstance(reply, dict) else None
        return {**choices[0], "usage": reply.get("usage") or {}} if choices else Problem("unreadable", "no choices")

    def says(self, wanted: str, **fields: Any) -> Finding:
        """Whether the words come back as a constraint wants them (a regular expression)."""
        reply = self.ask(**fields)
        if isinstance(reply, Problem):
            return Finding("refused", reply.detail)
        words = (reply.get("message") or {}).get("content") or ""
        return Finding("honoured" if re.fullmatch(wanted, words.strip()) else "ignored")

    def schema(self, schema: Mapping[str, Any], wanted: str) -> Finding:
        """Whether a JSON schema holds the words."""
        described = {"name": "canary", "strict": True, "schema": schema}
        return self.says(wanted, response_format={"type": "json_schema", "json_schema": described})

    def token_id(self, word: str) -> int | None:
        """The id of a word that is a single token, where the endpoint tells."""
        body = {"model": self.model, "prompt": word, "add_special_tokens": False}
        (reply,) = self.wire.post([body], self.wire.beside("/tokenize"))
        tokens = reply.get("tokens") if isinstance(reply, dict) else None
        return int(tokens[0]) if isinstance(tokens, list) and len(tokens) == 1 else None


_STRING = {"type": "string", "enum": [_CANARY]}
_ARRAY = {"type": "array", "items": _STRING, "minItems": 1, "maxItems": 1}
_OBJECT = {
    "type": "object",
    "properties": {"labels": _ARRAY},
    "required": ["labels"],
    "additionalProperties": False,
}


def _logit_bias(canaries: Canaries) -> Finding:
    token = canaries.token_id("Q")
    if token is None:
        return Finding("unknown", "needs token ids")
    return canaries.says("Q", max_tokens=1, logit_bias={str(token): 100})


def _logprobs(canaries: Canaries) -> Finding:
    reply = Problem("rejected", "")
    for most in (20, 5):
        reply = canaries.ask(max_tokens=1, logprobs=True, top_logprobs=most)
        if not isinstance(reply, Problem):
            told = len(_top(reply))
            return Finding("honoured", f"{told} likeliest tokens", told) if told > 1 else Finding("ignored")
    return Finding("refused", reply.detail)


def _token_ids(canaries: Canaries) -> Finding:
    ids = [canaries.token_id(word) for word in ("A", "B", "C")]
    if None in ids:
        return Finding("unknown", "needs token ids")
    fields = {"logprobs": True, "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    reply = canaries.ask(max_tokens=1, **fields)
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    told = {entry.get("token") for entry in _top(reply)}
    return Finding("honoured" if {f"token_id:{one}" for one in ids} <= told else "ignored")


def _tokenize(canaries: Canaries) -> Finding:
    return Finding("honoured" if canaries.token_id("A") is not None else "refused")


def _prefix_caching(canaries: Canaries) -> Finding:
    reply = [canaries.ask(_LONG, max_tokens=1) for _ in range(2)][-1]
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    details = reply["usage"].get("prompt_tokens_details")
    if not isinstance(details, dict) or details.get("cached_tokens") is None:
        return Finding("unknown", "the endpoint does not tell cached tokens")
    return Finding("honoured" if details["cached_tokens"] else "ignored", f"{details['cached_tokens']} tokens")


def _top(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = (reply.get("logprobs") or {}).get("content") or []
    return list(content[0].get("top_logprobs") or []) if content else []


def _batch(canaries: Canaries) -> Finding:
    described = {"name": "canary", "strict": True, "schema": _OBJECT}
    body = {"model": canaries.model, "messages": [_SAY_HELLO, _SAY_HELLO], "max_tokens": 24, "temperature": 0}
    schema = {"response_format": {"type": "json_schema", "json_schema": described}}
    (reply,) = canaries.wire.post([body | schema], BATCH)
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    told = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    said = [str((choice.get("message") or {}).get("content")) for choice in told]
    return Finding("honoured" if len(said) == 2 and all(_CANARY in words for words in said) else "ignored")


def _decisions(canaries: Canaries) -> Finding:
    question = {"type": "predicate", "name": "q", "instructions": "This is a greeting."}
    body = {"model": canaries.model, "input": "Hello!", "questions": [question]}
    (reply,) = canaries.wire.post([body], "/decisions")
    if isinstance(reply, Problem):
        return Finding("refused", reply.detail)
    answers = reply.get("answers") if isinstance(reply, dict) else None
    told = isinstance(answers, list) and bool(answers) and "probability" in answers[0]
    return Finding("honoured" if told else "ignored")


CANARIES: Mapping[str, Callable[[Canaries], Finding]] = {
    "json_schema": lambda c: c.schema(_OBJECT, r'\{\s*"labels"\s*:\s*\[\s*"zqx-7"\s*\]\s*\}'),
    "json_array": lambda c: c.schema(_ARRAY, r'\[\s*"zqx-7"\s*\]'),
    "choice": lambda c: c.says(_CANARY, structured_outputs={"choice": [_CANARY]}),
    "regex": lambda c: c.says("zq[0-9]{3}", structured_outputs={"regex": "zq[0-9]{3}"}),
    "grammar": lambda c: c.says(_CANARY, structured_outputs={"grammar": f'root ::= "{_CANARY}"'}),
    "gbnf": lambda c: c.says(_CANARY, grammar=f'root ::= "{_CANARY}"'),
    "logit_bias": _logit_bias,
    "logprobs": _logprobs,
    "token_ids": _token_ids,
    "tokenize": _tokenize,
    "prefix_caching": _prefix_caching,
    "batch": _batch,
    "decisions": _decisions,
}
