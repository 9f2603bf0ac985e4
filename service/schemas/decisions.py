"""What ``POST /v1/decisions`` takes and gives: OpenAI's Decisions API, for texts.

Shapes: ``openai.types.decision_create_params`` and ``openai.types.decision`` of the ``openai`` package. Of these,
images and tool calls are not taken, since nothing here reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from llm.classifier import Usage
from prompts.faults import shown
from prompts.registry import LabelDescription, LabelName

# The API's own bounds.
QUESTIONS, CHOICES, LEVELS = 400, 255, 10


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InputText(_Taken):
    """A piece of text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = Field(None, description="taken, and of no effect here")

    def words(self) -> str:
        """As it is read."""
        return self.text


class OutputText(_Taken):
    """A piece of text that an assistant wrote."""

    type: Literal["output_text"]
    text: str

    def words(self) -> str:
        """As it is read."""
        return self.text


class OutputRefusal(_Taken):
    """That an assistant refused."""

    type: Literal["refusal"]
    refusal: str

    def words(self) -> str:
        """As it is read."""
        return self.refusal


class InputJSON(_Taken):
    """An object, or a list of objects, read as JSON text."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]

    def words(self) -> str:
        """As it is read."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))


def _as_parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else _as_list(value, "parts")


def _as_messages(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else _as_list(value, "messages")


def _as_list(value: Any, entries: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{shown(value) or 'this'} is no text; give a string, or a list of {entries}")
    return value


Part = Annotated[InputText | InputJSON | OutputText | OutputRefusal, Field(discriminator="type")]
Parts = Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]
QuestionPart = Annotated[InputText | InputJSON, Field(discriminator="type")]
Instructions = Annotated[
    list[QuestionPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[QuestionPart])
]


class InputMessage(_Taken):
    """A message of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    phase: Literal["commentary", "final_answer"] | None = Field(None, description="taken, and of no effect here")

    def words(self) -> str:
        """What it says."""
        return "\n".join(part.words() for part in self.content)


class _Question(_Taken):
    name: str | None = Field(None, description="comes back with the answer")
    instructions: Instructions = Field(description="what is asked")

    @field_validator("instructions")
    @classmethod
    def _says_something(cls, parts: list[InputText | InputJSON]) -> list[InputText | InputJSON]:
        if not any(part.words().strip() for part in parts):
            raise ValueError("is empty; say what is asked")
        return parts

    @property
    def asks(self) -> str:
        """The instructions as text."""
        return "\n".join(part.words() for part in self.instructions).strip()


class PredicateQuestion(_Question):
    """How probable is it that a condition holds?"""

    type: Literal["predicate"]


class ChoiceOption(_Taken):
    """An option of a choice; a string and a boolean of the same spelling are two values."""

    value: LabelName | bool
    description: LabelDescription | None = None

    @property
    def label(self) -> str:
        """The value as a model reads it."""
        return self.value if isinstance(self.value, str) else str(self.value).lower()


class ChoiceQuestion(_Question):
    """Which of these fits best?"""

    type: Literal["choice"]
    choices: list[ChoiceOption] = Field(min_length=2, max_length=CHOICES)


class Level(_Taken):
    """A level of a scale."""

    label: LabelName
    description: LabelDescription | None = None


class ScoreQuestion(_Question):
    """How far up an ordered scale?"""

    type: Literal["score"]
    levels: list[Level] = Field(min_length=2, max_length=LEVELS, description="from the lowest to the highest")


Question = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(_Taken):
    """Body of ``POST /v1/decisions``."""

    model: str = Field(description="the model that answers here (GET /v1/models), or marquee for whoever does")
    input: Annotated[
        list[InputMessage], BeforeValidator(_as_messages, json_schema_input_type=str | list[InputMessage])
    ] = Field(min_length=1, description="a text, or the messages of a conversation")
    questions: list[Question] = Field(min_length=1, max_length=QUESTIONS)
    prompt_cache_key: str | None = Field(None, description="taken, and of no effect here")
    prompt_cache_options: dict[str, Any] | None = Field(None, description="taken, and of no effect here")
    safety_identifier: str | None = Field(None, description="taken, and of no effect here")

    def conversation(self) -> str:
        """All of the input as one text; of several messages, each says who speaks."""
        return _spoken(self.input)

    def material(self) -> str:
        """The input without the messages that instruct a model, for backends that take no instructions.

        It is the whole input where there is nothing else.
        """
        told = [message for message in self.input if message.role in ("user", "assistant")]
        return _spoken(told or self.input)


def _spoken(messages: Sequence[InputMessage]) -> str:
    if len(messages) == 1:
        return messages[0].words()
    return "\n\n".join(f"{message.role}: {message.words()}" for message in messages)


class _Given(BaseModel):
    """Other services add members of their own to what they give (vLLM: ``label_mass``)."""


class _Answer(_Given):
    name: str | None = Field(description="of the question; null where it had none")


class PredicateAnswer(_Answer):
    """How probable a condition is."""

    type: Literal["predicate"] = "predicate"
    probability: float = Field(ge=0, le=1)


class ValueProbability(_Given):
    """How probable an option is."""

    value: str | bool
    probability: float = Field(ge=0, le=1)


class ChoiceAnswer(_Answer):
    """The likeliest option, and how probable each is."""

    type: Literal["choice"] = "choice"
    choice: str | bool
    confidence: float = Field(ge=0, le=1, description="0 where all options are as probable, 1 where one is certain")
    probabilities: list[ValueProbability] = Field(description="in the order of the options; they sum to 1")


class LevelProbability(_Given):
    """How probable a level is."""

    label: str
    value: int = Field(description="its place in the scale, from 0")
    probability: float = Field(ge=0, le=1)


class ScoreAnswer(_Answer):
    """The expected place in the scale, and how probable each level is."""

    type: Literal["score"] = "score"
    score: float = Field(description="mean of the levels' places, from 0, each weighed by its probability")
    confidence: float = Field(ge=0, le=1, description="0 where all levels are as probable, 1 where one is certain")
    probabilities: list[LevelProbability]


class RefusalAnswer(_Answer):
    """The model gave no answer to this question, but to others."""

    type: Literal["refusal"] = "refusal"


Answer = Annotated[PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer, Field(discriminator="type")]


class InputTokensDetails(_Given):
    """Of the tokens read."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(_Given):
    """Of the tokens written."""

    reasoning_tokens: int = 0


class DecisionUsage(_Given):
    """Tokens that the answers took; none where they were remembered or no language model was asked."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, used: Usage) -> DecisionUsage:
        """The same in the API's shape."""
        return cls(
            input_tokens=used.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=used.cached_tokens),
            output_tokens=used.completion_tokens,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=used.prompt_tokens + used.completion_tokens,
        )


class DecisionAnswer(_Given):
    """Answer of ``POST /v1/decisions``."""

    model: str = Field(description="who answered")
    answers: list[Answer] = Field(description="in the order of the questions")
    usage: DecisionUsage

    def body(self) -> Mapping[str, Any]:
        """The members to send."""
        return self.model_dump()
