"""The canaries: requests whose answers show whether an endpoint honours what they ask for.

A server that does not know a constraint may drop it and answer 200 (old vLLM fields do that to this day), so its word
is not taken: each canary asks for something that no model says by itself, and looks whether it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llm.backends.codes import from_top_tokens, unreadable
from llm.backends.dialect import wrapped
from llm.backends.replies import ReplyReader, content_of, finish_of
from llm.backends.transport import BATCH, HTTPTransport
from llm.classifier import Problem

Outcome = Literal["honoured", "ignored", "refused", "unknown"]
_CANARY = "zqx-7"
_ENOUGH_TOKENS = 256  # grammars allow blanks between JSON's marks, and weak models like them
_PASSING = ("unreachable", "busy", "timeout", "client_disconnected")
_SAY_HELLO = [{"role": "user", "content": "Say hello."}]
_SAY_JSON = [{"role": "user", "content": 'Say hello as a JSON object with the one member "hello".'}]
_LETTERS = "ABCDEFGH"
_SAY_B = [
    {
        "role": "user",
        "content": "Which letter comes after A in the alphabet? Answer with one capital letter and nothing else.",
    }
]
_LONG = [{"role": "user", "content": "One two three four five six seven eight nine ten. " * 60 + "Say hello."}]


@dataclass(frozen=True)
class CheckResult:
    """How one canary came back; ``note`` is for people, ``amount`` says how much of it there is, where that counts."""

    outcome: Outcome
    note: str = ""
    amount: int = 0


class Unreached(Exception):
    """A check that could not be made: the endpoint was not reached, or refuses the model or the key."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class CapabilityChecks:
    """Sends canaries to one model."""

    def __init__(self, transport: HTTPTransport, model: str) -> None:
        self.transport, self.model = transport, model
        self._reader = ReplyReader(transport.place, transport.redacted)

    def ask(self, messages: Any = None, max_tokens: int = _ENOUGH_TOKENS, **fields: Any) -> Any:
        """A reply's first choice with its usage, or the ``Problem`` that prevented it.

        The fields are sent unchanged; otherwise the reply would show nothing about them.

        Raises:
            Unreached: the endpoint does not answer now.
        """
        body = {"model": self.model, "messages": messages or _SAY_HELLO, "max_tokens": max_tokens, "temperature": 0}
        (reply,) = self.transport.post([body | fields], keep=tuple(fields))
        choice = self._reader.choice(_answered(reply))
        return choice if isinstance(choice, Problem) else {**choice, "usage": reply.get("usage")}

    def side(self, path: str, body: Mapping[str, Any]) -> Any:
        """The reply of another path; a ``Problem`` of any kind where the endpoint does not serve it."""
        (reply,) = self.transport.post([body], path)
        if isinstance(reply, Problem) and reply.kind in _PASSING:
            raise Unreached(reply)
        return reply

    def top_tokens(self, choice: Mapping[str, Any]) -> list[tuple[str, float]]:
        """The first token's most probable alternatives, with their log-probabilities."""
        return self._reader.top_tokens(choice)

    def says(self, wanted: str, **fields: Any) -> CheckResult:
        """Whether the words come back as a constraint wants them (a regular expression)."""
        reply = self.ask(**fields)
        if isinstance(reply, Problem):
            return CheckResult("refused", reply.detail)
        words = content_of(reply) or ""
        return CheckResult("honoured" if re.fullmatch(wanted, words.strip()) else "ignored")

    def schema(self, schema: Mapping[str, Any], only: Any) -> CheckResult:
        """Whether a JSON schema that allows one value holds the model to it, whatever the model would say.

        An answer that was cut off counts where it is a beginning of that value: grammars allow blanks without end.
        """
        described = {"name": "canary", "strict": True, "schema": schema}
        reply = self.ask(response_format={"type": "json_schema", "json_schema": described})
        if isinstance(reply, Problem):
            return CheckResult("refused", reply.detail)
        return _judged(content_of(reply) or "", only, finish_of(reply) == "length")

    def token_id(self, word: str) -> int | None:
        """The id of a word that is a single token, where the endpoint tells."""
        reply = self.side(
            self.transport.beside("/tokenize"), {"model": self.model, "prompt": word, "add_special_tokens": False}
        )
        tokens = reply.get("tokens") if isinstance(reply, dict) else None
        return tokens[0] if isinstance(tokens, list) and len(tokens) == 1 and isinstance(tokens[0], int) else None


def _answered(reply: Any) -> Any:
    """A reply, or a refusal of the field that is checked.

    Raises:
        Unreached: it says nothing about the field.
    """
    if isinstance(reply, Problem) and reply.kind != "rejected":
        raise Unreached(reply)
    return reply


def _judged(words: str, only: Any, cut: bool) -> CheckResult:
    try:
        return CheckResult("honoured" if json.loads(words) == only else "ignored")
    except (ValueError, RecursionError):
        written = re.sub(r"\s", "", words)
        begun = bool(written) and json.dumps(only, separators=(",", ":")).startswith(written)
        return CheckResult("honoured", "cut off") if cut and begun else CheckResult("ignored")


_STRING = {"type": "string", "enum": [_CANARY]}
_ARRAY = {"type": "array", "items": _STRING, "minItems": 1, "maxItems": 1}
_OBJECT = wrapped(_ARRAY)
_ONLY_OBJECT = {"labels": [_CANARY]}


def _logit_bias(canaries: CapabilityChecks) -> CheckResult:
    token = canaries.token_id("Q")
    if token is None:
        return CheckResult("unknown", "needs token ids")
    return canaries.says("Q", max_tokens=1, logit_bias={str(token): 100})


def _logprobs(canaries: CapabilityChecks) -> CheckResult:
    reply: Any = Problem("rejected", "")
    for most in (20, 5):
        reply = canaries.ask(max_tokens=1, logprobs=True, top_logprobs=most)
        if not isinstance(reply, Problem):
            told = len(canaries.top_tokens(reply))
            return CheckResult("honoured", f"{told} most probable tokens", told) if told > 1 else CheckResult("ignored")
    return CheckResult("refused", reply.detail)


def _known_answer(canaries: CapabilityChecks) -> CheckResult:
    """Whether the model begins with its answer: a reasoning model begins with something else."""
    reply = canaries.ask(_SAY_B, max_tokens=1, logprobs=True, top_logprobs=5)
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    told = canaries.top_tokens(reply)
    if not told:
        return CheckResult("unknown", "needs logprobs")
    found = from_top_tokens(told, _LETTERS)
    problem = unreadable(found)
    return CheckResult("ignored", problem.detail) if problem else CheckResult("honoured")


def _token_ids(canaries: CapabilityChecks) -> CheckResult:
    ids = []
    for word in ("A", "B", "C"):
        if (found := canaries.token_id(word)) is None:
            return CheckResult("unknown", "needs token ids")
        ids.append(found)
    fields = {"logprobs": True, "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    reply = canaries.ask(max_tokens=1, **fields)
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    told = {token for token, _ in canaries.top_tokens(reply)}
    return CheckResult("honoured" if {f"token_id:{one}" for one in ids} <= told else "ignored")


def _tokenize(canaries: CapabilityChecks) -> CheckResult:
    return CheckResult("honoured" if canaries.token_id("A") is not None else "refused")


def _prefix_caching(canaries: CapabilityChecks) -> CheckResult:
    reply = [canaries.ask(_LONG, max_tokens=1) for _ in range(2)][-1]
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    details = reply["usage"].get("prompt_tokens_details") if isinstance(reply["usage"], dict) else None
    if not isinstance(details, dict) or details.get("cached_tokens") is None:
        return CheckResult("unknown", "the endpoint does not tell cached tokens")
    return CheckResult("honoured" if details["cached_tokens"] else "ignored", f"{details['cached_tokens']} tokens")


def _json_object(canaries: CapabilityChecks) -> CheckResult:
    """Whether JSON can be asked for without a schema; the reader holds the answer to the labels."""
    reply = canaries.ask(_SAY_JSON, response_format={"type": "json_object"})
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    words = (content_of(reply) or "").strip()
    return CheckResult("honoured" if words.startswith("{") else "ignored")


def _batch(canaries: CapabilityChecks) -> CheckResult:
    described = {"name": "canary", "strict": True, "schema": _OBJECT}
    body = {
        "model": canaries.model,
        "messages": [_SAY_HELLO, _SAY_HELLO],
        "max_tokens": _ENOUGH_TOKENS,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": described},
    }
    reply = canaries.side(BATCH, body)
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    told = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    held = [_judged(content_of(one) or "", _ONLY_OBJECT, finish_of(one) == "length").outcome for one in told]
    return CheckResult("honoured" if held == ["honoured"] * 2 else "ignored")


def _decisions(canaries: CapabilityChecks) -> CheckResult:
    question = {"type": "predicate", "name": "q", "instructions": "This is a greeting."}
    reply = canaries.side("/decisions", {"model": canaries.model, "input": "Hello!", "questions": [question]})
    if isinstance(reply, Problem):
        return CheckResult("refused", reply.detail)
    answers = reply.get("answers") if isinstance(reply, dict) else None
    first = answers[0] if isinstance(answers, list) and answers else None
    return CheckResult("honoured" if isinstance(first, dict) and "probability" in first else "ignored")


CANARIES: Mapping[str, Callable[[CapabilityChecks], CheckResult]] = {
    "json_schema": lambda c: c.schema(_OBJECT, _ONLY_OBJECT),
    "json_array": lambda c: c.schema(_ARRAY, _ONLY_OBJECT["labels"]),
    "json_object": _json_object,
    "choice": lambda c: c.says(_CANARY, structured_outputs={"choice": [_CANARY]}),
    "regex": lambda c: c.says("zq[0-9]{3}", structured_outputs={"regex": "zq[0-9]{3}"}),
    "grammar": lambda c: c.says(_CANARY, structured_outputs={"grammar": f'root ::= "{_CANARY}"'}),
    "gbnf": lambda c: c.says(_CANARY, grammar=f'root ::= "{_CANARY}"'),
    "logit_bias": _logit_bias,
    "logprobs": _logprobs,
    "known_answer": _known_answer,
    "token_ids": _token_ids,
    "tokenize": _tokenize,
    "prefix_caching": _prefix_caching,
    "batch": _batch,
    "decisions": _decisions,
}
