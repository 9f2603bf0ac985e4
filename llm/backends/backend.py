"""Interface of every language model: constrained text generation and next-token log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from llm.classifier import Problem, Usage
from prompts.template import Message

Conversation = Sequence[Message]


@dataclass(frozen=True)
class Constraint:
    """Limits of the generated text: a JSON schema, and a number of tokens that no well-formed answer reaches."""

    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True)
class Token:
    """A generated token and the natural logarithm of its probability."""

    text: str
    logprob: float


@dataclass(frozen=True)
class Completion:
    """Generated text, or why there is none."""

    text: str | None = None  # None if the model returned no content, or where there is a problem
    usage: Usage = Usage()
    problem: Problem | None = None
    tokens: tuple[Token, ...] = ()  # tokens of the text, if the backend returns their probabilities
    truncated: bool = False  # whether the text ended before the model had finished


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probability of each code as the next token."""

    # Natural logarithm of each code's probability over all tokens of the model; the probabilities of the codes sum to
    # at most 1.
    logprobs: Mapping[str, float] = field(default_factory=dict)
    # Codes whose value is only an upper bound, since the backend did not return them.
    bounds: frozenset[str] = frozenset()
    top_token: str = ""  # text of the most probable token, if the backend returns it
    usage: Usage = Usage()
    problem: Problem | None = None  # why there are no values; ``logprobs`` is then empty


@dataclass(frozen=True)
class DecisionReply:
    """Answers to typed questions about one text, in the questions' order and in the form of OpenAI's Decisions API."""

    answers: tuple[Mapping[str, Any], ...] = ()
    usage: Usage = Usage()
    problem: Problem | None = None


class Backend(Protocol):
    """A language model. A failure of one conversation is its ``problem``; it does not fail the others."""

    @property
    def name(self) -> str:
        """The model's name, as predictions show it."""

    @property
    def decoding(self) -> Mapping[str, Any]:
        """Everything beside the messages that answers depend on; part of the cache key."""

    @property
    def code_limit(self) -> int:
        """Maximum number of codes for ``next_token_logprobs``; 0 if the backend returns no probabilities."""

    @property
    def enforces_schema(self) -> bool:
        """Whether generated text is constrained to the schema; true until a check shows otherwise."""

    @property
    def answers_directly(self) -> bool:
        """Whether the first token can be an answer (false for reasoning models); true until a check shows otherwise."""

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """Generate text under a constraint: one completion per conversation, in order."""

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """Log-probabilities of single-token codes, without generating text: one result per conversation, in order."""

    def check(self) -> Problem | None:
        """Whether the model can be reached now, without generating; None if it can."""

    def prepare(self) -> None:
        """Do now what would delay the first texts."""


@runtime_checkable
class CountingBackend(Protocol):
    """A backend that can count tokens without running the model."""

    def count(self, conversations: Sequence[Conversation]) -> list[int] | None:
        """Prompt tokens of each conversation; None if the backend cannot find out."""


@runtime_checkable
class LabelScoringBackend(Protocol):
    """A backend that can tell the probability of every label as the model's answer."""

    @property
    def scores_labels(self) -> bool:
        """Whether it can; an endpoint's capabilities decide."""

    def label_logprobs(self, conversations: Sequence[Conversation], names: Sequence[str]) -> list[TokenLogprobs]:
        """Log-probability of each label as the answer: one result per conversation, in order, keys are the names.

        See ``llm.backends.label_trie.LabelTrie.logprobs`` for the values.
        """


@runtime_checkable
class PrefixSharingBackend(Protocol):
    """A backend that computes what conversations of one call share once, without a cache that must be filled first."""

    @property
    def shares_prefixes(self) -> bool:
        """Whether it does."""


@runtime_checkable
class DecidingBackend(Protocol):
    """A backend whose endpoint answers typed questions."""

    def decide(
        self, conversations: Sequence[Conversation], questions: Sequence[Mapping[str, Any]]
    ) -> list[DecisionReply]:
        """Answer the questions about every conversation: one result per conversation, in order."""


class FakeBackend:
    """Scripted backend for tests, and for trying a prompt or a strategy without a model.

    Args:
        reply: returns the generated text or a problem; the text need not satisfy the constraint.
        name: name of the model.
        weights: returns the probability of codes as the next token; other codes get one in a million.
        code_limit: see ``Backend.code_limit``; 0 without ``weights``.
    """

    decoding: Mapping[str, Any] = {}
    enforces_schema = True
    answers_directly = True

    def __init__(
        self,
        reply: Callable[[Conversation], str | Problem | None] = lambda conversation: None,
        name: str = "scripted",
        weights: Callable[[Conversation], Mapping[str, float]] | None = None,
        code_limit: int = 128,
    ) -> None:
        self.name = name
        self._reply, self._weights = reply, weights
        self.code_limit = code_limit if weights else 0

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        replies = [self._reply(conversation) for conversation in conversations]
        return [Completion(problem=one) if isinstance(one, Problem) else Completion(one) for one in replies]

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        assert self._weights, "this backend has no weights"
        weights = [self._weights(conversation) for conversation in conversations]
        return [TokenLogprobs({code: math.log(row.get(code, 1e-6)) for code in codes}) for row in weights]

    def check(self) -> Problem | None:
        return None

    def prepare(self) -> None:
        """Nothing delays the first texts."""
