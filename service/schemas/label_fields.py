"""Fields of a request that choose labels, and how an answer is made of them; unknown fields are errors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from llm.classifier import ScoreType
from marquee.answer_options import AnswerOptions, resolved_examples
from marquee.factory import RequestOptions
from prompts.taxonomy import AllowNone, Taxonomy
from prompts.taxonomy_file import LabelAttribute, LabelDescription, LabelName, LabelOrName
from prompts.template import FewShotExample
from prompts.text import Text

# For every whole number of a request: 862 for 862.0, because JSON has one type of number.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
ALLOW_NONE = 'whether an answer without labels is allowed; "out_of_scope": only where a text is clearly about no label'
_MAX_EXAMPLES = 64


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class LabelFields(BaseModel):
    """A taxonomy, by name or as labels of your own, and the form of an answer from it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    taxonomy: str | None = Field(None, description="name of a taxonomy; see GET /taxonomies")
    labels: list[LabelOrName] | None = Field(
        None,
        min_length=1,
        description="a taxonomy of your own: names, or objects with name, description, aliases, parent, children",
    )
    multi: bool | None = Field(
        None, description="whether a text may have several labels; with labels, false unless max_labels is above 1"
    )
    max_labels: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="maximum number of labels per text")
    allow_none: AllowNone | None = Field(None, description=ALLOW_NONE)
    level: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="of a hierarchy: answer with labels of this level, 1 for the top, instead of the leaves"
    )
    leaves_only: bool | None = Field(
        None, description="of a hierarchy; false: an answer may be an inner label, where none of its children fits"
    )
    attribute: LabelAttribute | None = Field(
        None, description="what the labels say about a text, in a word or two for a prompt: genre, topic, intent"
    )


class ExampleEntry(BaseModel):
    """A few-shot example for a language model: a text and its labels."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str = Field(min_length=1, description="the text of the example")
    title: str = Field("", description="title of the text")
    labels: Annotated[list[LabelName], BeforeValidator(_as_list, json_schema_input_type=str | list[str])] = Field(
        description="a label, or a list, the best one first"
    )
    explanation: LabelDescription = Field("", description="why it has these labels; the model reads it")

    def example(self) -> FewShotExample:
        """The ``FewShotExample`` of this entry."""
        return FewShotExample(Text(self.text, self.title), tuple(self.labels), self.explanation.strip())


# The fields that an answer reports under ``applied``.
REPORTED = frozenset("labels multi max_labels allow_none threshold top_k score_type instructions examples".split())


class AnswerFields(LabelFields):
    """The same, and options of an answer."""

    threshold: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None, description="minimum score of a label; without allow_none: false, an answer may then have no label"
    )
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="maximum number of labels and of scores, the best ones"
    )
    score_type: ScoreType | None = Field(
        None, description="meaning of the scores; similarity: the embedded classifier compares vectors only"
    )
    instructions: LabelDescription | None = Field(
        None, description="further instructions for a language model, in your own words"
    )
    examples: list[ExampleEntry] | None = Field(
        None, max_length=_MAX_EXAMPLES, description="few-shot examples for a language model"
    )


class TaxonomyEntry(AnswerFields):
    """One of several taxonomies of a request, with options of its own."""

    name: LabelName | None = Field(None, description="name of its answer; by default that of the taxonomy, or custom")

    @property
    def known_as(self) -> str:
        """The name of its answer."""
        return self.name or self.taxonomy or "custom"


def _as_entry(value: Any) -> Any:
    return {"taxonomy": value} if isinstance(value, str) else value


TaxonomyOrName = Annotated[TaxonomyEntry, BeforeValidator(_as_entry, json_schema_input_type=str | TaxonomyEntry)]


def check_taxonomies(entries: Sequence[TaxonomyEntry], sent: Set[str]) -> None:
    """Refuse entries without labels or with equal names, and fields of the request that belong into an entry."""
    for place, entry in enumerate(entries):
        if (entry.labels is None) == (entry.taxonomy is None):
            raise ValueError(f"taxonomies.{place} needs either taxonomy or labels")
    names = [entry.known_as for entry in entries]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two of the taxonomies are called {repeated!r}; give each another name")
    if inside := next((name for name in (*LabelFields.model_fields, "examples") if name in sent), None):
        raise ValueError(f"send {inside} in the entries of taxonomies, not beside them")


def chosen_options(fields: AnswerFields, options: RequestOptions, taxonomy: Taxonomy) -> RequestOptions:
    """The options with the instructions, examples and type of scores of these fields.

    Raises:
        InvalidExamples: an example has a label that is not in the taxonomy.
    """
    examples = resolved_examples((entry.example() for entry in fields.examples or ()), taxonomy)
    instructions = (fields.instructions or "").strip()
    return replace(options, instructions=instructions, examples=examples, score_type=fields.score_type)


def answer_options(fields: AnswerFields, scores: bool) -> AnswerOptions:
    """The options of a finished answer; ``scores``: whether the request requires scores."""
    return AnswerOptions(fields.threshold, fields.top_k, fields.score_type, fields.allow_none is False, scores)
