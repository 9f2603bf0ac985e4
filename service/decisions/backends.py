"""Who answers typed questions about a text: a language model by its probabilities, or any classifier by its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from llm.backends.backend import Backend, DecidingBackend
from llm.classifier import AnswerSource, Classifier, Prediction
from llm.language_model import LanguageModel
from llm.request_context import CURRENT_REQUEST, waiting_problem
from llm.strategies.registry import STRATEGIES
from llm.wrappers.cache import AnswerStore, Cached
from prompts.errors import InvalidTaxonomy, OtherTaxonomy
from prompts.taxonomy import Label, Taxonomy
from prompts.template import asking
from prompts.text import Text
from service.decisions.scoring import DecisionResult, OptionProbabilities, decided, raise_for, read, weigh
from service.request_problem import RequestProblem
from service.schemas.decisions import ChoiceQuestion, DecisionRequest, PredicateQuestion, Question, ScoreQuestion
from similarity.errors import Rejected
from similarity.micro_batching import Admission

_AT_ONCE = 8  # of one request, so many are with the model together
_OUTAGE = frozenset(["model-unreachable", "model-busy"])
_NAME = "decision"
_NOT_DIRECT = (
    "does not start its answer with a code, so its probabilities are no answer; if it is a reasoning model, switch its "
    "thinking off, or choose another model"
)

# Pairs of a text and a taxonomy to one prediction each; every text and label is encoded once.
Predict = Callable[[Sequence[tuple[Text, Taxonomy]]], Sequence[Prediction]]


class Decider(Protocol):
    """Anything that answers typed questions."""

    @property
    def name(self) -> str:
        """Who answers."""

    def decide(self, asked: DecisionRequest) -> DecisionResult:
        """An answer per question.

        Raises:
            RequestProblem: there is none to any of them, or this model cannot answer such questions.
        """


@dataclass(frozen=True)
class ByScores:
    """A classifier whose scores are probabilities: each question is a taxonomy of its own.

    A condition is the one label of its taxonomy, so that its probability does not hang on what else is asked. Such a
    classifier compares what a text is about with what a label is about: it reads conditions and options, but neither
    a "not" in them nor the instructions about options, and it knows of no more or less.

    Attributes:
        classifier: who answers.
        predict: the same for several taxonomies in one pass, where it can do that.
    """

    classifier: Classifier
    predict: Predict | None = None

    @property
    def name(self) -> str:
        """The classifier's name."""
        return self.classifier.name

    def decide(self, asked: DecisionRequest) -> DecisionResult:
        """See ``Decider.decide``."""
        if any(isinstance(question, ScoreQuestion) for question in asked.questions):
            raise RequestProblem("cannot-decide", f"{self.name} cannot rate on a scale; ask for a choice of the levels")
        text, vocabularies = Text(asked.material()), [_vocabulary(*placed) for placed in enumerate(asked.questions)]
        if text.empty:
            raise RequestProblem("invalid-request", "input holds instructions and no text; give a text", "input")
        try:
            found = self._found(text, vocabularies)
        except OtherTaxonomy as error:
            raise RequestProblem("cannot-decide", f"this model answers with its own labels only: {error}") from None
        if any(not (one.problem or one.scores) for one in found):
            raise RequestProblem("cannot-decide", f"{self.name} gives labels, but no probabilities")
        found_each = [weigh(one, vocabulary.names) for one, vocabulary in zip(found, vocabularies, strict=True)]
        return decided(asked.questions, found_each, found)

    def _found(self, text: Text, vocabularies: Sequence[Taxonomy]) -> Sequence[Prediction]:
        """One answer per taxonomy, in their order."""
        if self.predict:
            return self.predict([(text, vocabulary) for vocabulary in vocabularies])
        return [self.classifier.classify([text], vocabulary)[0] for vocabulary in vocabularies]


@dataclass(frozen=True)
class ByModel:
    """A language model that tells probabilities of tokens: Yes or No about each condition, a letter for an option.

    Attributes:
        backend: the model.
        gate: shared by all that ask it.
        store: caches answers; None caches none.
        shared: whether requests with different API keys share cached answers.
    """

    backend: Backend
    gate: Admission
    store: AnswerStore | None = None
    shared: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return self.backend.name

    def decide(self, asked: DecisionRequest) -> DecisionResult:
        """See ``Decider.decide``."""
        self._refuse_silent()
        text, conditions = Text(asked.conversation()), _conditions(asked.questions)
        jobs = [partial(self._ask, "yes_no", "", text, conditions)] if conditions else []
        jobs += [
            partial(self._ask, "label_tokens", question.asks, text, _vocabulary(place, question))
            for place, question in enumerate(asked.questions)
            if not isinstance(question, PredicateQuestion)
        ]
        with _admitted(self.gate):
            found = _together(jobs)
        return decided(asked.questions, _sorted_out(asked.questions, found), found)

    def _ask(self, strategy: str, instructions: str, text: Text, taxonomy: Taxonomy) -> Prediction:
        model = LanguageModel(self.backend, STRATEGIES[strategy], asking(instructions))
        classifier: Classifier = Cached(model, self.store, self.shared) if self.store else model
        return classifier.classify([text], taxonomy)[0]

    def _refuse_silent(self) -> None:
        """Refuse a model whose codes cannot be read. One that cannot be reached is an outage, not a refusal."""
        if self.backend.code_limit < 2:
            raise_for(CURRENT_REQUEST.get().stop_reason or self.backend.check())
            raise RequestProblem("cannot-decide", f"{self.name} tells no probabilities of tokens, only words")
        if not self.backend.answers_directly:
            raise RequestProblem("cannot-decide", f"{self.name} {_NOT_DIRECT}")


@dataclass(frozen=True)
class Forwarded:
    """An endpoint that answers typed questions itself is handed them as they came.

    Attributes:
        backend: to the endpoint.
        gate: shared by all that ask it.
    """

    backend: Backend
    gate: Admission

    @property
    def name(self) -> str:
        """The model's name."""
        return self.backend.name

    def decide(self, asked: DecisionRequest) -> DecisionResult:
        """See ``Decider.decide``."""
        if not isinstance(self.backend, DecidingBackend):
            raise RequestProblem("cannot-decide", f"{self.name} answers no decisions; choose another MARQUEE_STRATEGY")
        messages = [{"role": message.role, "content": message.words()} for message in asked.input]
        questions = [question.model_dump(exclude_none=True) for question in asked.questions]
        with _admitted(self.gate):
            (found,) = self.backend.decide([messages], questions)
        raise_for(found.problem)
        # With no label it would be counted as an answer that none applies.
        prediction = Prediction((_NAME,), AnswerSource(self.name, _NAME), usage=found.usage)
        return DecisionResult(self.name, read(found.answers, asked.questions), (prediction,))


@dataclass(frozen=True)
class FallingBack:
    """Asks the second where the first cannot be reached; all answers of a request then come from the second."""

    first: Decider
    second: Decider

    @property
    def name(self) -> str:
        """The first one's name; the answer says who gave it."""
        return self.first.name

    def decide(self, asked: DecisionRequest) -> DecisionResult:
        """See ``Decider.decide``."""
        try:
            return self.first.decide(asked)
        except RequestProblem as problem:
            if problem.slug not in _OUTAGE:
                raise
            return self.second.decide(asked)


def _vocabulary(place: int, question: Question) -> Taxonomy:
    """A question as a vocabulary: its condition as the one label, or its options as labels of which one applies."""
    if isinstance(question, PredicateQuestion):
        return Taxonomy(_NAME, (Label(question.asks),), max_labels=1)
    described = (
        [(option.label, option.description) for option in question.choices]
        if isinstance(question, ChoiceQuestion)
        else [(level.label, level.description) for level in question.levels]
    )
    labels = tuple(Label(_line(name), _line(words or "")) for name, words in described)
    try:
        return Taxonomy(_NAME, labels, multi=False)
    except InvalidTaxonomy as error:
        field = f"questions.{place}.{'choices' if isinstance(question, ChoiceQuestion) else 'levels'}"
        raise RequestProblem("invalid-request", f"{field}: {str(error).partition(': ')[2]}", field) from None


def _line(words: str) -> str:
    """On one line: a line of its own would look like one more option."""
    return " ".join(words.split())


def _conditions(questions: Sequence[Question]) -> Taxonomy | None:
    """All conditions as one taxonomy, of which each label is asked about by itself; its name is its place."""
    labels = [
        Label(str(place), question.asks)
        for place, question in enumerate(questions)
        if isinstance(question, PredicateQuestion)
    ]
    return Taxonomy(_NAME, tuple(labels), max_labels=len(labels)) if labels else None


def _together(jobs: Sequence[Callable[[], Prediction]]) -> list[Prediction]:
    """The jobs' results, in their order; each runs on behalf of the request that this thread serves."""
    with ThreadPoolExecutor(max(1, min(_AT_ONCE, len(jobs)))) as pool:
        return [job.result() for job in [pool.submit(copy_context().run, job) for job in jobs]]


def _sorted_out(questions: Sequence[Question], found: Sequence[Prediction]) -> list[OptionProbabilities]:
    """What was found for each question: one answer for all conditions, where there are any, then one per choice."""
    conditions = any(isinstance(question, PredicateQuestion) for question in questions)
    rest = iter(found[1:] if conditions else found)
    return [
        weigh(found[0], (str(place),))
        if isinstance(question, PredicateQuestion)
        else weigh(next(rest), _vocabulary(place, question).names)
        for place, question in enumerate(questions)
    ]


@contextmanager
def _admitted(gate: Admission) -> Iterator[None]:
    """Count the request as pending at the model for the length of the block."""
    try:
        with gate.admit():
            yield
    except Rejected as error:
        raise RequestProblem.of(waiting_problem(error)) from None
