"""Request and response bodies of ``POST /v1/decisions``: OpenAI's Decisions API, for texts.

Shapes: ``openai.types.decision_create_params`` and ``openai.types.decision`` of the ``openai`` package, without images
and tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from llm.backends.systemone import share
from llm.classifier import Usage
from prompts.errors import shown
from prompts.taxonomy_file import LabelDescription, LabelName
from service.schemas.answer_parts import WARNINGS

MAX_QUESTIONS, MAX_CHOICES, MAX_LEVELS = 400, 255, 10  # of OpenAI's API
_NO_EFFECT = "accepted, without effect"


class _RequestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InputText(_RequestPart):
    """A piece of text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = Field(None, description=_NO_EFFECT)

    def as_text(self) -> str:
        return self.text


class OutputText(_RequestPart):
    """A piece of text that an assistant wrote."""

    type: Literal["output_text"]
    text: str

    def as_text(self) -> str:
        return self.text


class OutputRefusal(_RequestPart):
    """A refusal of an assistant."""

    type: Literal["refusal"]
    refusal: str

    def as_text(self) -> str:
        return self.refusal


class InputJSON(_RequestPart):
    """An object, or a list of objects; models read it as JSON."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]

    def as_text(self) -> str:
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))


def _as_parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else _as_list(value, "parts")


def _as_messages(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else _as_list(value, "messages")


def _as_list(value: Any, entries: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value) or 'this'} is not a text; send a string, or a list of {entries}")
    return value


Part = Annotated[InputText | InputJSON | OutputText | OutputRefusal, Field(discriminator="type")]
Parts = Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]
QuestionPart = Annotated[InputText | InputJSON, Field(discriminator="type")]
Instructions = Annotated[
    list[QuestionPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[QuestionPart])
]


class InputMessage(_RequestPart):
    """A message of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    phase: Literal["commentary", "final_answer"] | None = Field(None, description=_NO_EFFECT)

    def as_text(self) -> str:
        """The parts of the message as text."""
        return "\n".join(part.as_text() for part in self.content)


class _Question(_RequestPart):
    name: str | None = Field(None, description="repeated in the answer")
    instructions: Instructions = Field(description="the question")

    @field_validator("instructions")
    @classmethod
    def _is_not_empty(cls, parts: list[InputText | InputJSON]) -> list[InputText | InputJSON]:
        if not any(part.as_text().strip() for part in parts):
            raise ValueError("is empty; send the question as text")
        return parts

    @property
    def text(self) -> str:
        """The instructions as text."""
        return "\n".join(part.as_text() for part in self.instructions).strip()


class PredicateQuestion(_Question):
    """A condition; the answer is its probability."""

    type: Literal["predicate"]


class ChoiceOption(_RequestPart):
    """An option of a choice; a string and a boolean with the same spelling are different values."""

    value: LabelName | bool
    description: LabelDescription | None = None

    @property
    def label(self) -> str:
        """The value as text for a model."""
        return self.value if isinstance(self.value, str) else str(self.value).lower()


class ChoiceQuestion(_Question):
    """A choice; the answer is the best option, with the probability of each."""

    type: Literal["choice"]
    choices: list[ChoiceOption] = Field(min_length=2, max_length=MAX_CHOICES)


class Level(_RequestPart):
    """A level of a scale."""

    label: LabelName
    description: LabelDescription | None = None


class ScoreQuestion(_Question):
    """A rating; the answer is a place on an ordered scale."""

    type: Literal["score"]
    levels: list[Level] = Field(min_length=2, max_length=MAX_LEVELS, description="from the lowest to the highest")


Question = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(_RequestPart):
    """Body of ``POST /v1/decisions``."""

    model: str = Field(description="name of the model (GET /v1/models), or marquee for any")
    input: Annotated[
        list[InputMessage], BeforeValidator(_as_messages, json_schema_input_type=str | list[InputMessage])
    ] = Field(min_length=1, description="a text, or the messages of a conversation")
    questions: list[Question] = Field(min_length=1, max_length=MAX_QUESTIONS)
    prompt_cache_key: str | None = Field(None, description=_NO_EFFECT)
    prompt_cache_options: dict[str, Any] | None = Field(None, description=_NO_EFFECT)
    safety_identifier: str | None = Field(None, description=_NO_EFFECT)

    def conversation(self) -> str:
        """The input as one text; each of several messages starts with its role."""
        return _joined(self.input)

    def content(self) -> str:
        """The input without system and developer messages, for classifiers, which follow no instructions.

        It is the whole input where there are no other messages.
        """
        messages = [message for message in self.input if message.role in ("user", "assistant")]
        return _joined(messages or self.input)


def _joined(messages: Sequence[InputMessage]) -> str:
    if len(messages) == 1:
        return messages[0].as_text()
    return "\n\n".join(f"{message.role}: {message.as_text()}" for message in messages)


# A sum of probabilities may miss 0 and 1 by its rounding error.
Probability = Annotated[float, BeforeValidator(share), Field(ge=0, le=1)]


class _AnswerPart(BaseModel):
    """Other services add members of their own (vLLM: ``label_mass``)."""


class _Answer(_AnswerPart):
    name: str | None = Field(description="of the question; null where it has none")


class PredicateAnswer(_Answer):
    """Probability of a condition."""

    type: Literal["predicate"] = "predicate"
    probability: Probability


class ValueProbability(_AnswerPart):
    """Probability of an option."""

    value: str | bool
    probability: Probability


class ChoiceAnswer(_Answer):
    """The most probable option, and the probability of each."""

    type: Literal["choice"] = "choice"
    choice: str | bool
    confidence: Probability = Field(description="0: all options are equally probable; 1: one is certain")
    probabilities: list[ValueProbability] = Field(description="in the order of the options; they sum to 1")


class LevelProbability(_AnswerPart):
    """Probability of a level."""

    label: str
    value: int = Field(description="place on the scale, from 0")
    probability: Probability


class ScoreAnswer(_Answer):
    """The expected place on the scale, and the probability of each level."""

    type: Literal["score"] = "score"
    score: float = Field(description="mean of the levels' places, from 0, weighted by their probabilities")
    confidence: Probability = Field(description="0: all levels are equally probable; 1: one is certain")
    probabilities: list[LevelProbability]


class RefusalAnswer(_Answer):
    """The model has no answer to this question, but to another one of the request."""

    type: Literal["refusal"] = "refusal"


Answer = Annotated[PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer, Field(discriminator="type")]


class InputTokensDetails(_AnswerPart):
    """Parts of the input tokens."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(_AnswerPart):
    """Parts of the output tokens."""

    reasoning_tokens: int = 0


class DecisionUsage(_AnswerPart):
    """Tokens of the answers; none where they were cached or no language model was called."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, used: Usage) -> DecisionUsage:
        """The tokens in the API's shape."""
        return cls(
            input_tokens=used.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=used.cached_tokens),
            output_tokens=used.completion_tokens,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=used.prompt_tokens + used.completion_tokens,
        )


class DecisionAnswer(_AnswerPart):
    """Answer of ``POST /v1/decisions``."""

    model: str = Field(description="name of the model that answered")
    answers: list[Answer] = Field(description="in the order of the questions")
    usage: DecisionUsage
    warnings: list[str] | None = Field(None, description=WARNINGS)

    def body(self) -> Mapping[str, Any]:
        """The members to send."""
        return self.model_dump(exclude=None if self.warnings else {"warnings"})
