"""Answers of the Decisions API from probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from llm.backends.systemone import confidence
from llm.classifier import Prediction, Problem, total_usage
from service.problems import RequestProblem
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

_OF_ONE_QUESTION = frozenset(["unreadable", "rejected"])  # problems that leave the other questions answered


@dataclass(frozen=True)
class DecisionResult:
    """The answers to a request.

    Attributes:
        model: name of the model that answered.
        answers: one per question, in their order.
        predictions: the model's predictions, for metrics and usage.
    """

    model: str
    answers: tuple[Answer, ...]
    predictions: tuple[Prediction, ...]

    def response(self) -> DecisionAnswer:
        """The response body."""
        usage = DecisionUsage.of(total_usage([prediction.usage for prediction in self.predictions]))
        warnings = dict.fromkeys(warning for prediction in self.predictions for warning in prediction.warnings)
        return DecisionAnswer(
            model=self.model, answers=list(self.answers), usage=usage, warnings=list(warnings) or None
        )


@dataclass(frozen=True)
class OptionProbabilities:
    """Probability of a question's condition, or of each of its options in order; none where there is a problem."""

    probabilities: tuple[float, ...] = ()
    problem: Problem | None = None


def option_probabilities(prediction: Prediction, names: Sequence[str]) -> OptionProbabilities:
    """The scores of these labels; those of several labels are normalised to sum to 1."""
    if prediction.problem:
        return OptionProbabilities(problem=prediction.problem)
    if any(name not in prediction.scores for name in names):
        return OptionProbabilities(problem=Problem("unreadable", "the model gave an option no probability"))
    scores = [min(1.0, max(0.0, prediction.scores[name])) for name in names]
    if len(scores) == 1:
        return OptionProbabilities(tuple(scores))
    if not (total := sum(scores)):
        return OptionProbabilities(problem=Problem("unreadable", "the model gave no option any probability"))
    return OptionProbabilities(tuple(score / total for score in scores))


def decide(
    questions: Sequence[Question], options: Sequence[OptionProbabilities], predictions: Sequence[Prediction]
) -> DecisionResult:
    """Answers to the questions.

    A question whose output is unreadable gets a refusal, as long as another question has an answer.

    Raises:
        RequestProblem: no question has an answer, or the model could not be reached for one.
    """
    problems = [one.problem for one in options if one.problem]
    if len(problems) == len(options):
        raise_for(problems[0])
    raise_for(next((problem for problem in problems if problem.kind not in _OF_ONE_QUESTION), None))
    answers = tuple(_answer(question, one) for question, one in zip(questions, options, strict=True))
    return DecisionResult(predictions[0].source.model, answers, tuple(predictions))


def raise_for(problem: Problem | None) -> None:
    """End the request if there is a problem."""
    if problem:
        raise RequestProblem.of(problem)


def answers_of(answers: Sequence[Mapping[str, object]], questions: Sequence[Question]) -> tuple[Answer, ...]:
    """Answers of another service to these questions; one that does not fit its question is a refusal.

    Raises:
        RequestProblem: no answer fits, or their number is another.
    """
    found = [_received(*pair) for pair in zip(answers, questions, strict=False)]
    if len(answers) != len(questions) or not any(found):
        raise RequestProblem("model-unreadable", "the endpoint's answers do not fit the questions")
    return tuple(answer or RefusalAnswer(name=one.name) for answer, one in zip(found, questions, strict=True))


def _received(answer: Mapping[str, object], question: Question) -> Answer | None:
    """An answer of another service; None where it does not fit the question."""
    try:
        found = _PARSER.validate_python({**answer, "name": question.name})
    except (ValidationError, TypeError):
        return None
    given = answer.get("name")
    named = question.name is None or given is None or given == question.name
    return found if named and _fits(found, question) else None


def _fits(answer: Answer, question: Question) -> bool:
    """Whether an answer has the question's type, and a probability for each of its options and for no other."""
    if isinstance(answer, RefusalAnswer):
        return True
    if isinstance(answer, ChoiceAnswer) and isinstance(question, ChoiceQuestion):
        # True and "true" are different values, and 1 == True.
        values = {(type(one.value), one.value) for one in question.choices}
        scored = [(type(one.value), one.value) for one in answer.probabilities]
        return len(scored) == len(values) and {*scored} == values >= {(type(answer.choice), answer.choice)}
    if isinstance(answer, ScoreAnswer) and isinstance(question, ScoreQuestion):
        places = range(len(question.levels))
        return [one.value for one in answer.probabilities] == [*places] and 0 <= answer.score <= places[-1]
    return answer.type == question.type


def _answer(question: Question, options: OptionProbabilities) -> Answer:
    if options.problem:
        return RefusalAnswer(name=question.name)
    return _ANSWER_OF[type(question)](question, options.probabilities)


def _predicate(question: PredicateQuestion, probabilities: Sequence[float]) -> Answer:
    return PredicateAnswer(name=question.name, probability=probabilities[0])


def _choice(question: ChoiceQuestion, probabilities: Sequence[float]) -> Answer:
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    pairs = zip(question.choices, probabilities, strict=True)
    return ChoiceAnswer(
        name=question.name,
        choice=question.choices[best].value,
        confidence=confidence(probabilities),
        probabilities=[ValueProbability(value=option.value, probability=probability) for option, probability in pairs],
    )


def _score(question: ScoreQuestion, probabilities: Sequence[float]) -> Answer:
    pairs = enumerate(zip(question.levels, probabilities, strict=True))
    return ScoreAnswer(
        name=question.name,
        score=sum(place * probability for place, probability in enumerate(probabilities)),
        confidence=confidence(probabilities),
        probabilities=[
            LevelProbability(label=level.label, value=place, probability=probability)
            for place, (level, probability) in pairs
        ],
    )


_PARSER: TypeAdapter[Answer] = TypeAdapter(Answer)
_ANSWER_OF: Mapping[type, Callable[..., Answer]] = {
    PredicateQuestion: _predicate,
    ChoiceQuestion: _choice,
    ScoreQuestion: _score,
}
