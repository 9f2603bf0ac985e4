"""What every language model looks like from above: constrained text in, text and token counts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llm.classifier import Problem, Usage
from prompts.template import Message


@dataclass(frozen=True)
class Constraint:
    """What the model may write.

    Attributes:
        schema: a JSON schema; every field required and no other allowed, as OpenAI's strict mode asks.
        max_tokens: an upper bound that no well-formed answer reaches.
    """

    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """What the model wrote; ``text`` is None where the endpoint sent no content."""

    text: str | None
    usage: Usage = Usage()


class EngineFailure(Exception):
    """A request came to nothing; carries the problem that the text's prediction will show."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class Engine(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """The model's name, as answers show it."""

    @property
    def decoding(self) -> Mapping[str, Any]:
        """The settings of decoding that an answer depends on."""

    def write(self, messages: Sequence[Message], constraint: Constraint) -> Completion:
        """Let the model write under a constraint.

        Raises:
            EngineFailure: no answer; says why.
        """

    def check(self) -> Problem | None:
        """Ask whether the model can be reached now, without letting it write; None where all is well."""
