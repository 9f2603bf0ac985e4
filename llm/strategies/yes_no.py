"""The ``yes_no`` strategy: one Yes or No per label, read from the next token's probabilities.

The text stands before the question, so that all questions about one text share everything up to its end in the server's
prefix cache. The scores stand each for itself: P(Yes) / (P(Yes) + P(No)). A text of which one question is unreadable
(``codes.unreadable``) is unreadable as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.backends.backend import Backend, TokenLogprobs
from llm.backends.codes import unreadable
from llm.strategies.label_tokens import shares
from llm.strategies.strategy import Render, StrategyAnswer, add_usage, no_codes
from prompts.answer_format import AnswerFormat
from prompts.taxonomy import Taxonomy

CODES = ("Yes", "No")
_TEXTS_AT_ONCE = 32  # few enough for a server to keep them all in its prefix cache


class YesNo:
    """As many one-token reads per text as the taxonomy has labels."""

    name = "yes_no"
    returns_labels = False

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``."""
        return False

    def question(self) -> AnswerFormat:
        """See ``Strategy.question``."""
        return AnswerFormat("yes_no")

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return CODES

    def ask(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        if backend.code_limit < len(CODES):
            return [StrategyAnswer(problem=no_codes(backend))] * len(texts)
        questions = [AnswerFormat("yes_no", label) for label in taxonomy.predictable]
        return [
            answer
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
            for answer in self._some(backend, texts[start : start + _TEXTS_AT_ONCE], questions, taxonomy)
        ]

    def _some(
        self, backend: Backend, texts: Sequence[Render], questions: Sequence[AnswerFormat], taxonomy: Taxonomy
    ) -> list[StrategyAnswer]:
        """One question about each text goes ahead: asked all at once, every question would compute its text anew."""
        first, rest = questions[:1], questions[1:]
        ahead = backend.next_token_logprobs(
            [render(taxonomy, question) for render in texts for question in first], CODES
        )
        behind = backend.next_token_logprobs(
            [render(taxonomy, question) for render in texts for question in rest], CODES
        )
        parts = [behind[start : start + len(rest)] for start in range(0, len(behind), len(rest))] if rest else []
        weighed = [[one, *parts[place]] if rest else [one] for place, one in enumerate(ahead)]
        return [_answer(some, taxonomy) for some in weighed]


def _answer(weighings: Sequence[TokenLogprobs], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = add_usage([weighing.usage for weighing in weighings])
    if problem := next((weighing.problem for weighing in weighings if weighing.problem), None):
        return StrategyAnswer(problem=problem, usage=usage)
    if problem := next(filter(None, map(unreadable, weighings)), None):
        return StrategyAnswer(problem=problem, usage=usage)
    scores = {name: shares(one.logprobs)["Yes"] for name, one in zip(taxonomy.names, weighings, strict=True)}
    return StrategyAnswer(scores=scores, usage=usage)
