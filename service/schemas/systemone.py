"""Request and response bodies of ``POST /v1/systemone``: TypeSafe's System One API, for texts.

Shapes: the package ``typesafe-sdk``, without images (``assets``, questions of type ``box``). A request is translated to
one of the Decisions API, and its answers are translated back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prompts.taxonomy_file import DESCRIPTION_CHARS, NAME_CHARS, LabelName
from service.schemas.answer_parts import WARNINGS
from service.schemas.decisions import (
    MAX_CHOICES,
    MAX_LEVELS,
    MAX_QUESTIONS,
    Answer,
    ChoiceAnswer,
    ChoiceOption,
    ChoiceQuestion,
    DecisionAnswer,
    DecisionRequest,
    InputJSON,
    InputMessage,
    InputText,
    Level,
    PredicateAnswer,
    PredicateQuestion,
    Question,
    ScoreAnswer,
    ScoreQuestion,
)

Content = str | dict[str, Any] | list[Any]
_WHICH_OPTION, _WHICH_LEVEL = "Which option fits best?", "Which level fits best?"  # for questions without instructions


class _SystemOnePart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NoulCriteria(_SystemOnePart):
    """What counts as yes, and what as no."""

    true: Content | None = None
    false: Content | None = None


class SystemOneNoul(_SystemOnePart):
    """A yes/no question or a statement; the answer is the probability of yes."""

    type: Literal["noul"]
    instructions: Content | None = Field(None, description="the question; may be left out where criteria are given")
    criteria: NoulCriteria | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> SystemOneNoul:
        if not self.text:
            raise ValueError("has neither instructions nor criteria; send the question as instructions")
        return self

    @property
    def text(self) -> str:
        """The question as text."""
        criteria = self.criteria or NoulCriteria()
        lines = [_text(self.instructions)]
        lines += [f"{word} means: {text}" for word, text in _meanings(criteria) if text]
        return "\n".join(line for line in lines if line)

    def decision(self, name: str) -> Question:
        return PredicateQuestion(type="predicate", name=name, instructions=self.text)  # type: ignore[arg-type]

    def answer(self, found: Answer) -> NoulAnswer | None:
        return NoulAnswer(noul=found.probability) if isinstance(found, PredicateAnswer) else None


class SystemOneChoice(_SystemOnePart):
    """A choice; the answer is the best option, with the probability of each."""

    type: Literal["choice"]
    instructions: Content | None = None
    criteria: dict[LabelName, Content | None] = Field(
        min_length=2, max_length=MAX_CHOICES, description="options with their descriptions, or null"
    )

    @model_validator(mode="after")
    def _has_short_descriptions(self) -> SystemOneChoice:
        _check_lengths(self.criteria.values())
        return self

    def decision(self, name: str) -> Question:
        options = [ChoiceOption(value=value, description=_text(one) or None) for value, one in self.criteria.items()]
        text = _text(self.instructions) or _WHICH_OPTION
        return ChoiceQuestion(type="choice", name=name, instructions=text, choices=options)  # type: ignore[arg-type]

    def answer(self, found: Answer) -> SystemOneChoiceAnswer | None:
        if not isinstance(found, ChoiceAnswer):
            return None
        shares = {str(one.value): one.probability for one in found.probabilities}
        return SystemOneChoiceAnswer(choice=str(found.choice), confidence=found.confidence, probabilities=shares)


class SystemOneScore(_SystemOnePart):
    """A rating; the answer is a place on an ordered scale."""

    type: Literal["score"]
    instructions: Content | None = None
    criteria: list[Content] = Field(
        min_length=2, max_length=MAX_LEVELS, description="descriptions of the levels, from the lowest to the highest"
    )

    @model_validator(mode="after")
    def _has_short_levels(self) -> SystemOneScore:
        _check_lengths(self.criteria)
        return self

    def decision(self, name: str) -> Question:
        levels = [_level(place, _text(level)) for place, level in enumerate(self.criteria)]
        text = _text(self.instructions) or _WHICH_LEVEL
        return ScoreQuestion(type="score", name=name, instructions=text, levels=levels)  # type: ignore[arg-type]

    def answer(self, found: Answer) -> SystemOneScoreAnswer | None:
        if not isinstance(found, ScoreAnswer):
            return None
        shares = {str(one.value): one.probability for one in found.probabilities}
        legend = {str(place): level for place, level in enumerate(self.criteria)}
        return SystemOneScoreAnswer(score=found.score, confidence=found.confidence, legend=legend, probabilities=shares)


SystemOneQuestion = Annotated[SystemOneNoul | SystemOneChoice | SystemOneScore, Field(discriminator="type")]


class SystemOneRequest(_SystemOnePart):
    """Body of ``POST /v1/systemone``."""

    model: str = Field(description="name of the model (GET /v1/models), or marquee for any")
    state: Content = Field(description="what the questions are about: a text, or JSON that models read as text")
    questions: dict[str, SystemOneQuestion] = Field(
        min_length=1, max_length=MAX_QUESTIONS, description="questions by name; the answers have the same names"
    )

    @cached_property
    def decision(self) -> DecisionRequest:
        """The same request to the Decisions API; its questions have the order of these."""
        structured = isinstance(self.state, dict) or (
            isinstance(self.state, list) and bool(self.state) and all(isinstance(one, dict) for one in self.state)
        )
        part = (
            InputJSON(type="input_json", data=self.state)  # type: ignore[arg-type]
            if structured
            else InputText(type="input_text", text=_text(self.state))
        )
        questions = [question.decision(name) for name, question in self.questions.items()]
        message = InputMessage(role="user", content=[part])
        return DecisionRequest(model=self.model, input=[message], questions=questions)

    def place(self, field: str) -> str:
        """The field of this request that a field of ``decision`` was made of."""
        first, _, rest = field.partition(".")
        number, _, _ = rest.partition(".")
        if first != "questions" or not number.isdecimal():
            return "state" if first == "input" else field
        part = "instructions" if rest.endswith("instructions") else "criteria"
        return f"questions.{list(self.questions)[int(number)]}.{part}"


class NoulAnswer(BaseModel):
    """Probability of yes."""

    type: Literal["noul"] = "noul"
    noul: float = Field(ge=0, le=1)


class SystemOneChoiceAnswer(BaseModel):
    """The most probable option, and the probability of each."""

    type: Literal["choice"] = "choice"
    choice: str
    confidence: float = Field(ge=0, le=1, description="0: all options are equally probable; 1: one is certain")
    probabilities: dict[str, float] = Field(description="by option; they sum to 1")


class SystemOneScoreAnswer(BaseModel):
    """The expected place on the scale, and the probability of each level."""

    type: Literal["score"] = "score"
    score: float = Field(description="mean of the levels' places, from 0, weighted by their probabilities")
    confidence: float = Field(ge=0, le=1, description="0: all levels are equally probable; 1: one is certain")
    legend: dict[str, Content] = Field(description="the levels by their place, from 0")
    probabilities: dict[str, float] = Field(description="by place; they sum to 1")


class SystemOneUsage(BaseModel):
    """Tokens of the answers; none where they were cached or no language model was called."""

    input_tokens: int
    cached_input_tokens: int = Field(description="those in the endpoint's prefix cache")
    output_tokens: int


class SystemOneAnswer(BaseModel):
    """Answer of ``POST /v1/systemone``."""

    model: str = Field(description="name of the model that answered")
    answers: dict[
        str, Annotated[NoulAnswer | SystemOneChoiceAnswer | SystemOneScoreAnswer, Field(discriminator="type")]
    ] = Field(description="by the names of the questions")
    refusals: list[str] = Field([], description="questions without an answer; left out where there are none")
    usage: SystemOneUsage
    warnings: list[str] | None = Field(None, description=WARNINGS)

    @classmethod
    def of(cls, request: SystemOneRequest, found: DecisionAnswer) -> SystemOneAnswer:
        """The answers to ``request.decision`` in this API's shapes."""
        pairs = zip(request.questions.items(), found.answers, strict=True)
        answers = {name: question.answer(answer) for (name, question), answer in pairs}
        usage = SystemOneUsage(
            input_tokens=found.usage.input_tokens,
            cached_input_tokens=found.usage.input_tokens_details.cached_tokens,
            output_tokens=found.usage.output_tokens,
        )
        return cls(
            model=found.model,
            answers={name: answer for name, answer in answers.items() if answer},
            refusals=[name for name, answer in answers.items() if not answer],
            usage=usage,
            warnings=found.warnings,
        )

    def body(self) -> Mapping[str, Any]:
        """The members to send."""
        return self.model_dump(exclude={name for name in ("refusals", "warnings") if not getattr(self, name)})


class SystemOneFault(BaseModel):
    """A fault of a request, in FastAPI's shape."""

    loc: list[str | int] = Field(description="body, then the keys and positions of the field")
    msg: str
    type: str


class SystemOneInvalid(BaseModel):
    """Answer of ``POST /v1/systemone`` to an invalid request; ``error`` is the same in OpenAI's shape."""

    detail: list[SystemOneFault]
    error: dict[str, Any]


def _text(content: Content | None) -> str:
    """Content as a model reads it."""
    if content is None or isinstance(content, str):
        return (content or "").strip()
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _meanings(criteria: NoulCriteria) -> list[tuple[str, str]]:
    return [("Yes", _text(criteria.true)), ("No", _text(criteria.false))]


def _level(place: int, text: str) -> Level:
    """A level named by its text, or by its place where the text is too long for a name."""
    return Level(label=text) if len(text) <= NAME_CHARS else Level(label=str(place), description=text)


def _check_lengths(texts: Any) -> None:
    if (longest := max(len(_text(text)) for text in texts)) > DESCRIPTION_CHARS:
        raise ValueError(f"a description has {longest:,} characters; at most {DESCRIPTION_CHARS:,}")
