"""Typed questions about a text, answered by a language model's token probabilities or by a classifier's scores."""

from __future__ import annotations

import re
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
from llm.strategies import STRATEGIES
from llm.wrappers.cache import AnswerStore, Cached
from prompts.errors import InvalidTaxonomy, OtherTaxonomy, quoted
from prompts.taxonomy import Label, Taxonomy
from prompts.template import decision_prompt
from prompts.text import Text
from service.decision_answers import DecisionResult, answers_of, decide, option_probabilities, raise_for
from service.problems import RequestProblem
from service.schemas.decisions import ChoiceQuestion, DecisionRequest, PredicateQuestion, Question, ScoreQuestion
from similarity.errors import Rejected
from similarity.micro_batching import Admission

_MAX_THREADS = 8  # requests to the model at once, for one request of a client
_OUTAGE = frozenset(["model-unreachable", "model-busy"])
_NAME = "decision"
_NO_LETTERS = re.compile(r"[\W\d_]+")
_NOT_DIRECT = (
    "does not start its answer with a code, so it has no probability per option; switch the thinking of a reasoning "
    "model off, or choose another model"
)

# Pairs of a text and a taxonomy to one prediction each; every text and label is encoded once.
Predict = Callable[[Sequence[tuple[Text, Taxonomy]]], Sequence[Prediction]]


class Decider(Protocol):
    """Answers typed questions."""

    @property
    def name(self) -> str:
        """Name of the model."""

    def decide(self, request: DecisionRequest) -> DecisionResult:
        """One answer per question.

        Raises:
            RequestProblem: no question has an answer, or this model cannot answer such questions.
        """


@dataclass(frozen=True)
class ScoreDecider:
    """Answers by a classifier whose scores are probabilities. Each question is a taxonomy.

    A condition is the only label of its taxonomy, so its probability is independent of the other questions. A
    classifier matches the topics of a text and a label. It therefore ignores negation, and the instructions of a
    choice and of a scale. The levels of a scale are labels by their words.

    Attributes:
        classifier: the classifier.
        predict: the same for several taxonomies in one pass; None where the classifier cannot do that.
    """

    classifier: Classifier
    predict: Predict | None = None

    @property
    def name(self) -> str:
        return self.classifier.name

    def decide(self, request: DecisionRequest) -> DecisionResult:
        text, taxonomies = Text(request.content()), [self._taxonomy(*placed) for placed in enumerate(request.questions)]
        if text.empty:
            raise RequestProblem("invalid-request", "input has instructions and no text; send a text", "input")
        try:
            predictions = self._predictions(text, taxonomies)
        except OtherTaxonomy as error:
            raise RequestProblem("cannot-decide", f"this model answers with its own labels only: {error}") from None
        if any(not one.problem and (not one.scores or one.score_type == "similarity") for one in predictions):
            raise RequestProblem("cannot-decide", f"{self.name} has labels, but no probabilities")
        pairs = zip(predictions, taxonomies, strict=True)
        options = [option_probabilities(prediction, taxonomy.names) for prediction, taxonomy in pairs]
        return decide(request.questions, options, predictions)

    def _taxonomy(self, place: int, question: Question) -> Taxonomy:
        """A question as a taxonomy; a level is named by its description, or else by its label."""
        if not isinstance(question, ScoreQuestion):
            return _taxonomy(place, question)
        words = [_one_line(level.description or "") or _one_line(level.label) for level in question.levels]
        if not _are_words(words):
            field = f"questions.{place}.levels"
            raise RequestProblem(
                "cannot-decide", f"{field}: {self.name} compares the text with the words of each level, and "
                f"{quoted(words[0])} to {quoted(words[-1])} do not say what they mean; describe each level, such as "
                "'very negative'", field,
            )  # fmt: skip
        return _taxonomy(place, question, tuple(map(Label, words)))

    def _predictions(self, text: Text, taxonomies: Sequence[Taxonomy]) -> Sequence[Prediction]:
        if self.predict:
            return self.predict([(text, taxonomy) for taxonomy in taxonomies])
        return [self.classifier.classify([text], taxonomy)[0] for taxonomy in taxonomies]


@dataclass(frozen=True)
class TokenDecider:
    """Answers by a language model's token probabilities: of Yes and No for a condition, of a letter for an option.

    Attributes:
        backend: the language model.
        gate: limit on pending requests, shared with the other users of the model.
        store: caches answers; None: no cache.
        shared: whether requests with different API keys share cached answers.
    """

    backend: Backend
    gate: Admission
    store: AnswerStore | None = None
    shared: bool = False

    @property
    def name(self) -> str:
        return self.backend.name

    def decide(self, request: DecisionRequest) -> DecisionResult:
        self._check_probabilities()
        text, conditions = Text(request.conversation()), _conditions(request.questions)
        jobs = [partial(self._predict, "yes_no", "", text, conditions)] if conditions else []
        jobs += [
            partial(self._predict, "label_tokens", question.text, text, _taxonomy(place, question))
            for place, question in enumerate(request.questions)
            if not isinstance(question, PredicateQuestion)
        ]
        with _admitted(self.gate):
            predictions = _in_threads(jobs)
        rest = iter(predictions[1:] if conditions else predictions)
        options = [
            option_probabilities(predictions[0], (str(place),))
            if isinstance(question, PredicateQuestion)
            else option_probabilities(next(rest), _taxonomy(place, question).names)
            for place, question in enumerate(request.questions)
        ]
        return decide(request.questions, options, predictions)

    def _predict(self, strategy: str, instructions: str, text: Text, taxonomy: Taxonomy) -> Prediction:
        model = LanguageModel(self.backend, STRATEGIES[strategy], decision_prompt(instructions))
        classifier: Classifier = Cached(model, self.store, self.shared) if self.store else model
        return classifier.classify([text], taxonomy)[0]

    def _check_probabilities(self) -> None:
        """Reject a model without token probabilities. A model that cannot be reached is an outage instead."""
        if self.backend.code_limit < 2:
            raise_for(CURRENT_REQUEST.get().stop_reason or self.backend.check())
            raise RequestProblem("cannot-decide", f"{self.name} returns no token probabilities")
        if not self.backend.answers_directly:
            raise RequestProblem("cannot-decide", f"{self.name} {_NOT_DIRECT}")


@dataclass(frozen=True)
class ForwardingDecider:
    """Forwards the questions to an endpoint with a Decisions API.

    Attributes:
        backend: the endpoint.
        gate: limit on pending requests, shared with the other users of the model.
    """

    backend: Backend
    gate: Admission

    @property
    def name(self) -> str:
        return self.backend.name

    def decide(self, request: DecisionRequest) -> DecisionResult:
        if not isinstance(self.backend, DecidingBackend):
            raise RequestProblem("cannot-decide", f"{self.name} has no Decisions API; choose another MARQUEE_STRATEGY")
        messages = [{"role": message.role, "content": message.as_text()} for message in request.input]
        questions = [question.model_dump(exclude_none=True) for question in request.questions]
        with _admitted(self.gate):
            (decision,) = self.backend.decide([messages], questions)
        raise_for(decision.problem)
        # The label keeps the metrics from counting an abstention.
        prediction = Prediction((_NAME,), AnswerSource(self.name, _NAME), usage=decision.usage)
        return DecisionResult(self.name, answers_of(decision.answers, request.questions), (prediction,))


@dataclass(frozen=True)
class FallbackDecider:
    """Answers by the second decider where the first cannot be reached; all answers of a request have one source.

    A question that the second one cannot answer leaves the outage, so that a client tries again.
    """

    first: Decider
    second: Decider

    @property
    def name(self) -> str:
        """The first one's name; each result names its source."""
        return self.first.name

    def decide(self, request: DecisionRequest) -> DecisionResult:
        try:
            return self.first.decide(request)
        except RequestProblem as problem:
            if problem.slug not in _OUTAGE:
                raise
            outage = problem
        try:
            return self.second.decide(request)
        except RequestProblem as problem:
            raise (outage if problem.slug == "cannot-decide" else problem) from None


def _taxonomy(place: int, question: Question, labels: tuple[Label, ...] = ()) -> Taxonomy:
    """A question as a taxonomy: its condition is the only label, or its options are labels of which one applies.

    ``labels`` replace those of the options.
    """
    if isinstance(question, PredicateQuestion):
        return Taxonomy(_NAME, (Label(question.text),), max_labels=1)
    options = question.choices if isinstance(question, ChoiceQuestion) else question.levels
    labels = labels or tuple(Label(_one_line(one.label), _one_line(one.description or "")) for one in options)
    try:
        return Taxonomy(_NAME, labels, multi=False)
    except InvalidTaxonomy as error:
        field = f"questions.{place}.{'choices' if isinstance(question, ChoiceQuestion) else 'levels'}"
        raise RequestProblem("invalid-request", f"{field}: {str(error).partition(': ')[2]}", field) from None


def _one_line(text: str) -> str:
    """A second line would look like another option."""
    return " ".join(text.split())


def _are_words(levels: Sequence[str]) -> bool:
    """Whether each level has a word, and they differ in more than their numbers."""
    letters = [_NO_LETTERS.sub("", level).casefold() for level in levels]
    return min(map(len, letters)) > 1 and len({*letters}) > 1


def _conditions(questions: Sequence[Question]) -> Taxonomy | None:
    """All conditions as one taxonomy, for a strategy that scores each label by itself; names are positions."""
    labels = [
        Label(str(place), question.text)
        for place, question in enumerate(questions)
        if isinstance(question, PredicateQuestion)
    ]
    return Taxonomy(_NAME, tuple(labels), max_labels=len(labels)) if labels else None


def _in_threads(jobs: Sequence[Callable[[], Prediction]]) -> list[Prediction]:
    """The jobs' results in order; each job runs in the context of the current request."""
    with ThreadPoolExecutor(max(1, min(_MAX_THREADS, len(jobs)))) as pool:
        return [job.result() for job in [pool.submit(copy_context().run, job) for job in jobs]]


@contextmanager
def _admitted(gate: Admission) -> Iterator[None]:
    """Count the request as pending at the model for the length of the block."""
    try:
        with gate.admit():
            yield
    except Rejected as error:
        raise RequestProblem.of(waiting_problem(error)) from None
