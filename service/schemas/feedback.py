"""Request and response bodies of the routes of feedback."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from marquee.feedback.entries import FeedbackEntry, FeedbackKind
from prompts.taxonomy_file import LabelName
from service.schemas.classify import TextFields
from service.schemas.label_fields import WHOLE, LabelFields

_MOST_LABELS = 1_000


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_fields(value: Any) -> Any:
    return {"taxonomy": value} if isinstance(value, str) else value


class FeedbackTaxonomy(LabelFields):
    """The taxonomy of feedback: fields as in ``POST /classify``, with ``taxonomy`` or ``labels``."""

    @model_validator(mode="after")
    def _is_one_taxonomy(self) -> FeedbackTaxonomy:
        if self.labels is not None and self.taxonomy is not None:
            raise ValueError("send either labels or taxonomy, not both")
        return self


class FeedbackRequest(TextFields):
    """Body of ``POST /feedback``: the right labels of an earlier answer, or of a text."""

    request_id: str | None = Field(
        None, min_length=1, max_length=128, description="X-Request-ID of the answer; in place of a text"
    )
    review: str | None = Field(
        None, min_length=1, max_length=1_000, description="id of a text of GET /review/texts; in place of a text"
    )
    index: Annotated[int, Field(ge=0), WHOLE] = Field(0, description="place of the text in texts of that request")
    labels: Annotated[list[LabelName], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(
        max_length=_MOST_LABELS, description="the right labels, all of them; those of the answer confirm it"
    )
    taxonomy: (
        Annotated[FeedbackTaxonomy, BeforeValidator(_as_fields, json_schema_input_type=str | FeedbackTaxonomy)] | None
    ) = Field(
        None,
        description="of a text: a name, or an object with labels and the other fields of POST /classify; by default "
        "that of the service. Of an answer: its name, where the request had several taxonomies",
    )

    @model_validator(mode="after")
    def _is_one_way(self) -> FeedbackRequest:
        if self.request_id is None and "index" in self.model_fields_set:
            raise ValueError("index is a place in the texts of an answer; send request_id with it")
        ids = [name for name in ("request_id", "review") if getattr(self, name) is not None]
        if len(names := [*ids, *(self.sent_names() if ids else ())]) > 1:
            raise ValueError(f"send either {names[0]} or {names[1]}, not both")
        if self.review is not None and self.taxonomy is not None:
            raise ValueError("the review file has the taxonomy; leave taxonomy out")
        if self.request_id is not None and self.taxonomy is not None and self.taxonomy.taxonomy is None:
            raise ValueError("the labels of an answer are recorded; send only the name of its taxonomy with request_id")
        return self


class FeedbackAnswer(BaseModel):
    """Answer of ``POST /feedback``: what is stored."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(description="for DELETE /feedback/{id}")
    kind: FeedbackKind = Field(
        description="confirmed: the labels are those of the answer; corrected: they are others; labelled: no answer "
        "for the text is recorded"
    )
    labels: list[str] = Field(description="the right labels, in the spelling of the taxonomy")
    answered: list[str] | None = Field(description="the labels of the answer; null where none is recorded")
    taxonomy: str = Field(description="name and digest of the taxonomy")
    text_digest: str = Field(description="SHA-256 of the text, for DELETE /feedback/texts/{digest}")
    text_stored: bool = Field(description="whether the text is stored; otherwise only its digest")

    @classmethod
    def of(cls, entry: FeedbackEntry) -> FeedbackAnswer:
        """The answer about a stored entry."""
        return cls(
            id=entry.id,
            kind=entry.kind,
            labels=list(entry.labels),
            answered=list(entry.answer.labels) if entry.answer else None,
            taxonomy=entry.taxonomy.versioned_name,
            text_digest=entry.digest,
            text_stored=entry.text is not None,
        )


class DeletionAnswer(BaseModel):
    """Answer of the routes that delete feedback."""

    model_config = ConfigDict(extra="forbid")
    deleted: int = Field(description="number of deleted entries; 0 where this key has none such")
