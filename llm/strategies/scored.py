"""Strategies that score every label: by the next token (``label_tokens``, ``yes_no``) or by ``decisions_api``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from llm.backends.backend import (
    Backend,
    Conversation,
    DecidingBackend,
    DecisionReply,
    PrefixSharingBackend,
    TokenLogprobs,
)
from llm.backends.codes import unreadable
from llm.backends.systemone import share
from llm.classifier import Problem, total_usage
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer, no_codes
from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, LABEL_TOKENS, NONE_CODE, AnswerFormat

YES_NO_CODES = ("Yes", "No")
_TEXTS_AT_ONCE = 32  # few enough for a server to keep them all in its prefix cache
_MAX_QUESTIONS, _MAX_CHOICES = 400, 255  # limits of the Decisions API


class LabelTokens(Strategy):
    """One output token per text, whose probabilities over the labels' codes are the scores.

    The scores of a text sum to 1 over the labels and, where the taxonomy allows it, "none of these". A code that the
    backend does not report gets its upper bound, never zero. More labels than codes are scored in chunks; the best of
    each chunk are scored again together.
    """

    name = "label_tokens"
    answer_format = LABEL_TOKENS

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        return True

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        """See ``Strategy.conversations``; the chunks only, since their answers determine the final."""
        limit = max(2, _label_limit(backend, taxonomy))
        return [prompt(chunk, LABEL_TOKENS) for chunk in _chunks(taxonomy, limit)]

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        return [CODES, taxonomy.allow_none]

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        return 1

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        limit = _label_limit(backend, taxonomy)
        if limit < 2:
            return [StrategyAnswer(problem=no_codes(backend))] * len(prompts)
        chunks = _chunks(taxonomy, limit)
        rounds = [_logprobs(backend, prompts, chunk) for chunk in chunks]
        if len(chunks) == 1:
            return [_checked_shares(logprobs, taxonomy) for logprobs in rounds[0]]
        return [
            self._final(backend, prompt, taxonomy, list(map(_shares, of_chunks, chunks)), limit)
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


class YesNo(Strategy):
    """One output token per text and label; a label's score is P(Yes) / (P(Yes) + P(No)).

    The text comes before the question, so that all questions about one text share its part of the server's prefix
    cache. A text with one unreadable question (``codes.unreadable``) is unreadable.
    """

    name = "yes_no"
    answer_format = AnswerFormat("yes_no")

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        return [prompt(taxonomy, AnswerFormat("yes_no", label)) for label in taxonomy.predictable]

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        return YES_NO_CODES

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        return len(taxonomy.names)

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        if backend.code_limit < len(YES_NO_CODES):
            return [StrategyAnswer(problem=no_codes(backend))] * len(prompts)
        starts = range(0, len(prompts), _TEXTS_AT_ONCE)
        batches = [self._batch(backend, prompts[start : start + _TEXTS_AT_ONCE], taxonomy) for start in starts]
        return [answer for batch in batches for answer in batch]

    def _batch(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """One question per text goes first and fills the prefix cache; otherwise every question computes its text.

        A backend that shares prefixes gets all questions at once.
        """
        questions = [self.conversations(backend, prompt, taxonomy) for prompt in prompts]
        shares = isinstance(backend, PrefixSharingBackend) and backend.shares_prefixes
        parts = [slice(None)] if shares else [slice(1), slice(1, None)]
        rounds = [_yes_no_logprobs(backend, [one[part] for one in questions]) for part in parts]
        return [_yes_shares(list(chain(*of_text)), taxonomy) for of_text in zip(*rounds, strict=True)]


class DecisionsAPI(Strategy):
    """One request per text to an endpoint with OpenAI's Decisions API or TypeSafe's System One API.

    vLLM serves the latter for some models.

    Multi-label taxonomies become one predicate per label, single-label ones a choice.
    """

    name = "decisions_api"
    answer_format = AnswerFormat("yes_no")

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """Whether the request is one choice among the labels, whose probabilities sum to 1."""
        return not taxonomy.multi and 2 <= len(taxonomy.names) <= _MAX_CHOICES - bool(taxonomy.allow_none)

    def conversations(self, backend: Backend, prompt: PromptBuilder, taxonomy: Taxonomy) -> list[Conversation]:
        """The messages about the text: the questions have the labels, and the endpoint has its own instructions."""
        conversation = prompt(taxonomy, self.answer_format)
        return [[message for message in conversation if message["role"] != "system"] or conversation]

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        return self._questions(taxonomy)

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        return 0

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        if not isinstance(backend, DecidingBackend):
            problem = Problem("misconfigured", f"{backend.name} answers no decisions; choose another strategy")
            return [StrategyAnswer(problem=problem)] * len(prompts)
        questions = self._questions(taxonomy)
        conversations = [one for prompt in prompts for one in self.conversations(backend, prompt, taxonomy)]
        rounds = [
            backend.decide(conversations, questions[start : start + _MAX_QUESTIONS])
            for start in range(0, len(questions), _MAX_QUESTIONS)
        ]
        return [_decided([replies[place] for replies in rounds], taxonomy) for place in range(len(prompts))]

    def _questions(self, taxonomy: Taxonomy) -> list[Mapping[str, Any]]:
        if not self.mutually_exclusive(taxonomy):
            return [
                {"type": "predicate", "name": label.name, "instructions": f"The label {_described(label)} applies."}
                for label in taxonomy.predictable
            ]
        choices = [{"value": label.name, "description": label.description} for label in taxonomy.predictable]
        if taxonomy.allow_none:
            choices.append({"value": taxonomy.none_name, "description": "none of these labels applies"})
        return [{"type": "choice", "name": "label", "instructions": "Which label fits best?", "choices": choices}]


def normalized(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Probabilities that sum to 1; also for log-probabilities as low as vLLM's floor of -9999."""
    highest = max(logprobs.values())
    weights = {code: math.exp(logprob - highest) for code, logprob in logprobs.items()}
    total = sum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


def _logprobs(backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[TokenLogprobs]:
    conversations = [prompt(taxonomy, LABEL_TOKENS) for prompt in prompts]
    return backend.next_token_logprobs(conversations, list(_label_of_code(taxonomy)))


def _yes_no_logprobs(backend: Backend, questions: Sequence[Sequence[Conversation]]) -> list[list[TokenLogprobs]]:
    """The results of some questions about each text."""
    results = iter(backend.next_token_logprobs(list(chain(*questions)), YES_NO_CODES))
    return [list(islice(results, len(one))) for one in questions]


def _label_of_code(taxonomy: Taxonomy) -> dict[str, str | None]:
    """The label of each code; None for "none of these"."""
    labels = {code: label.name for code, label in LABEL_TOKENS.labels_with_codes(taxonomy)}
    return {**labels, NONE_CODE: None} if taxonomy.allow_none else dict(labels)


def _checked_shares(logprobs: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    """An answer, or why the codes are unreadable. Chunks are not checked: all labels of one may be wrong."""
    if not logprobs.problem and (problem := unreadable(logprobs)):
        return StrategyAnswer(problem=problem, usage=logprobs.usage)
    return _shares(logprobs, taxonomy)


def _shares(logprobs: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    if logprobs.problem:
        return StrategyAnswer(problem=logprobs.problem, usage=logprobs.usage)
    shares = normalized(logprobs.logprobs)
    scores = {name: shares[code] for code, name in _label_of_code(taxonomy).items() if name is not None}
    return StrategyAnswer(scores=scores, usage=logprobs.usage)


def _label_limit(backend: Backend, taxonomy: Taxonomy) -> int:
    """Maximum number of labels per request."""
    return min(len(CODES), backend.code_limit - bool(taxonomy.allow_none))


def _chunks(taxonomy: Taxonomy, limit: int) -> list[Taxonomy]:
    """Parts of at most ``limit`` labels, of nearly equal size."""
    labels = taxonomy.predictable
    size = math.ceil(len(labels) / math.ceil(len(labels) / limit))
    return [replace(taxonomy, labels=labels[start : start + size]) for start in range(0, len(labels), size)]


def _yes_shares(logprobs: Sequence[TokenLogprobs], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = total_usage([label.usage for label in logprobs])
    problem = next((label.problem for label in logprobs if label.problem), None)
    if problem := problem or next(filter(None, map(unreadable, logprobs)), None):
        return StrategyAnswer(problem=problem, usage=usage)
    scores = {name: normalized(label.logprobs)["Yes"] for name, label in zip(taxonomy.names, logprobs, strict=True)}
    return StrategyAnswer(scores=scores, usage=usage)


def _described(label: Label) -> str:
    return f'"{label.name}" ({label.description})' if label.description else f'"{label.name}"'


def _decided(replies: Sequence[DecisionReply], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = total_usage([reply.usage for reply in replies])
    if problem := next((reply.problem for reply in replies if reply.problem), None):
        return StrategyAnswer(problem=problem, usage=usage)
    try:
        pairs = [pair for reply in replies for answer in reply.answers for pair in _probabilities(answer)]
    except (KeyError, TypeError, ValueError):
        problem = Problem("unreadable", "the model declined, or its decision has no form")
        return StrategyAnswer(problem=problem, usage=usage)
    scores = {name: score for name, score in pairs if name in taxonomy.names}
    if set(scores) != set(taxonomy.names):
        return StrategyAnswer(problem=Problem("unreadable", "the endpoint did not decide on every label"), usage=usage)
    return StrategyAnswer(scores=scores, usage=usage)


def _probabilities(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Labels and probabilities of one answer; a refusal has none and raises KeyError."""
    if answer["type"] == "choice":
        return [(str(one["value"]), share(one["probability"])) for one in answer["probabilities"]]
    return [(str(answer["name"]), share(answer["probability"]))]
