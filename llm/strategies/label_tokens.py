"""The ``label_tokens`` strategy: one decode step, whose probabilities over the labels' codes are the scores.

The codes compete, so the scores of a text sum to 1 over the labels and, where the taxonomy allows it, "none of
these". A code that the backend does not report enters with its upper bound, never as zero; where no code has enough
probability (``codes.LEAST_MASS``), the answer is unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, TokenLogprobs
from llm.backends.codes import unreadable
from llm.strategies.strategy import Render, StrategyAnswer, add_usage, no_codes
from prompts.answer_format import CODES, LETTERS, NONE_CODE, AnswerFormat
from prompts.taxonomy import Taxonomy


class LabelTokens:
    """One token per text. More labels than codes are scored in chunks, and the winners together once more."""

    name = "label_tokens"
    returns_labels = False

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``."""
        return True

    def question(self) -> AnswerFormat:
        """See ``Strategy.question``."""
        return LETTERS

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return [CODES, taxonomy.allow_none]

    def ask(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        limit = most_codes(backend, taxonomy)
        if limit < 2:
            return [StrategyAnswer(problem=no_codes(backend))] * len(texts)
        chunks = chunk_labels(taxonomy, limit)
        rounds = [self._weigh(backend, texts, chunk) for chunk in chunks]
        if len(chunks) == 1:
            return [_judged(weighing, taxonomy) for weighing in rounds[0]]
        return [
            self._final(
                backend,
                render,
                taxonomy,
                [_answer(weighings[place], chunk) for weighings, chunk in zip(rounds, chunks, strict=True)],
                limit,
            )
            for place, render in enumerate(texts)
        ]

    def _weigh(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[TokenLogprobs]:
        return backend.next_token_logprobs([render(taxonomy, LETTERS) for render in texts], list(_meanings(taxonomy)))

    def _final(
        self, backend: Backend, render: Render, taxonomy: Taxonomy, chunks: Sequence[StrategyAnswer], limit: int
    ) -> StrategyAnswer:
        """Let the best of every heat meet; labels that fell out keep a score below all that stayed in."""
        if problem := next((chunk.problem for chunk in chunks if chunk.problem), None):
            return StrategyAnswer(problem=problem, usage=add_usage([chunk.usage for chunk in chunks]))
        seats = max(1, limit // len(chunks))
        best = [name for chunk in chunks for name in sorted(chunk.scores, key=lambda name: -chunk.scores[name])[:seats]]
        finalists = replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in best))
        (final,) = self.ask(backend, [render], finalists)  # asks in heats again where even the best are too many
        usage = add_usage([final.usage, *(chunk.usage for chunk in chunks)])
        if final.problem:
            return replace(final, usage=usage)
        floor = min(final.scores.values())
        fallen = {name: floor * score for chunk in chunks for name, score in chunk.scores.items() if name not in best}
        scores = {name: final.scores.get(name, fallen.get(name, 0.0)) for name in taxonomy.names}
        share = sum(final.scores.values()) / (sum(scores.values()) or 1.0)  # what "none" has stays what it was
        return replace(final, scores={name: score * share for name, score in scores.items()}, usage=usage)


def shares(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Probabilities renormalised to a sum of 1, safely for figures as low as vLLM's floor of -9999."""
    highest = max(logprobs.values())
    weights = {code: math.exp(logprob - highest) for code, logprob in logprobs.items()}
    total = sum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


def _meanings(taxonomy: Taxonomy) -> dict[str, str | None]:
    """The label of each code; None for "none of these"."""
    labels = {code: label.name for code, label in LETTERS.labels_with_codes(taxonomy)}
    return {**labels, NONE_CODE: None} if taxonomy.allow_none else dict(labels)


def _judged(weighing: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    """An answer, or why the codes cannot be read. A chunk of labels is not judged: its labels may all be wrong."""
    if not weighing.problem and (problem := unreadable(weighing)):
        return StrategyAnswer(problem=problem, usage=weighing.usage)
    return _answer(weighing, taxonomy)


def _answer(weighing: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    if weighing.problem:
        return StrategyAnswer(problem=weighing.problem, usage=weighing.usage)
    found = shares(weighing.logprobs)
    scores = {name: found[code] for code, name in _meanings(taxonomy).items() if name is not None}
    return StrategyAnswer(scores=scores, usage=weighing.usage)


def most_codes(backend: Backend, taxonomy: Taxonomy) -> int:
    """The most labels that one question may ask about."""
    return min(len(CODES), backend.code_limit - taxonomy.allow_none)


def chunk_labels(taxonomy: Taxonomy, limit: int) -> list[Taxonomy]:
    """Parts of at most ``limit`` labels, as even as can be."""
    labels = taxonomy.predictable
    chunks = math.ceil(len(labels) / limit)
    size = math.ceil(len(labels) / chunks)
    return [replace(taxonomy, labels=labels[start : start + size]) for start in range(0, len(labels), size)]
