"""Any endpoint that speaks OpenAI's chat completions: vLLM, OpenAI, DashScope, Ollama, llama.cpp, SGLang."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import openai

from llm.classifier import Problem, Usage
from llm.engines.engine import Completion, Constraint, EngineFailure
from prompts.template import Message

_CHECK_SECONDS = 3.0
_CONTEXT_WORDS = ("context length", "context_length", "maximum context", "too many tokens", "prompt is too long")


class OpenAICompatible:
    """A model behind an OpenAI-compatible endpoint, asked under a JSON schema at temperature 0.

    Retries are the ``openai`` client's own (408, 409, 429, 5xx and lost connections, obeying ``Retry-After``); nothing
    here retries on top of them.

    Args:
        base_url: the endpoint's root, ending in ``/v1`` for most servers.
        api_key: sent as a Bearer token and shown nowhere.
        model: the name under which the endpoint serves the model.
        timeout: seconds that one attempt may take.
        retries: further attempts after the first.
    """

    decoding: Mapping[str, Any] = {"temperature": 0}

    def __init__(self, base_url: str, api_key: str, model: str, timeout: float = 30.0, retries: int = 2) -> None:
        self.name = model
        self._place = urlsplit(base_url).hostname or "the endpoint"
        self._timeout = timeout
        self._secret = api_key
        # Local servers ask for no key, but the client insists on one.
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=retries)

    def __repr__(self) -> str:
        return f"OpenAICompatible({self.name!r} at {self._place})"

    def write(self, messages: Sequence[Message], constraint: Constraint) -> Completion:
        """See ``Engine.write``."""
        schema = {"name": "answer", "schema": dict(constraint.schema), "strict": True}
        try:
            reply = self._client.chat.completions.create(  # type: ignore[call-overload]  # plain dicts, not TypedDicts
                model=self.name,
                messages=list(messages),
                response_format={"type": "json_schema", "json_schema": schema},
                max_tokens=constraint.max_tokens,
                **self.decoding,
            )
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise EngineFailure(self._problem(error)) from error
        return self._completion(reply)

    def check(self) -> Problem | None:
        """See ``Engine.check``."""
        try:
            self._client.with_options(timeout=_CHECK_SECONDS, max_retries=0).models.list()
        except openai.NotFoundError:
            return None  # it answers; not every server lists its models
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            return self._problem(error)
        return None

    def _completion(self, reply: Any) -> Completion:
        """Unpack a reply of status 200, which need not be what it should: HTML, an error body, no choices."""
        choices = getattr(reply, "choices", None)
        if not choices:
            raise EngineFailure(Problem("unreadable", f"{self._place} answered 200, but not a chat completion"))
        message = getattr(choices[0], "message", None)
        if refusal := getattr(message, "refusal", None):
            raise EngineFailure(Problem("unreadable", f"the model refused: {self._excerpt(refusal)}"))
        content = getattr(message, "content", None)
        return Completion(content if isinstance(content, str) else None, _usage(getattr(reply, "usage", None)))

    def _problem(self, error: Exception) -> Problem:
        if isinstance(error, openai.APITimeoutError):
            return Problem("unreachable", f"{self._place} did not answer within {self._timeout:g} s")
        if isinstance(error, openai.APIStatusError):
            return self._status_problem(error)
        if isinstance(error, openai.APIResponseValidationError | json.JSONDecodeError):
            return Problem("unreadable", f"{self._place} answered, but not in JSON; is the base URL right?")
        return Problem("unreachable", f"no connection to {self._place}; is the model server up?")

    def _status_problem(self, error: openai.APIStatusError) -> Problem:
        status, said = error.status_code, self._excerpt(error.message)
        if status in (401, 403):
            return Problem("misconfigured", f"{self._place} refused the API key ({status}); check OPENAI_API_KEY")
        if status == 404:
            return Problem("misconfigured", f"{self._place} knows no model {self.name!r} at this URL: {said}")
        if status == 413 or (status in (400, 422) and any(words in error.message for words in _CONTEXT_WORDS)):
            return Problem("too_long", "the text is longer than the model's context")
        if status in (408, 429) or status >= 500:
            return Problem("busy", f"{self._place} is overloaded or failing ({status}): {said}", _retry_after(error))
        return Problem("rejected", f"{self._place} refused the request ({status}): {said}")

    def _excerpt(self, words: str) -> str:
        """The first words of what the endpoint said; some echo the key they were given."""
        words = " ".join(words.split())
        words = words.replace(self._secret, "***") if self._secret else words
        return words if len(words) <= 200 else words[:197] + "..."


def _usage(counted: Any) -> Usage:
    details = getattr(counted, "prompt_tokens_details", None)
    return Usage(
        prompt_tokens=getattr(counted, "prompt_tokens", None) or 0,
        cached_tokens=getattr(details, "cached_tokens", None) or 0,
        completion_tokens=getattr(counted, "completion_tokens", None) or 0,
    )


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
