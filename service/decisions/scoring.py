"""From probabilities to the answers that the Decisions API gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from llm.classifier import Prediction, Problem, total_usage
from service.request_problem import RequestProblem
from service.schemas.decisions import (
    Answer,
    ChoiceAnswer,
    ChoiceQuestion,
    DecisionAnswer,
    DecisionUsage,
    LevelProbability,
    PredicateAnswer,
    PredicateQuestion,
    Question,
    RefusalAnswer,
    ScoreAnswer,
    ScoreQuestion,
    ValueProbability,
)

_OF_ONE = frozenset(["unreadable", "rejected"])  # what one question may meet while others are answered


@dataclass(frozen=True)
class DecisionResult:
    """What was answered.

    Attributes:
        model: who answered.
        answers: one per question, in their order.
        asked: what the model gave for it, with its tokens.
    """

    model: str
    answers: tuple[Answer, ...]
    asked: tuple[Prediction, ...]

    def told(self) -> DecisionAnswer:
        """The answer to send."""
        usage = DecisionUsage.of(total_usage([one.usage for one in self.asked]))
        return DecisionAnswer(model=self.model, answers=list(self.answers), usage=usage)


@dataclass(frozen=True)
class OptionProbabilities:
    """Probabilities of what a question asks about: of its condition, or of its options in their order."""

    probabilities: tuple[float, ...] = ()
    problem: Problem | None = None


def weigh(prediction: Prediction, names: Sequence[str]) -> OptionProbabilities:
    """The probabilities of these labels; those of several options are made to sum to 1."""
    if prediction.problem:
        return OptionProbabilities(problem=prediction.problem)
    found = [min(1.0, max(0.0, prediction.scores[name])) for name in names]
    total = sum(found)
    if len(found) == 1:
        return OptionProbabilities(tuple(found))
    if not total:
        return OptionProbabilities(problem=Problem("unreadable", "the model gave no option any probability"))
    return OptionProbabilities(tuple(one / total for one in found))


def decided(
    questions: Sequence[Question], weighed: Sequence[OptionProbabilities], found: Sequence[Prediction]
) -> DecisionResult:
    """Answers to the questions, from what was found about each.

    A question that the model gave nothing readable for is told as its refusal, so long as another was answered.

    Raises:
        RequestProblem: none was answered, or the model could not be asked about one.
    """
    problems = [one.problem for one in weighed if one.problem]
    if len(problems) == len(weighed):
        raise_for(problems[0])
    raise_for(next((problem for problem in problems if problem.kind not in _OF_ONE), None))
    answers = tuple(_answer(question, one) for question, one in zip(questions, weighed, strict=True))
    return DecisionResult(found[0].source.model, answers, tuple(found))


def raise_for(problem: Problem | None) -> None:
    """End the request where there is a problem."""
    if problem:
        raise RequestProblem.of(problem)


def _answer(question: Question, weighed: OptionProbabilities) -> Answer:
    if weighed.problem:
        return RefusalAnswer(name=question.name)
    return _ANSWERS[type(question)](question, weighed.probabilities)


def _predicate(question: PredicateQuestion, found: Sequence[float]) -> Answer:
    return PredicateAnswer(name=question.name, probability=found[0])


def _choice(question: ChoiceQuestion, found: Sequence[float]) -> Answer:
    best = max(range(len(found)), key=found.__getitem__)
    told = [
        ValueProbability(value=option.value, probability=one)
        for option, one in zip(question.choices, found, strict=True)
    ]
    return ChoiceAnswer(
        name=question.name, choice=question.choices[best].value, confidence=_confidence(found), probabilities=told
    )


def _score(question: ScoreQuestion, found: Sequence[float]) -> Answer:
    told = [
        LevelProbability(label=level.label, value=place, probability=one)
        for place, (level, one) in enumerate(zip(question.levels, found, strict=True))
    ]
    mean = sum(place * one for place, one in enumerate(found))
    return ScoreAnswer(name=question.name, score=mean, confidence=_confidence(found), probabilities=told)


def _confidence(found: Sequence[float]) -> float:
    """How much less is left to guess than among options as probable as each other: 1 less the normalised entropy."""
    entropy = -sum(one * math.log(one) for one in found if one > 0)
    return min(1.0, max(0.0, 1 - entropy / math.log(len(found))))


def read(answers: Sequence[Mapping[str, object]], questions: Sequence[Question]) -> tuple[Answer, ...]:
    """Another service's answers, where they are answers to these questions.

    Raises:
        RequestProblem: they are not.
    """
    try:
        found = _READ.validate_python([{"name": None, **one} for one in answers])
    except (ValidationError, TypeError):
        found = []
    pairs = list(zip(found, questions, strict=False))
    if len(found) != len(questions) or any(one.type not in (asked.type, "refusal") for one, asked in pairs):
        raise RequestProblem("model-unreadable", "the endpoint answered, but not these questions")
    return tuple(one.model_copy(update={"name": asked.name}) for one, asked in pairs)


_READ: TypeAdapter[list[Answer]] = TypeAdapter(list[Answer])
_ANSWERS: Mapping[type, Callable[..., Answer]] = {
    PredicateQuestion: _predicate,
    ChoiceQuestion: _choice,
    ScoreQuestion: _score,
}
