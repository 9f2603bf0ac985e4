"""Response bodies of ``/classify`` for several texts or several taxonomies."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.schemas.classify import ClassifyAnswer


class TaxonomyAnswers(BaseModel):
    """Answers for one text under several taxonomies."""

    model_config = ConfigDict(extra="forbid")
    taxonomies: dict[str, ClassifyAnswer] = Field(description="the answer under each taxonomy, by its name")


class BatchAnswer(BaseModel):
    """Answers for the texts of a batch, in their order."""

    model_config = ConfigDict(extra="forbid")
    results: list[ClassifyAnswer | TaxonomyAnswers]
