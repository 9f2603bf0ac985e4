"""Parts of an answer of ``/classify`` that most answers do not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, Field

from llm.classifier import Evidence, EvidenceKind, Prediction
from llm.spending.costs import cost
from prompts.taxonomy import AllowNone

WARNINGS = "why the answer may be wrong, such as the text's language; left out where there is no reason"


class ItemProblem(BaseModel):
    """Why a text of a batch has no answer; members as in RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class EvidenceAnswer(BaseModel):
    """A passage of the text that supports a label."""

    label: str
    kind: EvidenceKind = Field(
        description="sentence: its removal lowers the score most; word: it raises the score by itself; "
        "occlusion: a word whose removal lowers the score; quote: by a language model, and checked to be in the text"
    )
    quote: str = Field(description="the passage: exactly the characters from start to end")
    start: int = Field(description="place of its first character (code point) in the text as it was sent")
    end: int = Field(description="place behind its last character")
    contribution: float | None = Field(
        description="log-odds that it adds to the score; of kind word, all its occurrences together; null for a quote"
    )
    field: Literal["text", "title"] = Field(description="whether the places are those of the text or of its title")

    @classmethod
    def each(cls, evidence: Sequence[Evidence]) -> list[EvidenceAnswer]:
        """The evidence of a prediction."""
        return [cls(**asdict(one)) for one in evidence]


class TokenUsage(BaseModel):
    """Tokens of the language model that an answer took; none where it was cached."""

    prompt_tokens: int
    cached_tokens: int = Field(description="part of the prompt that the endpoint had in its prefix cache")
    completion_tokens: int
    cost_usd: float | None = Field(description="where the model's price is known; see llm/spending/prices.yaml")

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


class AppliedOptions(BaseModel):
    """The form of an answer, and the options that had an effect on it."""

    multi: bool = Field(description="whether the text could have several labels")
    max_labels: int
    allow_none: AllowNone = Field(description="whether an answer without labels was allowed")
    threshold: float | None = Field(None, description="minimum score of a label")
    top_k: int | None = Field(None, description="maximum number of labels and of scores")
    instructions: bool | None = Field(None, description="whether the model read the instructions of the request")
    examples: int | None = Field(None, description="number of the request's examples that the model read")
