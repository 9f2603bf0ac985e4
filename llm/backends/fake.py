"""A backend that says what it is told to: for tests, and for trying a prompt or a strategy without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm.backends.backend import Completion, Constraint, Conversation, TokenLogprobs
from llm.classifier import Problem

Reply = Callable[[Conversation], str | Problem | None]
Weights = Callable[[Conversation], Mapping[str, float]]


class FakeBackend:
    """Answers by functions of the conversation; what they return need not keep to any constraint.

    Args:
        reply: the words of the answer, or a problem.
        name: how the model calls itself.
        weights: the probability of each code as the next token; codes not named get one in a million.
        code_limit: see ``Backend.code_limit``.
    """

    decoding: Mapping[str, Any] = {}
    holds_schema = True
    answers_directly = True

    def __init__(
        self,
        reply: Reply = lambda conversation: None,
        name: str = "scripted",
        weights: Weights | None = None,
        code_limit: int = 128,
    ) -> None:
        self.name = name
        self._reply, self._weights = reply, weights
        self.code_limit = code_limit if weights else 0

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """See ``Backend.generate``."""
        said = [self._reply(conversation) for conversation in conversations]
        return [Completion(problem=one) if isinstance(one, Problem) else Completion(one) for one in said]

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """See ``Backend.next_token_logprobs``."""
        assert self._weights, "this one has no weights"
        found = [self._weights(conversation) for conversation in conversations]
        return [TokenLogprobs({code: math.log(some.get(code, 1e-6)) for code in codes}) for some in found]

    def check(self) -> Problem | None:
        """Always there."""
        return None
