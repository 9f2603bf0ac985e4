"""What the routes beside ``/classify`` answer, as pydantic models; ``/openapi.json`` is made from them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.classify import ClassifyAnswer


class _ReferenceAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BatchAnswer(_ReferenceAnswer):
    """Answers for the texts of a batch, in their order."""

    results: list[ClassifyAnswer]


class PromptMessage(_ReferenceAnswer):
    """One message of a conversation with a language model."""

    role: Literal["system", "user"]
    content: str


class PromptAnswer(_ReferenceAnswer):
    """The messages that a language model is sent for a text."""

    prompt: str = Field(description="name and digest of the prompt")
    strategy: str = Field(description="in which form the model is asked")
    sent: bool = Field(description="false where no language model is asked here, so that nothing is sent")
    requests: int = Field(description="how many requests of this kind one text takes; yes_no asks one per label")
    messages: list[PromptMessage] = Field(description="those of the first request")


class LabelAnswer(_ReferenceAnswer):
    """One label of a taxonomy."""

    name: str
    description: str
    aliases: list[str] = Field(description="other spellings of the same label")
    predict: bool = Field(description="false keeps the label out of every answer")


class TaxonomyAnswer(_ReferenceAnswer):
    """A taxonomy."""

    name: str
    digest: str = Field(description="changes whenever anything in the taxonomy does")
    labels: list[LabelAnswer]
    multi: bool = Field(description="whether a text may have several labels")
    max_labels: int
    subject: str = Field(description="what kind of thing is labelled")
    allow_none: bool = Field(description="whether 'none of them' is an answer")


class TaxonomiesAnswer(_ReferenceAnswer):
    """The taxonomies that requests may name."""

    default: str = Field(description="the one that is used where a request names none")
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
    """The process lives."""

    status: Literal["ok"]


class ReadyAnswer(_ReferenceAnswer):
    """The service can answer."""

    status: Literal["ready"]
    model: str = Field(description="who answers")


class ProblemType(_ReferenceAnswer):
    """What a problem's ``type`` means."""

    type: str
    status: int
    title: str
    meaning: str = Field(description="what happened")
    causes: list[str] = Field(description="what usually leads to it, the most frequent first")
    remedies: list[str] = Field(description="what to do, in the order in which to try it")


class OpenAIError(_ReferenceAnswer):
    """The same as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class ProblemDocument(_ReferenceAnswer):
    """Why a request has no answer (RFC 9457)."""

    type: str = Field(description="path of the route that explains this kind of error; its last part is the kind")
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do")
    field: str | None = Field(None, description="the field of the body that is at fault, where one is")
    error: OpenAIError | None = Field(None, description="the same in OpenAI's shape, under /v1")


class IndexAnswer(_ReferenceAnswer):
    """What can be asked here."""

    service: str
    answers: str = Field(description="who answers")
    routes: dict[str, str]


class ModelEntry(_ReferenceAnswer):
    """A model that may be named."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="seconds since 1970; when this process started")
    owned_by: str = "marquee"


class ModelsAnswer(_ReferenceAnswer):
    """Answer of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class VersionAnswer(_ReferenceAnswer):
    """Answer of ``GET /version``."""

    name: Literal["marquee"]
    version: str = Field(description="of this program")
    model: str = Field(description="the model that answers requests which choose none")
