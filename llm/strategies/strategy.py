"""The ``Strategy`` protocol: how labels are obtained from a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llm.backends.backend import Backend, Conversation
from llm.classifier import Problem, Usage
from llm.request_context import CURRENT_REQUEST
from prompts.taxonomy import Taxonomy
from prompts.template import AnswerFormat

# Renders the messages about one text, for a taxonomy (or a part of it) and an answer format.
PromptBuilder = Callable[[Taxonomy, AnswerFormat], Conversation]


@dataclass(frozen=True)
class StrategyAnswer:
    """Labels or scores of one text."""

    # Names from the taxonomy, each once; best first where they have scores, else in taxonomy order. Empty where a
    # threshold chooses them from the scores.
    labels: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)  # from 0 to 1, of the labels that were scored
    dropped: tuple[str, ...] = ()  # output that is not in the taxonomy, and labels beyond ``max_labels``
    usage: Usage = Usage()  # tokens of the answer
    problem: Problem | None = None  # why nothing could be read; ``labels`` and ``scores`` are then empty


class Strategy(Protocol):
    """Obtains labels from a language model.

    Attributes:
        name: name in settings and requests.
        returns_labels: whether answers have labels; otherwise a threshold chooses them from the scores.
        answer_format: what the prompt requests.
        corrects_bias: whether the model's bias towards labels is estimated and removed (``llm.calibration.bias``).
    """

    name: str
    answer_format: AnswerFormat
    returns_labels: bool = False
    corrects_bias: bool = False

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """Whether the labels' scores are shares of one probability, so that they and "none" sum to 1."""
        return False

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        """The messages about one text, one conversation per request."""
        return [prompt(taxonomy, self.answer_format)]

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """Send the requests about each text; one answer per text, in their order."""

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """What an answer depends on besides the messages; must be JSON-serializable."""

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """Estimated number of tokens that the model writes about one text."""


def no_codes(backend: Backend) -> Problem:
    """Why a backend returns no probabilities of codes: expired request, no connection, or no support."""
    unsupported = Problem("misconfigured", f"{backend.name} tells no probabilities; choose the strategy json_list")
    return CURRENT_REQUEST.get().stop_reason or backend.check() or unsupported
