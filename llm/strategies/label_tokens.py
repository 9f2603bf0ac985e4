"""The ``label_tokens`` strategy: one output token, whose probabilities over the labels' codes are the scores.

The scores of a text sum to 1 over the labels and, where the taxonomy allows it, "none of these". A code that the
backend does not report gets its upper bound, never zero. Where no code has enough probability (``codes.LEAST_MASS``),
the answer is unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, Conversation, TokenLogprobs
from llm.backends.codes import unreadable
from llm.classifier import total_usage
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer, no_codes
from prompts.taxonomy import Taxonomy
from prompts.template import CODES, LABEL_TOKENS, NONE_CODE


class LabelTokens(Strategy):
    """One request per text. More labels than codes are scored in chunks; the best of each are scored again together."""

    name = "label_tokens"
    answer_format = LABEL_TOKENS

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``."""
        return True

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        """See ``Strategy.conversations``; the chunks only, since their answers determine the final."""
        limit = max(2, _label_limit(backend, taxonomy))
        return [prompt(chunk, LABEL_TOKENS) for chunk in _chunks(taxonomy, limit)]

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return [CODES, taxonomy.allow_none]

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """See ``Strategy.output_tokens``."""
        return 1

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        limit = _label_limit(backend, taxonomy)
        if limit < 2:
            return [StrategyAnswer(problem=no_codes(backend))] * len(prompts)
        chunks = _chunks(taxonomy, limit)
        rounds = [_logprobs(backend, prompts, chunk) for chunk in chunks]
        if len(chunks) == 1:
            return [_checked_answer(logprobs, taxonomy) for logprobs in rounds[0]]
        return [
            self._final(backend, prompt, taxonomy, list(map(_answer, of_chunks, chunks)), limit)
            for prompt, *of_chunks in zip(prompts, *rounds, strict=True)
        ]

    def _final(
        self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy, chunks: Sequence[StrategyAnswer], limit: int
    ) -> StrategyAnswer:
        """Score the best labels of all chunks together; the other labels get scores below all of theirs."""
        if problem := next((chunk.problem for chunk in chunks if chunk.problem), None):
            return StrategyAnswer(problem=problem, usage=total_usage([chunk.usage for chunk in chunks]))
        per_chunk = max(1, limit // len(chunks))
        best = [
            name for chunk in chunks for name in sorted(chunk.scores, key=lambda name: -chunk.scores[name])[:per_chunk]
        ]
        finalists = replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in best))
        (final,) = self.ask(backend, [prompt], finalists)  # in chunks again where even the finalists are too many
        usage = total_usage([final.usage, *(chunk.usage for chunk in chunks)])
        if final.problem:
            return replace(final, usage=usage)
        floor = min(final.scores.values())
        others = {name: floor * score for chunk in chunks for name, score in chunk.scores.items() if name not in best}
        scores = {name: final.scores.get(name, others.get(name, 0.0)) for name in taxonomy.names}
        scale = sum(final.scores.values()) / (sum(scores.values()) or 1.0)  # keeps the share of "none"
        return replace(final, scores={name: score * scale for name, score in scores.items()}, usage=usage)


def normalized(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Probabilities that sum to 1; also for log-probabilities as low as vLLM's floor of -9999."""
    highest = max(logprobs.values())
    weights = {code: math.exp(logprob - highest) for code, logprob in logprobs.items()}
    total = sum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


def _logprobs(backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[TokenLogprobs]:
    conversations = [prompt(taxonomy, LABEL_TOKENS) for prompt in prompts]
    return backend.next_token_logprobs(conversations, list(_label_of_code(taxonomy)))


def _label_of_code(taxonomy: Taxonomy) -> dict[str, str | None]:
    """The label of each code; None for "none of these"."""
    labels = {code: label.name for code, label in LABEL_TOKENS.labels_with_codes(taxonomy)}
    return {**labels, NONE_CODE: None} if taxonomy.allow_none else dict(labels)


def _checked_answer(logprobs: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    """An answer, or why the codes are unreadable. Chunks are not checked: all labels of one may be wrong."""
    if not logprobs.problem and (problem := unreadable(logprobs)):
        return StrategyAnswer(problem=problem, usage=logprobs.usage)
    return _answer(logprobs, taxonomy)


def _answer(logprobs: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    if logprobs.problem:
        return StrategyAnswer(problem=logprobs.problem, usage=logprobs.usage)
    shares = normalized(logprobs.logprobs)
    scores = {name: shares[code] for code, name in _label_of_code(taxonomy).items() if name is not None}
    return StrategyAnswer(scores=scores, usage=logprobs.usage)


def _label_limit(backend: Backend, taxonomy: Taxonomy) -> int:
    """Maximum number of labels per request."""
    return min(len(CODES), backend.code_limit - taxonomy.allow_none)


def _chunks(taxonomy: Taxonomy, limit: int) -> list[Taxonomy]:
    """Parts of at most ``limit`` labels, of nearly equal size."""
    labels = taxonomy.predictable
    size = math.ceil(len(labels) / math.ceil(len(labels) / limit))
    return [replace(taxonomy, labels=labels[start : start + size]) for start in range(0, len(labels), size)]
