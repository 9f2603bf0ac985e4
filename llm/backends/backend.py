"""What every language model looks like from above: constrained text, or the probabilities of the next token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from llm.classifier import Problem, Usage
from prompts.template import Message

Conversation = Sequence[Message]


@dataclass(frozen=True)
class Constraint:
    """What the model may write.

    Attributes:
        schema: a JSON schema of a list of labels.
        max_tokens: an upper bound that no well-formed answer reaches.
    """

    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True)
class Token:
    """A written token and the natural logarithm of its probability when it was written."""

    text: str
    logprob: float


@dataclass(frozen=True)
class Completion:
    """What the model wrote.

    Attributes:
        text: None where the model gave no content.
        usage: tokens taken.
        problem: why there is no answer; ``text`` is then None.
        tokens: the tokens of the text, where the backend tells their probabilities.
        cut: whether the token limit ended the text.
    """

    text: str | None = None
    usage: Usage = Usage()
    problem: Problem | None = None
    tokens: tuple[Token, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class TokenLogprobs:
    """How likely each code is as the very next token.

    Attributes:
        logprobs: natural logarithm of each code's probability over the whole token vocabulary, so that the codes'
            probabilities sum to at most 1.
        bounds: codes for which the backend told only that they are no likelier than the figure given.
        said: text of the most probable token, where the backend gives it.
        usage: tokens taken.
        problem: why there are no figures; ``logprobs`` is then empty.
    """

    logprobs: Mapping[str, float] = field(default_factory=dict)
    bounds: frozenset[str] = frozenset()
    said: str = ""
    usage: Usage = Usage()
    problem: Problem | None = None


@dataclass(frozen=True)
class DecisionReply:
    """Answers to typed questions about one text, in their order, as OpenAI's Decisions API shapes them."""

    answers: tuple[Mapping[str, Any], ...] = ()
    usage: Usage = Usage()
    problem: Problem | None = None


@runtime_checkable
class CountingBackend(Protocol):
    """A backend that can tell how many tokens a conversation takes, without letting the model read it."""

    def count(self, conversations: Sequence[Conversation]) -> list[int] | None:
        """Tokens of each conversation as the model would be given it; None where that cannot be found out."""


class Backend(Protocol):
    """A language model. A conversation may fail, a batch may not: failures come back as problems."""

    @property
    def name(self) -> str:
        """The model's name, as answers show it."""

    @property
    def decoding(self) -> Mapping[str, Any]:
        """The settings of decoding that an answer depends on."""

    @property
    def code_limit(self) -> int:
        """How many codes one ``next_token_logprobs`` can take; 0 where the backend tells no probabilities."""

    @property
    def holds_schema(self) -> bool:
        """Whether what it writes is held to the constraint, so far as is known."""

    @property
    def answers_directly(self) -> bool:
        """Whether its first token can be an answer, so far as is known; a reasoning model's is not."""

    def generate(self, conversations: Sequence[Conversation], constraint: Constraint) -> list[Completion]:
        """Let the model write under a constraint, once per conversation, in their order."""

    def next_token_logprobs(self, conversations: Sequence[Conversation], codes: Sequence[str]) -> list[TokenLogprobs]:
        """Read the probabilities of the codes, each a single token, without writing; in the conversations' order."""

    def check(self) -> Problem | None:
        """Ask whether the model can be reached now, without letting it write; None where all is well."""


@runtime_checkable
class DecidingBackend(Protocol):
    """A backend whose endpoint answers typed questions by itself."""

    def decide(
        self, conversations: Sequence[Conversation], questions: Sequence[Mapping[str, Any]]
    ) -> list[DecisionReply]:
        """Put the questions to every conversation; one result per conversation, in their order."""


@runtime_checkable
class PreparingBackend(Protocol):
    """A backend that has to find out something before its first answer."""

    def prepare(self) -> None:
        """Find it out now, so that the first texts need not wait for it."""
