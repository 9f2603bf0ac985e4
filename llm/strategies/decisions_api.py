"""The ``decisions_api`` strategy: endpoints that serve ``/v1/decisions`` answer typed questions with probabilities.

Multi-label taxonomies become one predicate per label, single-label ones a choice. Request and response are those of
OpenAI's Decisions API, which vLLM and SGLang serve for some models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm.backends.backend import Backend, DecidingBackend, DecisionReply
from llm.classifier import Problem, total_usage
from llm.strategies.strategy import PromptBuilder, Strategy, StrategyAnswer
from prompts.taxonomy import Label, Taxonomy
from prompts.template import AnswerFormat

_MAX_QUESTIONS, _MAX_CHOICES = 400, 255  # limits of the API


class DecisionsAPI(Strategy):
    """One request per text, with one question per label or one choice among the labels."""

    name = "decisions_api"
    answer_format = AnswerFormat("yes_no")

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``; the probabilities of a choice sum to 1."""
        return _is_choice(taxonomy)

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return _questions(taxonomy)

    def output_tokens(self, taxonomy: Taxonomy) -> int:
        """See ``Strategy.output_tokens``."""
        return 0

    def ask(self, backend: Backend, prompts: Sequence[PromptBuilder], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        if not isinstance(backend, DecidingBackend):
            problem = Problem("misconfigured", f"{backend.name} answers no decisions; choose another strategy")
            return [StrategyAnswer(problem=problem)] * len(prompts)
        questions = _questions(taxonomy)
        conversations = [prompt(taxonomy, self.answer_format) for prompt in prompts]
        rounds = [
            backend.decide(conversations, questions[start : start + _MAX_QUESTIONS])
            for start in range(0, len(questions), _MAX_QUESTIONS)
        ]
        return [_answer([replies[place] for replies in rounds], taxonomy) for place in range(len(prompts))]


def _questions(taxonomy: Taxonomy) -> list[Mapping[str, Any]]:
    if not _is_choice(taxonomy):
        return [
            {"type": "predicate", "name": label.name, "instructions": f"The label {_described(label)} applies."}
            for label in taxonomy.predictable
        ]
    choices = [{"value": label.name, "description": label.description} for label in taxonomy.predictable]
    if taxonomy.allow_none:
        choices.append({"value": _none_value(taxonomy), "description": "none of these labels applies"})
    return [{"type": "choice", "name": "label", "instructions": "Which label fits best?", "choices": choices}]


def _is_choice(taxonomy: Taxonomy) -> bool:
    """Whether the request is one choice among the labels; otherwise it has one predicate per label."""
    return not taxonomy.multi and 2 <= len(taxonomy.names) <= _MAX_CHOICES - taxonomy.allow_none


def _none_value(taxonomy: Taxonomy) -> str:
    """Value of the choice "none of these labels"; no label has it."""
    value = "none of these"
    while taxonomy.known(value):
        value += " labels"
    return value


def _described(label: Label) -> str:
    return f'"{label.name}" ({label.description})' if label.description else f'"{label.name}"'


def _answer(replies: Sequence[DecisionReply], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = total_usage([reply.usage for reply in replies])
    if problem := next((reply.problem for reply in replies if reply.problem), None):
        return StrategyAnswer(problem=problem, usage=usage)
    try:
        pairs = [pair for reply in replies for answer in reply.answers for pair in _scores(answer)]
    except (KeyError, TypeError, ValueError):
        problem = Problem("unreadable", "the model declined, or its decision has no form")
        return StrategyAnswer(problem=problem, usage=usage)
    scores = {name: min(1.0, max(0.0, score)) for name, score in pairs if name in taxonomy.names}
    if set(scores) != set(taxonomy.names):
        return StrategyAnswer(problem=Problem("unreadable", "the endpoint did not decide on every label"), usage=usage)
    return StrategyAnswer(scores=scores, usage=usage)


def _scores(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Labels and probabilities of one answer; a refusal has none and raises KeyError."""
    if answer["type"] == "choice":
        return [(str(one["value"]), float(one["probability"])) for one in answer["probabilities"]]
    return [(str(answer["name"]), float(answer["probability"]))]
