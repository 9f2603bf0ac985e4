"""Bodies of status 200 from chat completions endpoints: read into completions, token log-probabilities or decisions.

Every body becomes a result or that text's ``Problem``; none raises. Endpoints answer in many shapes beside OpenAI's:
content in chunks (Mistral), ``choices: null``, an error under status 200, counts as strings, missing log-probabilities.
Words of the model leave this file as valid Unicode, so that caches and files can hold them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm.backends.backend import Completion, DecisionReply, Token
from llm.backends.refusals import excerpt, problem_of, refused
from llm.classifier import Problem, Usage
from llm.reasoning import without_reasoning
from prompts.text import without_lone_surrogates

_FLOOR = -9999.0  # vLLM's figure for "less than can be said"
_CONTENT_CHARS = 200_000  # no list of labels is longer; a parser should not read megabytes
# Finish reasons of all providers: those of an answer that is complete, and families of the others. A reason that is not
# known leaves open whether the model had finished.
_COMPLETE = frozenset(
    "stop stop_sequence stop_token end_turn end eos eos_token complete completed done finished success normal "
    "tool_calls tool_use function_call".split()
) | {""}
_RAN_OUT = re.compile(r"length|max_\w*tokens|token_limit|context")
_FILTERED = re.compile(r"filter|safety|sensitive|guardrail|prohibited|blocklist|recitation|spii|refus|moderat|policy")
_NO_REASONING = (
    'turn reasoning off (MARQUEE_EXTRA_BODY, such as {"chat_template_kwargs": {"enable_thinking": false}} or '
    '{"reasoning_effort": "low"}), or raise MARQUEE_REASONING_TOKENS'
)


@dataclass(frozen=True)
class ReplyReader:
    """Reads replies of one endpoint.

    Attributes:
        place: host and port, for messages.
        redacted: removes secrets from what the endpoint said.
    """

    place: str
    redacted: Callable[[str], str]

    def choice(self, reply: Any) -> Mapping[str, Any] | Problem:
        """The first choice of a chat completion, or why there is none."""
        if isinstance(reply, Problem):
            return reply
        choices = reply.get("choices") if isinstance(reply, Mapping) else None
        first = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(first, Mapping) and not first.get("error"):
            return first
        return self._without_choice(first if isinstance(first, Mapping) else reply)

    def completion(self, reply: Any) -> Completion:
        """What the model wrote, or why it wrote nothing."""
        choice = self.choice(reply)
        if isinstance(choice, Problem):
            return Completion(problem=choice, usage=usage_of(reply))
        content = content_of(choice)
        if problem := self._withheld(choice, content):
            return Completion(problem=problem, usage=usage_of(reply))
        return Completion(content, usage_of(reply), tokens=tokens_of(choice), cut=finish_of(choice) not in _COMPLETE)

    def top_tokens(self, choice: Mapping[str, Any]) -> list[tuple[str, float]]:
        """The first token's most probable alternatives with their log-probabilities, in the endpoint's order."""
        first = next(iter(_entries(choice)), {})
        alternatives = first.get("top_logprobs")
        found = [_token(entry) for entry in (alternatives if isinstance(alternatives, list) else [])]
        return [(token.text, token.logprob) for token in found if token]

    def decided(self, reply: Any) -> DecisionReply:
        """The answers of ``/v1/decisions``."""
        if isinstance(reply, Problem):
            return DecisionReply(problem=reply)
        answers = reply.get("answers") if isinstance(reply, Mapping) else None
        if not isinstance(answers, list) or not all(isinstance(one, Mapping) for one in answers):
            return DecisionReply(problem=self._without_choice(reply, "with decisions"))
        return DecisionReply(tuple(answers), usage_of(reply))

    def _withheld(self, choice: Mapping[str, Any], content: str | None) -> Problem | None:
        """Why there is no answer in a choice; names the finish reason and the remedy."""
        message, finish = message_of(choice), finish_of(choice)
        if (words := _refusal(message)) and not (content or "").strip():
            return Problem("unreadable", f"the model refused: {excerpt(self.redacted(str(words)))}")
        if _FILTERED.search(finish):
            return Problem("unreadable", f"the endpoint's content filter stopped the answer (finish_reason {finish})")
        if spent_on_reasoning(choice):
            return Problem("unreadable", f"the model was still reasoning when its tokens ran out; {_NO_REASONING}")
        if (content or "").strip():
            return None
        if message.get("tool_calls") or message.get("function_call"):
            return Problem("unreadable", "the model called a tool instead of answering; serve it without tools")
        reason = f" (finish_reason {finish})" if finish else ""
        if _RAN_OUT.search(finish):
            return Problem("unreadable", f"the model wrote blanks until its tokens ran out{reason}")
        if _reasoning(message):
            return Problem("unreadable", f"the model wrote only reasoning and no answer{reason}; {_NO_REASONING}")
        return Problem("unreadable", f"the model wrote nothing{reason}")

    def _without_choice(self, reply: Any, wanted: str = "a chat completion") -> Problem:
        """What a body of status 200 means that holds no answer: often an error, with a status of its own."""
        said = refused(status_in(reply), reply)
        said = replace(said, words=self.redacted(said.words))
        if isinstance(reply, Mapping) and (said.status != 200 or (reply.get("error") and said.too_long)):
            return problem_of(self.place, said)
        words = f": {excerpt(said.words)}" if said.words else ""
        hint = "; is OPENAI_BASE_URL right? It sent no JSON" if isinstance(reply, str) else ""
        return Problem("unreadable", f"{self.place} answered 200, but not {wanted}{words}{hint}")


def decoded(raw: bytes) -> Any:
    """A body's JSON value, or its text where it is no JSON; invalid UTF-8 becomes U+FFFD.

    >>> decoded(b'{"a": NaN}'), decoded(b"<html>")
    ({'a': nan}, '<html>')
    """
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def message_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a choice; a stream's ``delta``, or a plain completion's ``text``, where there is none."""
    for key in ("message", "delta"):
        if isinstance(found := choice.get(key), Mapping):
            return found
    return {"content": choice.get("text")} if isinstance(choice.get("text"), str) else {}


def content_of(choice: Mapping[str, Any]) -> str | None:
    """The text of a choice, from a string, chunks of text, or an object that the endpoint has parsed already."""
    text = _text_of(message_of(choice).get("content"))
    return None if text is None else without_lone_surrogates(text[:_CONTENT_CHARS])


def finish_of(choice: Mapping[str, Any]) -> str:
    """The finish reason in lower case; empty where there is none."""
    finish = choice.get("finish_reason")
    return without_lone_surrogates(finish[:40]).lower() if isinstance(finish, str) else ""


def spent_on_reasoning(choice: Mapping[str, Any]) -> bool:
    """Whether the tokens ran out while the model was reasoning, before an answer."""
    if not _RAN_OUT.search(finish_of(choice)):
        return False
    content = content_of(choice)
    return not content or without_reasoning(content) is None


def only_reasoned(reply: Any) -> bool:
    """Whether the tokens of a whole reply ran out before its answer began."""
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    choices = [one for one in choices if isinstance(one, Mapping)] if isinstance(choices, list) else []
    return bool(choices) and all(map(spent_on_reasoning, choices))


def tokens_of(choice: Mapping[str, Any]) -> tuple[Token, ...]:
    """The tokens of a choice's text; none unless every one has a log-probability."""
    found = [_token(entry) for entry in _entries(choice)]
    return tuple(token for token in found if token) if all(found) else ()


def usage_of(reply: Any) -> Usage:
    """Tokens as the reply counts them, whatever the names; 0 for what it does not count."""
    counted = _object(reply, "usage")
    details = _object(counted, "prompt_tokens_details") or _object(counted, "input_tokens_details")
    return Usage(
        prompt_tokens=_count(counted.get("prompt_tokens")) or _count(counted.get("input_tokens")),
        cached_tokens=_count(details.get("cached_tokens")),
        completion_tokens=_count(counted.get("completion_tokens")) or _count(counted.get("output_tokens")),
    )


def served_by(reply: Any) -> str:
    """The model that a reply names; empty where it names none."""
    name = reply.get("model") if isinstance(reply, Mapping) else None
    return without_lone_surrogates(name.strip()[:200]) if isinstance(name, str) and name.isprintable() else ""


def status_in(reply: Any) -> int:
    """The status that an error under status 200 gives itself; 200 where it gives none."""
    told = [_object(reply, "error"), reply] if isinstance(reply, Mapping) else []
    statuses = (_count(one.get(key)) for one in told for key in ("code", "status", "status_code"))
    return next((status for status in statuses if 400 <= status < 600), 200)


def _object(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text_of(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part for part in map(_text_of_chunk, content) if part is not None]
        return "".join(parts) if parts else None
    if isinstance(content, Mapping):
        return _text_of_chunk(content) if "type" in content or "text" in content else json.dumps(content)
    return None


def _text_of_chunk(chunk: Any) -> str | None:
    """The text of one chunk; None for reasoning, images and references."""
    if isinstance(chunk, str):
        return chunk
    if not isinstance(chunk, Mapping) or chunk.get("type", "text") not in ("text", "output_text"):
        return None
    text = chunk.get("text")
    text = text.get("value") if isinstance(text, Mapping) else text
    return text if isinstance(text, str) else None


def _refusal(message: Mapping[str, Any]) -> Any:
    """The words of a refusal, beside the content or as a chunk of it."""
    return message.get("refusal") or next((one["refusal"] for one in _chunks(message) if one.get("refusal")), None)


def _reasoning(message: Mapping[str, Any]) -> bool:
    thinks = any(one.get("type") in ("thinking", "reasoning") for one in _chunks(message))
    return thinks or any(message.get(key) for key in ("reasoning_content", "reasoning", "reasoning_details"))


def _chunks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    chunks = message.get("content")
    return [one for one in chunks if isinstance(one, Mapping)] if isinstance(chunks, list) else []


def _entries(choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entry of each written token; none where the reply has another shape."""
    content = _object(choice, "logprobs").get("content")
    return [one if isinstance(one, Mapping) else {} for one in content] if isinstance(content, list) else []


def _token(entry: Any) -> Token | None:
    """A token with its log-probability, as a number or a numeral; None without one."""
    text, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float | str):
        return None
    try:
        figure = float(logprob)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(figure) else Token(without_lone_surrogates(text), min(0.0, max(_FLOOR, figure)))


def _count(value: Any) -> int:
    """A count of tokens as a number or numeral; 0 for anything else and for negative ones."""
    try:
        return max(0, int(float(value))) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0
