"""What every strategy looks like: questions to a backend in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llm.backends.backend import Backend, Conversation
from llm.classifier import Problem, Usage
from llm.request_context import CURRENT_REQUEST
from prompts.answer_format import AnswerFormat
from prompts.taxonomy import Taxonomy

# One text's conversation under a taxonomy and in the form that a question asks for; strategies that narrow or divide
# the taxonomy render it for the part that they ask about.
Render = Callable[[Taxonomy, AnswerFormat], Conversation]


@dataclass(frozen=True)
class StrategyAnswer:
    """What could be read about one text.

    Attributes:
        labels: names from the taxonomy, each once; best first where they have scores, else in taxonomy order;
            empty where scores have yet to decide.
        scores: figures from 0 to 1 of the labels that were scored.
        dropped: words given as labels that are none, and labels beyond ``max_labels``.
        usage: tokens taken.
        problem: set where nothing readable was said; ``labels`` and ``scores`` are then empty.
    """

    labels: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    usage: Usage = Usage()
    problem: Problem | None = None


class Strategy(Protocol):
    """A way to get labels out of a language model.

    Attributes:
        name: how settings and requests call it.
        decides: whether answers carry labels; where not, a threshold makes them from the scores.
    """

    name: str
    returns_labels: bool

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """Whether the labels' scores are shares of one probability, so that they sum to 1 with what "none" has."""

    def ask(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """Ask the backend about each text; one answer per text, in their order."""

    def question(self) -> AnswerFormat:
        """The form of the question, for showing and for fingerprints."""

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """What an answer depends on beside the conversation, as JSON takes it."""


def no_codes(backend: Backend) -> Problem:
    """Why a backend returns no probabilities of codes.

    The request has expired, the backend is unreachable, or it never returns any.
    """
    never = Problem("misconfigured", f"{backend.name} tells no probabilities; choose the strategy json_list")
    return CURRENT_REQUEST.get().stop_reason or backend.check() or never


def add_usage(parts: Sequence[Usage]) -> Usage:
    """Tokens of several requests together."""
    return Usage(
        sum(part.prompt_tokens for part in parts),
        sum(part.cached_tokens for part in parts),
        sum(part.completion_tokens for part in parts),
    )
