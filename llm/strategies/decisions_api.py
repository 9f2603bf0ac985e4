"""The ``decisions_api`` strategy: endpoints that serve ``/v1/decisions`` answer typed questions with probabilities.

Several labels are asked about as predicates, each for itself; one label as a choice. Nothing is written. Request and
response: OpenAI's Decisions API, which vLLM and SGLang serve for some models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm.backends.backend import Backend, DecidingBackend, DecisionReply
from llm.classifier import Problem
from llm.strategies.strategy import Render, StrategyAnswer, add_usage
from prompts.answer_format import AnswerFormat
from prompts.taxonomy import Label, Taxonomy

# The API's own bounds.
_QUESTIONS, _CHOICES = 400, 255


class DecisionsAPI:
    """One request per text; as many questions in it as the taxonomy has labels, or one choice between them."""

    name = "decisions_api"
    returns_labels = False

    def mutually_exclusive(self, taxonomy: Taxonomy) -> bool:
        """See ``Strategy.mutually_exclusive``: the probabilities of one choice sum to 1."""
        return _chooses(taxonomy)

    def question(self) -> AnswerFormat:
        """See ``Strategy.question``."""
        return AnswerFormat("yes_no")

    def fingerprint_parts(self, taxonomy: Taxonomy) -> Any:
        """See ``Strategy.fingerprint_parts``."""
        return _questions(taxonomy)

    def ask(self, backend: Backend, texts: Sequence[Render], taxonomy: Taxonomy) -> list[StrategyAnswer]:
        """See ``Strategy.ask``."""
        if not isinstance(backend, DecidingBackend):
            nothing = Problem("misconfigured", f"{backend.name} answers no decisions; choose another strategy")
            return [StrategyAnswer(problem=nothing)] * len(texts)
        questions = _questions(taxonomy)
        conversations = [render(taxonomy, self.question()) for render in texts]
        rounds = [
            backend.decide(conversations, questions[start : start + _QUESTIONS])
            for start in range(0, len(questions), _QUESTIONS)
        ]
        return [_answer([one[place] for one in rounds], taxonomy) for place in range(len(texts))]


def _questions(taxonomy: Taxonomy) -> list[Mapping[str, Any]]:
    if not _chooses(taxonomy):
        return [
            {"type": "predicate", "name": label.name, "instructions": f"The label {_described(label)} applies."}
            for label in taxonomy.predictable
        ]
    choices = [{"value": label.name, "description": label.description} for label in taxonomy.predictable]
    if taxonomy.allow_none:
        choices.append({"value": _none(taxonomy), "description": "none of these labels applies"})
    return [{"type": "choice", "name": "label", "instructions": "Which label fits best?", "choices": choices}]


def _chooses(taxonomy: Taxonomy) -> bool:
    """Whether one choice between the labels is asked for; else one predicate per label."""
    return not taxonomy.multi and 2 <= len(taxonomy.names) <= _CHOICES - taxonomy.allow_none


def _none(taxonomy: Taxonomy) -> str:
    """What the choice "none of these labels" is called: not as any label is."""
    value = "none of these"
    while taxonomy.known(value):
        value += " labels"
    return value


def _described(label: Label) -> str:
    return f'"{label.name}" ({label.description})' if label.description else f'"{label.name}"'


def _answer(rounds: Sequence[DecisionReply], taxonomy: Taxonomy) -> StrategyAnswer:
    usage = add_usage([decided.usage for decided in rounds])
    if problem := next((decided.problem for decided in rounds if decided.problem), None):
        return StrategyAnswer(problem=problem, usage=usage)
    try:
        found = [score for decided in rounds for answer in decided.answers for score in _scores(answer)]
    except (KeyError, TypeError, ValueError):
        return StrategyAnswer(
            problem=Problem("unreadable", "the model declined, or its decision has no form"), usage=usage
        )
    scores = {name: min(1.0, max(0.0, score)) for name, score in found if name in taxonomy.names}
    if set(scores) != set(taxonomy.names):
        return StrategyAnswer(problem=Problem("unreadable", "the endpoint did not decide on every label"), usage=usage)
    return StrategyAnswer(scores=scores, usage=usage)


def _scores(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Labels and probabilities of one answer; a refusal has none and raises KeyError."""
    if answer["type"] == "choice":
        return [(str(one["value"]), float(one["probability"])) for one in answer["probabilities"]]
    return [(str(answer["name"]), float(answer["probability"]))]
