"""The ``letters`` reading: one decode step, whose probabilities over the labels' codes are the scores.

The codes compete, so the scores of a text sum to 1 over the labels and, where the vocabulary allows it, "none of
these". A code that the engine does not report enters with its upper bound, never as zero; where no code has enough
probability (``codes.LEAST_MASS``), the answer is unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llm.backends.backend import Backend, TokenLogprobs
from llm.backends.codes import mass, unreadable
from llm.strategies.strategy import Render, StrategyAnswer, add_usage, no_codes
from prompts.answer_format import CODES, LETTERS, NONE_CODE, AnswerFormat
from prompts.taxonomy import Taxonomy


class LabelTokens:
    """One token per text. More labels than codes are scored in chunks, and the winners together once more."""

    name = "letters"
    decides = False

    def competing(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.competing``."""
        return True

    def question(self) -> AnswerFormat:
        """See ``Strategy.question``."""
        return LETTERS

    def essence(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.essence``."""
        return [CODES, taxonomy.allow_none]

    def ask(self, engine: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        limit = most_codes(engine, taxonomy)
        if limit < 2:
            return [StrategyAnswer(problem=no_codes(engine))] * len(texts)
        heats = divided(taxonomy, limit)
        rounds = [self._weigh(engine, texts, heat) for heat in heats]
        if len(heats) == 1:
            return [_judged(weighing, taxonomy) for weighing in rounds[0]]
        return [
            self._final(
                engine,
                render,
                taxonomy,
                [_answer(weighings[place], heat) for weighings, heat in zip(rounds, heats, strict=True)],
                limit,
            )
            for place, render in enumerate(texts)
        ]

    def _weigh(self, engine: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[TokenLogprobs]:
        return engine.weigh([render(taxonomy, LETTERS) for render in texts], list(_meanings(taxonomy)))

    def _final(
        self, engine: Backend, render: Render, taxonomy: Taxonomy, heats: Sequence[StrategyAnswer], limit: int
    ) -> StrategyAnswer:
        """Let the best of every heat meet; labels that fell out keep a score below all that stayed in."""
        if problem := next((heat.problem for heat in heats if heat.problem), None):
            return StrategyAnswer(problem=problem, usage=add_usage([heat.usage for heat in heats]))
        seats = max(1, limit // len(heats))
        best = [name for heat in heats for name in sorted(heat.scores, key=lambda name: -heat.scores[name])[:seats]]
        finalists = replace(taxonomy, labels=tuple(label for label in taxonomy.predictable if label.name in best))
        (final,) = self.ask(engine, [render], finalists)  # asks in heats again where even the best are too many
        usage = add_usage([final.usage, *(heat.usage for heat in heats)])
        if final.problem:
            return replace(final, usage=usage)
        floor = min(final.scores.values())
        fallen = {name: floor * score for heat in heats for name, score in heat.scores.items() if name not in best}
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
    labels = {code: label.name for code, label in LETTERS.coded(taxonomy)}
    return {**labels, NONE_CODE: None} if taxonomy.allow_none else dict(labels)


def _judged(weighing: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    """An answer, or why the codes cannot be read. A chunk of labels is not judged: its labels may all be wrong."""
    if not weighing.problem and (problem := unreadable(weighing)):
        return StrategyAnswer(problem=problem, label_mass=mass(weighing), usage=weighing.usage)
    return _answer(weighing, taxonomy)


def _answer(weighing: TokenLogprobs, taxonomy: Taxonomy) -> StrategyAnswer:
    if weighing.problem:
        return StrategyAnswer(problem=weighing.problem, usage=weighing.usage)
    found = shares(weighing.logprobs)
    scores = {name: found[code] for code, name in _meanings(taxonomy).items() if name is not None}
    return StrategyAnswer(scores=scores, label_mass=mass(weighing), usage=weighing.usage)


def most_codes(engine: Backend, taxonomy: Taxonomy) -> int:
    """The most labels that one question may ask about."""
    return min(len(CODES), engine.code_limit - taxonomy.allow_none)


def divided(taxonomy: Taxonomy, limit: int) -> list[Taxonomy]:
    """Parts of at most ``limit`` labels, as even as can be."""
    labels = taxonomy.predictable
    heats = math.ceil(len(labels) / limit)
    size = math.ceil(len(labels) / heats)
    return [replace(taxonomy, labels=labels[start : start + size]) for start in range(0, len(labels), size)]
