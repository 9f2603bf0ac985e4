"""Bodies of status 200 from chat completions endpoints: read into completions, token log-probabilities or decisions.

Every body becomes a result or that text's ``Problem``; none raises. Endpoints reply in many shapes beside OpenAI's:
content in chunks (Mistral), ``choices: null``, an error under status 200, counts as strings, missing log-probabilities.
Text of the model becomes valid Unicode here, so that caches and files can store it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm.backends.backend import Completion, DecisionReply, Token
from llm.backends.reasoning import without_reasoning
from llm.backends.refusals import excerpt, problem_of, read_refusal
from llm.classifier import Problem, Usage
from prompts.text import without_lone_surrogates

Choice = Mapping[str, Any]

_FLOOR = -9999.0  # vLLM's value for a probability too small to represent
_BY_ID = "token_id:"  # how vLLM writes a token that was requested by its id
_CONTENT_CHARS = 200_000  # no list of labels is longer; a parser should not read megabytes
# Finish reasons of all providers: of complete answers, and families of the others. After an unknown reason it is open
# whether the model had finished.
_COMPLETE = frozenset(
    "stop stop_sequence stop_token end_turn end eos eos_token complete completed done finished success normal "
    "tool_calls tool_use function_call".split()
) | {""}
_TOKEN_LIMIT = re.compile(r"length|max_\w*tokens|token_limit|context")
_FILTERED = re.compile(r"filter|safety|sensitive|guardrail|prohibited|blocklist|recitation|spii|refus|moderat|policy")
_NO_REASONING = (
    'turn reasoning off (MARQUEE_EXTRA_BODY, such as {"chat_template_kwargs": {"enable_thinking": false}} or '
    '{"reasoning_effort": "low"}), or raise MARQUEE_REASONING_TOKENS'
)


@dataclass(frozen=True)
class ReplyReader:
    """Reads replies of one endpoint (host and port); ``redact`` removes secrets from its messages."""

    endpoint: str
    redact: Callable[[str], str]

    def choice(self, reply: Any) -> Choice | Problem:
        """The first choice of a chat completion, or why there is none."""
        if isinstance(reply, Problem):
            return reply
        choices = list_in(reply, "choices")
        first = choices[0] if choices else None
        if isinstance(first, Mapping) and not first.get("error"):
            return first
        return self._error(first if isinstance(first, Mapping) else reply)

    def completion(self, reply: Any) -> Completion:
        choice = self.choice(reply)
        if isinstance(choice, Problem):
            return Completion(problem=choice, usage=usage_of(reply))
        content = content_of(choice)
        if problem := self._no_answer(choice, content):
            return Completion(problem=problem, usage=usage_of(reply))
        truncated = finish_reason(choice) not in _COMPLETE
        return Completion(content, usage_of(reply), tokens=tokens_of(choice), truncated=truncated)

    def decisions(self, reply: Any) -> DecisionReply:
        """The answers of ``/v1/decisions``."""
        if isinstance(reply, Problem):
            return DecisionReply(problem=reply)
        answers = reply.get("answers") if isinstance(reply, Mapping) else None
        if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
            return DecisionReply(problem=self._error(reply, "with decisions"))
        return DecisionReply(tuple(answers), usage_of(reply))

    def _no_answer(self, choice: Choice, content: str | None) -> Problem | None:
        """Why a choice has no answer, with its finish reason and a remedy; None if it has one."""
        message, finish, is_blank = _message(choice), finish_reason(choice), not (content or "").strip()
        reason = f" (finish_reason {finish})" if finish else ""
        refusals = [one.get("refusal") for one in (message, *_chunks(message))]
        if is_blank and (refusal := next(filter(None, refusals), None)):
            detail = f"the model refused: {excerpt(self.redact(str(refusal)))}"
        elif _FILTERED.search(finish):
            detail = f"the endpoint's content filter stopped the answer{reason}"
        elif _truncated_reasoning(choice):
            detail = f"the model was still reasoning when its tokens ran out; {_NO_REASONING}"
        elif not is_blank:
            return None
        elif message.get("tool_calls") or message.get("function_call"):
            detail = "the model called a tool instead of answering; serve it without tools"
        elif _TOKEN_LIMIT.search(finish):
            detail = f"the model wrote blanks until its tokens ran out{reason}"
        elif _has_reasoning(message):
            detail = f"the model wrote only reasoning and no answer{reason}; {_NO_REASONING}"
        else:
            detail = f"the model wrote nothing{reason}"
        return Problem("unreadable", detail)

    def _error(self, reply: Any, expected: str = "a chat completion") -> Problem:
        """The problem of a body of status 200 without an answer: often an error, with a status of its own."""
        refusal = read_refusal(status_in(reply), reply)
        refusal = replace(refusal, message=self.redact(refusal.message))
        if isinstance(reply, Mapping) and (refusal.status != 200 or (reply.get("error") and refusal.too_long)):
            return problem_of(self.endpoint, refusal)
        quoted = f": {excerpt(refusal.message)}" if refusal.message else ""
        hint = "; is OPENAI_BASE_URL right? It sent no JSON" if isinstance(reply, str) else ""
        return Problem("unreadable", f"{self.endpoint} answered 200, but not {expected}{quoted}{hint}")


def decoded(raw: bytes) -> Any:
    """A body's JSON value, or its text if it is no JSON; invalid UTF-8 becomes U+FFFD.

    >>> decoded(b'{"a": NaN}'), decoded(b"<html>")
    ({'a': nan}, '<html>')
    """
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def content_of(choice: Choice) -> str | None:
    """The text of a choice: a string, chunks of text, or an object that the endpoint has parsed already."""
    text = _text(_message(choice).get("content"))
    return None if text is None else without_lone_surrogates(text[:_CONTENT_CHARS])


def finish_reason(choice: Choice) -> str:
    """The finish reason in lower case; empty without one."""
    finish = choice.get("finish_reason")
    return without_lone_surrogates(finish[:40]).lower() if isinstance(finish, str) else ""


def only_reasoned(reply: Any) -> bool:
    """Whether the tokens of all choices ran out before an answer began."""
    choices = [choice for choice in list_in(reply, "choices") if isinstance(choice, Mapping)]
    return bool(choices) and all(map(_truncated_reasoning, choices))


def tokens_of(choice: Choice) -> tuple[Token, ...]:
    """The tokens of a choice's text; none unless every token has a log-probability."""
    tokens = [_token(entry) for entry in list_in(object_in(choice, "logprobs"), "content")]
    return tuple(token for token in tokens if token) if all(tokens) else ()


def top_tokens(choice: Choice) -> list[tuple[str, float]]:
    """The first token's most probable alternatives with their log-probabilities, in the endpoint's order."""
    first = next(iter(list_in(object_in(choice, "logprobs"), "content")), None)
    tokens = map(_token, list_in(first, "top_logprobs"))
    return [(token.text, token.logprob) for token in tokens if token]


def token_ids(choice: Choice) -> dict[int, float]:
    """Log-probabilities of the first token's alternatives by token id; vLLM writes ``token_id:7``, llama.cpp ``id``."""
    first = next(iter(list_in(object_in(choice, "logprobs"), "content")), None)
    found = {}
    for entry in list_in(first, "top_logprobs"):
        if token := _token(entry):
            number = token.text.removeprefix(_BY_ID) if token.text.startswith(_BY_ID) else str(entry.get("id"))
            if number.isdecimal():
                found[int(number)] = token.logprob
    return found


def usage_of(reply: Any) -> Usage:
    """Tokens as the reply counts them, under any provider's names; 0 for missing counts."""
    usage = object_in(reply, "usage")
    details = object_in(usage, "prompt_tokens_details") or object_in(usage, "input_tokens_details")
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")) or _count(usage.get("input_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) or _count(usage.get("cached_input_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")) or _count(usage.get("output_tokens")),
    )


def model_in(reply: Any) -> str:
    """The model that a reply names; empty if it names none."""
    name = reply.get("model") if isinstance(reply, Mapping) else None
    return without_lone_surrogates(name.strip()[:200]) if isinstance(name, str) and name.isprintable() else ""


def status_in(reply: Any) -> int:
    """The status that an error under status 200 gives itself; 200 if it gives none."""
    objects = [object_in(reply, "error"), reply] if isinstance(reply, Mapping) else []
    statuses = (_count(entry.get(key)) for entry in objects for key in ("code", "status", "status_code"))
    return next((status for status in statuses if 400 <= status < 600), 200)


def object_in(value: Any, key: str) -> Mapping[str, Any]:
    """A member of a decoded value that is an object; empty for anything else."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def list_in(value: Any, key: str) -> list[Any]:
    """A member of a decoded value that is a list; empty for anything else."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else []


def _message(choice: Choice) -> Mapping[str, Any]:
    """The message of a choice, else a stream's ``delta``, else a plain completion's ``text``."""
    for key in ("message", "delta"):
        if isinstance(found := choice.get(key), Mapping):
            return found
    return {"content": choice.get("text")} if isinstance(choice.get("text"), str) else {}


def _truncated_reasoning(choice: Choice) -> bool:
    """Whether the tokens ran out while the model was reasoning, before an answer."""
    if not _TOKEN_LIMIT.search(finish_reason(choice)):
        return False
    content = content_of(choice)
    return not content or without_reasoning(content) is None


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part for part in map(_chunk_text, content) if part is not None]
        return "".join(parts) if parts else None
    if isinstance(content, Mapping):
        return _chunk_text(content) if "type" in content or "text" in content else json.dumps(content)
    return None


def _chunk_text(chunk: Any) -> str | None:
    """The text of one chunk; None for reasoning, images and references."""
    if isinstance(chunk, str):
        return chunk
    if not isinstance(chunk, Mapping) or chunk.get("type", "text") not in ("text", "output_text"):
        return None
    text = chunk.get("text")
    text = text.get("value") if isinstance(text, Mapping) else text
    return text if isinstance(text, str) else None


def _has_reasoning(message: Mapping[str, Any]) -> bool:
    in_chunk = any(chunk.get("type") in ("thinking", "reasoning") for chunk in _chunks(message))
    return in_chunk or any(message.get(key) for key in ("reasoning_content", "reasoning", "reasoning_details"))


def _chunks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [chunk for chunk in list_in(message, "content") if isinstance(chunk, Mapping)]


def _token(entry: Any) -> Token | None:
    """A token with its log-probability, a number or a numeral; None without one."""
    text, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float | str):
        return None
    try:
        value = float(logprob)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(value) else Token(without_lone_surrogates(text), min(0.0, max(_FLOOR, value)))


def _count(value: Any) -> int:
    """A count of tokens, a number or a numeral; 0 for anything else and for negative ones."""
    try:
        return max(0, int(float(value))) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
