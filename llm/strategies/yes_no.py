"""The ``yes_no`` strategy: one Yes or No per label, from the next token's probabilities.

A label's score is P(Yes) / (P(Yes) + P(No)). The text comes before the question, so that all questions about one text
share its part of the server's prefix cache. A text with one unreadable question (``codes.unreadable``) is unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.backends.backend import Backend, Conversation, TokenLogprobs
from llm.backends.codes import unreadable
from llm.classifier import total_usage
from llm.strategies.label_tokens import normalized
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer, no_codes
from prompts.taxonomy import Taxonomy
from prompts.template import AnswerFormat

CODES = ("Yes", "No")
_TEXTS_AT_ONCE = 32  # few enough for a server to keep them all in its prefix cache


class YesNo(Strategy):
    """One request of one output token per text and label."""

    name = "yes_no"
    answer_format = AnswerFormat("yes_no")

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        """See ``Strategy.conversations``."""
        return [prompt(taxonomy, AnswerFormat("yes_no", label)) for label in taxonomy.predictable]

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return CODES

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """See ``Strategy.output_tokens``."""
        return len(taxonomy.names)

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        if backend.code_limit < len(CODES):
            return [StrategyAnswer(problem=no_codes(backend))] * len(prompts)
        return [
            answer
            for start in range(0, len(prompts), _TEXTS_AT_ONCE)
            for answer in self._batch(backend, prompts[start : start + _TEXTS_AT_ONCE], taxonomy)
        ]

    def _batch(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """One question per text goes first and fills the prefix cache; otherwise every question computes its text."""
        questions = [self.conversations(backend, prompt, taxonomy) for prompt in prompts]
        first = backend.next_token_logprobs([conversations[0] for conversations in questions], CODES)
        rest = iter(
            backend.next_token_logprobs(
                [conversation for conversations in questions for conversation in conversations[1:]], CODES
            )
        )
        return [
            _answer([one, *(next(rest) for _ in conversations[1:])], taxonomy)
            for one, conversations in zip(first, questions, strict=True)
        ]


def _answer(logprobs: Sequence[TokenLogprobs], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = total_usage([label.usage for label in logprobs])
    problem = next((label.problem for label in logprobs if label.problem), None)
    if problem := problem or next(filter(None, map(unreadable, logprobs)), None):
        return StrategyAnswer(problem=problem, usage=usage)
    scores = {name: normalized(label.logprobs)["Yes"] for name, label in zip(taxonomy.names, logprobs, strict=True)}
    return StrategyAnswer(scores=scores, usage=usage)
