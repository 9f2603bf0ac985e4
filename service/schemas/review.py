"""Response body of ``GET /review/texts``."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from llm.classifier import ScoreType
from marquee.review.review_file import Review, ReviewText


class _ReviewPart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReviewLabel(_ReviewPart):
    """A label that a text may get."""

    name: str
    description: str = Field(description="empty where there is none")


class ReviewEntry(_ReviewPart):
    """A text to label."""

    id: str = Field(description="for review of POST /feedback")
    title: str
    text: str
    suggested: list[str] = Field(description="labels of the answer")
    scores: dict[str, float] = Field(description="score by label; empty where the answer has none")
    score_type: ScoreType | None
    model: str = Field(description="what answered")
    why: str = Field(description="why the text was picked")
    labels: list[str] | None = Field(description="the right labels of the newest feedback; null without feedback")

    @classmethod
    def of(cls, one: ReviewText, labels: tuple[str, ...] | None) -> ReviewEntry:
        """The entry of a text."""
        answer = one.answer
        return cls(
            id=one.id, title=one.text.title, text=one.text.body, suggested=list(answer.labels),
            scores=dict(answer.scores), score_type=answer.score_type,
            model=answer.source.model, why=one.why, labels=None if labels is None else list(labels),
        )  # fmt: skip


class ReviewAnswer(_ReviewPart):
    """Answer of ``GET /review/texts``."""

    taxonomy: str = Field(description="name and digest of the taxonomy")
    max_labels: int = Field(description="maximum number of labels of a text")
    allow_none: bool = Field(description="whether a text may have no label")
    labels: list[ReviewLabel]
    texts: list[ReviewEntry] = Field(description="in the order in which they were picked")

    @classmethod
    def of(cls, review: Review, right: Mapping[str, tuple[str, ...]]) -> ReviewAnswer:
        """The answer; ``right`` has right labels by the digest of the text."""
        taxonomy = review.taxonomy
        labels = [ReviewLabel(name=name, description=review.descriptions.get(name, "")) for name in taxonomy.names]
        return cls(
            taxonomy=taxonomy.versioned_name,
            max_labels=taxonomy.max_labels,
            allow_none=bool(taxonomy.allow_none),
            labels=labels,
            texts=[ReviewEntry.of(one, right.get(one.answer.digest)) for one in review.texts],
        )
