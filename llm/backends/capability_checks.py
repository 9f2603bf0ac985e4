"""Capability checks: requests whose replies show whether an endpoint supports what they ask for.

Servers may ignore unknown constraint fields and return 200 (old vLLM does). Each check requests an output that the
model would not produce unconstrained, and tests for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llm.backends.codes import from_top_tokens, unreadable
from llm.backends.replies import ReplyReader, content_of, finish_reason, list_in, object_in, token_ids, top_tokens
from llm.backends.request_forms import wrapped
from llm.backends.transport import BATCH, HTTPTransport
from llm.classifier import Problem

Outcome = Literal["supported", "ignored", "rejected", "unknown"]

_MAX_TOKENS = 256  # grammars permit blanks between JSON tokens, and weak models write many
_TRANSIENT = ("unreachable", "busy", "timeout", "client_disconnected")
_WORD = "zqx-7"
_STRING = {"type": "string", "enum": [_WORD]}
_ARRAY = {"type": "array", "items": _STRING, "minItems": 1, "maxItems": 1}
_OBJECT = wrapped(_ARRAY)
_LETTERS = "ABCDEFGH"
_USUAL_TOP_TOKENS = 20
_HELLO = [{"role": "user", "content": "Say hello."}]
_JSON_HELLO = [{"role": "user", "content": 'Say hello as a JSON object with the one member "hello".'}]
_QUESTION = "Which letter comes after A in the alphabet? Answer with one capital letter and nothing else."
_LONG = [{"role": "user", "content": "One two three four five six seven eight nine ten. " * 60 + "Say hello."}]


MANY_TOKENS: Mapping[str, Any] = {"top_logprobs": 400}
"""Requests so many probable tokens that labels are among them; llama.cpp returns them, others at most 20."""
CONTINUE: Mapping[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
"""Goes on with the last message, a begun answer; vLLM needs these fields, llama.cpp does it without them."""


@dataclass(frozen=True)
class CheckResult:
    """Outcome of a capability check."""

    # ``supported``; ``ignored`` (status 200, but without effect); ``rejected`` (the request fails); ``unknown``.
    outcome: Outcome
    note: str = ""  # details for the user
    amount: int = 0  # number of top tokens for ``logprobs``


class CheckError(Exception):
    """The request of a check failed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class CheckUnreached(CheckError):
    """The endpoint does not answer now, or refuses the model or the key: nothing is known about the capability."""


class CheckRejected(CheckError):
    """The endpoint refuses the request."""


class CapabilityChecker:
    """Checks capabilities of one model."""

    def __init__(self, transport: HTTPTransport, model: str) -> None:
        self.transport, self.model = transport, model
        self._reader = ReplyReader(transport.endpoint, transport.redact)

    def check(self, capability: str) -> CheckResult:
        """Run the check of a capability, a key of ``CHECKS``; CheckUnreached if the endpoint does not answer now."""
        try:
            return CHECKS[capability](self)
        except CheckRejected as error:
            return CheckResult("rejected", str(error))

    def complete(self, messages: Any = _HELLO, max_tokens: int = _MAX_TOKENS, **fields: Any) -> Mapping[str, Any]:
        """The first choice of a chat completion, and its usage, or a CheckError. The fields are sent unchanged."""
        body = {"model": self.model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}
        (reply,) = self.transport.post([body | fields], keep=tuple(fields))
        if isinstance(reply, Problem) and reply.kind != "rejected":
            raise CheckUnreached(reply)
        choice = self._reader.choice(reply)
        if isinstance(choice, Problem):
            raise CheckRejected(choice)
        return {**choice, "usage": reply.get("usage")}

    def post(self, path: str, **fields: Any) -> Mapping[str, Any]:
        """The reply of another path; see ``complete`` for errors."""
        (reply,) = self.transport.post([{"model": self.model, **fields}], path)
        if isinstance(reply, Problem):
            is_open = reply.kind in _TRANSIENT or "(401)" in reply.detail  # a wrong key is no answer to the check
            raise CheckUnreached(reply) if is_open else CheckRejected(reply)
        return reply if isinstance(reply, dict) else {}

    def token_id(self, word: str) -> int | None:
        """The id of a word that is a single token; None if it is not, or if the endpoint has no ``/tokenize``."""
        try:
            reply = self.post(self.transport.server_url("/tokenize"), **tokenize_fields(word))
        except CheckRejected:
            return None
        tokens = list_in(reply, "tokens")
        return tokens[0] if len(tokens) == 1 and isinstance(tokens[0], int) else None


Check = Callable[[CapabilityChecker], CheckResult]


def tokenize_fields(text: str) -> Mapping[str, Any]:
    """Fields of a request for the tokens of a text: vLLM reads ``prompt``, llama.cpp ``content``."""
    return {"prompt": text, "content": text, "add_special_tokens": False}


def _result(is_supported: bool, note: str = "", amount: int = 0) -> CheckResult:
    return CheckResult("supported" if is_supported else "ignored", note, amount)


def _constrained(pattern: str, **fields: Any) -> Check:
    """Whether a constraint makes the whole text match a pattern."""

    def check(checker: CapabilityChecker) -> CheckResult:
        text = content_of(checker.complete(**fields)) or ""
        return _result(bool(re.fullmatch(pattern, text.strip())))

    return check


def _schema(schema: Mapping[str, Any], only: Any) -> Check:
    """Whether a JSON schema that permits one value forces the model to it."""
    return lambda checker: _matches(checker.complete(**_schema_field(schema)), only)


def _schema_field(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    described = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _matches(choice: Mapping[str, Any], only: Any) -> CheckResult:
    """Whether the only permitted value was written. A truncated beginning of it counts: grammars permit many blanks."""
    text = content_of(choice) or ""
    try:
        return _result(bool(json.loads(text) == only))
    except (ValueError, RecursionError):
        written = re.sub(r"\s", "", text)
        begun = bool(written) and json.dumps(only, separators=(",", ":")).startswith(written)
        return CheckResult("supported", "cut off") if begun and finish_reason(choice) == "length" else _result(False)


def _json_object(checker: CapabilityChecker) -> CheckResult:
    """Whether JSON can be requested without a schema."""
    choice = checker.complete(_JSON_HELLO, response_format={"type": "json_object"})
    return _result((content_of(choice) or "").strip().startswith("{"))


def _logit_bias(checker: CapabilityChecker) -> CheckResult:
    token = checker.token_id("Q")
    if token is None:
        return CheckResult("unknown", "needs token ids")
    return _constrained("Q", max_tokens=1, logit_bias={str(token): 100})(checker)


def _logprobs(checker: CapabilityChecker) -> CheckResult:
    try:
        choice = checker.complete(max_tokens=1, logprobs=True, top_logprobs=20)
    except CheckRejected:
        choice = checker.complete(max_tokens=1, logprobs=True, top_logprobs=5)
    count = len(top_tokens(choice))
    return _result(True, f"{count} most probable tokens", count) if count > 1 else _result(False)


def _known_answer(checker: CapabilityChecker) -> CheckResult:
    """Whether the first token is the answer; a reasoning model begins with something else."""
    question = [{"role": "user", "content": _QUESTION}]
    tokens = top_tokens(checker.complete(question, max_tokens=1, logprobs=True, top_logprobs=5))
    if not tokens:
        return CheckResult("unknown", "needs logprobs")
    problem = unreadable(from_top_tokens(tokens, _LETTERS))
    return _result(problem is None, problem.detail if problem else "")


def _token_ids(checker: CapabilityChecker) -> CheckResult:
    ids = []
    for word in ("A", "B", "C"):
        if (token := checker.token_id(word)) is None:
            return CheckResult("unknown", "needs token ids")
        ids.append(token)
    fields = {"logprobs": True, "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    returned = {token for token, _ in top_tokens(checker.complete(max_tokens=1, **fields))}
    return _result({f"token_id:{token}" for token in ids} <= returned)


def _tokenize(checker: CapabilityChecker) -> CheckResult:
    return CheckResult("rejected" if checker.token_id("A") is None else "supported")


def _many_logprobs(checker: CapabilityChecker) -> CheckResult:
    choice = checker.complete(max_tokens=1, logprobs=True, **MANY_TOKENS)
    count = len(token_ids(choice))
    return _result(count > _USUAL_TOP_TOKENS, f"{count} most probable tokens with their ids")


def _continuation(checker: CapabilityChecker) -> CheckResult:
    """Whether a begun answer is continued: its prompt then has the tokens of the begun answer more, no new turn."""
    if checker.token_id("A") is None:
        return CheckResult("unknown", "needs token ids")
    begun = [*_HELLO, {"role": "assistant", "content": "A"}]
    counts = [
        object_in(checker.complete(messages, max_tokens=1, **fields), "usage").get("prompt_tokens")
        for messages, fields in ((_HELLO, {}), (begun, CONTINUE))
    ]
    if None in counts:
        return CheckResult("unknown", "the endpoint does not report prompt tokens")
    return _result(counts[1] == (counts[0] or 0) + 1)


def _prefix_caching(checker: CapabilityChecker) -> CheckResult:
    usage = [checker.complete(_LONG, max_tokens=1)["usage"] for _ in range(2)][-1]
    cached = object_in(usage, "prompt_tokens_details").get("cached_tokens")
    if cached is None:
        return CheckResult("unknown", "the endpoint does not report cached tokens")
    return _result(bool(cached), f"{cached} tokens")


def _batch(checker: CapabilityChecker) -> CheckResult:
    messages, schema = [_HELLO, _HELLO], _schema_field(_OBJECT)
    reply = checker.post(BATCH, messages=messages, max_tokens=_MAX_TOKENS, temperature=0, **schema)
    choices = [choice for choice in list_in(reply, "choices") if isinstance(choice, dict)]
    return _result([_matches(choice, {"labels": [_WORD]}).outcome for choice in choices] == ["supported"] * 2)


def _decisions(checker: CapabilityChecker) -> CheckResult:
    question = {"type": "predicate", "name": "q", "instructions": "This is a greeting."}
    first = next(iter(list_in(checker.post("/decisions", input="Hello!", questions=[question]), "answers")), None)
    return _result(isinstance(first, dict) and "probability" in first)


def _systemone(checker: CapabilityChecker) -> CheckResult:
    question = {"type": "noul", "instructions": "This is a greeting."}
    answers = object_in(checker.post("/systemone", state="Hello!", questions={"q": question}), "answers")
    return _result("noul" in object_in(answers, "q"))


CHECKS: Mapping[str, Check] = {
    "json_schema": _schema(_OBJECT, {"labels": [_WORD]}),
    "json_array": _schema(_ARRAY, [_WORD]),
    "json_object": _json_object,
    "choice": _constrained(_WORD, structured_outputs={"choice": [_WORD]}),
    "regex": _constrained("zq[0-9]{3}", structured_outputs={"regex": "zq[0-9]{3}"}),
    "grammar": _constrained(_WORD, structured_outputs={"grammar": f'root ::= "{_WORD}"'}),
    "gbnf": _constrained(_WORD, grammar=f'root ::= "{_WORD}"'),
    "logit_bias": _logit_bias,
    "logprobs": _logprobs,
    "known_answer": _known_answer,
    "token_ids": _token_ids,
    "many_logprobs": _many_logprobs,
    "tokenize": _tokenize,
    "continuation": _continuation,
    "prefix_caching": _prefix_caching,
    "batch": _batch,
    "decisions": _decisions,
    "systemone": _systemone,
}
"""Checks by capability. Classification runs a check at its first use; ``main.py probe`` runs all."""
