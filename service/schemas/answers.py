"""Parts of ``/classify`` answers, and the response bodies of routes without a request body."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llm.classifier import Prediction
from llm.costs import cost


class ItemProblem(BaseModel):
    """Why a text of a batch has no answer; members as in RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class TokenUsage(BaseModel):
    """Tokens of the language model that an answer took; none where it was cached."""

    prompt_tokens: int
    cached_tokens: int = Field(description="part of the prompt that the endpoint had in its prefix cache")
    completion_tokens: int
    cost_usd: float | None = Field(description="where the model's price is known; see llm/prices.yaml")

    @classmethod
    def of(cls, prediction: Prediction) -> TokenUsage:
        """The tokens of a prediction and their cost."""
        usage = prediction.usage
        return cls(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=cost(prediction.source.model, usage),
        )


class LookupTried(BaseModel):
    """A provider that has no text for a title."""

    provider: str
    kind: str = Field(
        description="not_found, no_plot, ambiguous, no_key, refused, unreachable, busy, unreadable or timeout"
    )
    detail: str


class LookupAnswer(BaseModel):
    """Result of looking a title up."""

    found: bool = Field(description="true: the labels are those of the text that was found; false: of the title alone")
    note: str = Field(description="the result in words")
    provider: str | None = Field(None, description="the provider of the text")
    title: str | None = Field(None, description="as the provider spells it")
    year: int | None = None
    id: str | None = Field(None, description="the provider's id of the film")
    url: str | None = Field(None, description="the provider's page of the film")
    text_from: str | None = Field(None, description="which of the provider's texts was classified")
    known_genres: list[str] | None = Field(None, description="the provider's genres; they do not change the labels")
    same_title: int | None = Field(None, description="number of films with this title; the best known one was used")
    cached: bool | None = Field(None, description="whether the provider's answer was cached")
    tried: list[LookupTried] = Field([], description="providers without a text, and why")


class _ReferenceAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromptMessage(_ReferenceAnswer):
    """One message of a conversation with a language model."""

    role: Literal["system", "user"]
    content: str


class PromptAnswer(_ReferenceAnswer):
    """The messages that a language model receives for a text."""

    prompt: str = Field(description="name and digest of the prompt")
    strategy: str = Field(description="how labels are obtained from the model")
    sent: bool = Field(description="false where the service has no language model, so nothing is sent")
    requests: int = Field(description="number of requests per text; yes_no sends one per label")
    messages: list[PromptMessage] = Field(description="of the first request")


class LabelAnswer(_ReferenceAnswer):
    """One label of a taxonomy."""

    name: str
    description: str
    aliases: list[str] = Field(description="other spellings of the same label")
    predict: bool = Field(description="false: the label is never predicted")


class TaxonomyAnswer(_ReferenceAnswer):
    """A taxonomy."""

    name: str
    digest: str = Field(description="changes with any part of the taxonomy")
    labels: list[LabelAnswer]
    multi: bool = Field(description="whether a text may have several labels")
    max_labels: int
    subject: str = Field(description="kind of thing that is labelled")
    allow_none: bool = Field(description="whether an answer without labels is allowed")


class TaxonomiesAnswer(_ReferenceAnswer):
    """The taxonomies that requests may name."""

    default: str = Field(description="taxonomy of requests that name none")
    taxonomies: list[TaxonomyAnswer]


class PromptEntry(_ReferenceAnswer):
    """A prompt."""

    name: str
    digest: str
    about: str
    source: str = Field(description="the template itself")


class PromptsAnswer(_ReferenceAnswer):
    """The prompts that requests may name."""

    prompts: list[PromptEntry]


class HealthAnswer(_ReferenceAnswer):
    """The process is alive."""

    status: Literal["ok"]


class ReadyAnswer(_ReferenceAnswer):
    """The service can answer."""

    status: Literal["ready"]
    model: str = Field(description="name of the model")


class ProblemType(_ReferenceAnswer):
    """Explanation of an error's ``type``."""

    type: str
    status: int
    title: str
    meaning: str = Field(description="what happened")
    causes: list[str] = Field(description="usual causes, the most frequent first")
    remedies: list[str] = Field(description="what to do, in this order")


class OpenAIError(_ReferenceAnswer):
    """The error in the shape of OpenAI's API."""

    message: str
    type: str
    param: str | None
    code: str


class ProblemDocument(_ReferenceAnswer):
    """Why a request has no answer (RFC 9457)."""

    type: str = Field(description="path of the page that explains this error; its last part is the error's name")
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do")
    field: str | None = Field(None, description="the field of the body that is wrong, where it is one field")
    error: OpenAIError | None = Field(None, description="the same in OpenAI's shape, under /v1")


class IndexAnswer(_ReferenceAnswer):
    """The routes of the service."""

    service: str
    answers: str = Field(description="name of the model")
    routes: dict[str, str]


class ModelEntry(_ReferenceAnswer):
    """A model name that requests may use."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="start of this process in seconds since 1970")
    owned_by: str = "marquee"


class ModelsAnswer(_ReferenceAnswer):
    """Answer of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class VersionAnswer(_ReferenceAnswer):
    """Answer of ``GET /version``."""

    name: Literal["marquee"]
    version: str = Field(description="of this program")
    model: str = Field(description="name of the model that answers requests without options")
