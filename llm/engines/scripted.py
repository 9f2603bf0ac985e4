"""An engine that says what it is told to: for tests, and for trying a prompt or a reading without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm.classifier import Problem
from llm.engines.engine import Completion, Constraint
from prompts.template import Message


class Scripted:
    """Answers by a function of the messages; what it returns need not keep to the constraint.

    Args:
        reply: from the messages to the words of the answer; may raise ``EngineFailure``.
        name: how the model calls itself.
    """

    decoding: Mapping[str, Any] = {}

    def __init__(self, reply: Callable[[Sequence[Message]], str | None], name: str = "scripted") -> None:
        self.name = name
        self._reply = reply

    def write(self, messages: Sequence[Message], constraint: Constraint) -> Completion:
        """See ``Engine.write``."""
        return Completion(self._reply(messages))

    def check(self) -> Problem | None:
        """Always there."""
        return None
