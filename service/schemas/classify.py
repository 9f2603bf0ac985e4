"""What a request may hold and what an answer holds, as pydantic models; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from llm.classifier import Prediction, ScoreType, Usage
from llm.costs import cost
from llm.strategies import registry as strategies
from marquee.client import SLUGS
from marquee.factory import RequestOptions
from prompts import registry
from prompts.faults import fault_of, shown
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.request_problem import problem_body

TEXT_NAMES = ("text", "description", "overview")
FILM = "film"  # subject of the taxonomies of genres


class TextFields(BaseModel):
    """A text under one of its names, a title, or both."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str | None = Field(None, description="the text to label")
    description: str | None = Field(None, description="the same, as IMDb calls it")
    overview: str | None = Field(None, description="the same, as TMDB calls it")
    title: str | None = Field(None, description="title of what the text describes; may stand alone")
    _fault: str = PrivateAttr("")

    def given(self) -> Text:
        """The text itself."""
        bodies = [body for name in TEXT_NAMES if (body := getattr(self, name)) is not None]
        return Text(bodies[0] if bodies else "", self.title or "", self._fault)

    @model_validator(mode="after")
    def _is_one_text(self) -> TextFields:
        named = [name for name in TEXT_NAMES if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are names of the same field; give one")
        return self


def _as_fields(value: Any) -> Any:
    if not isinstance(value, str | Mapping | FilmFields):
        raise ValueError(f"{shown(value) or 'this'} is no text; give a string, or an object with text and title")
    return {"text": value} if isinstance(value, str) else value


def _or_fault(value: Any, handler: ValidatorFunctionWrapHandler) -> FilmFields:
    """Replace an entry that is not a text by a text with a fault: only that entry fails.

    An unknown key fails the request, because it is the same in every entry.
    """
    try:
        fields: FilmFields = handler(value)
        return fields
    except ValidationError as error:
        if any(one["type"] == "extra_forbidden" for one in error.errors()):
            raise
        fields = FilmFields()
        fields._fault = str(fault_of(error, FilmFields, value, whole="the text"))
        return fields


def _whole(value: Any) -> Any:
    """862.0 is 862: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # for every whole number of a request


class FilmFields(TextFields):
    """The same, and the year of the film that it is about."""

    year: Annotated[int, Field(ge=1870, le=2100), WHOLE] | None = Field(
        None, description="of the film, for lookup to tell namesakes apart"
    )


# As models they have one form; a bare string may stand for either.
TextEntry = Annotated[
    FilmFields,
    BeforeValidator(_as_fields, json_schema_input_type=str | FilmFields),
    WrapValidator(_or_fault, json_schema_input_type=str | FilmFields),
]


class ClassifyRequest(FilmFields):
    """Body of ``POST /classify``."""

    texts: list[TextEntry] | None = Field(
        None, min_length=1, description="several texts at once: strings, or objects with the fields of one text"
    )
    taxonomy: str | None = Field(None, description="name of a taxonomy; see GET /taxonomies")
    labels: list[registry.LabelOrName] | None = Field(
        None, min_length=1, description="a taxonomy of your own: names, or objects with name, description, aliases"
    )
    multi: bool | None = Field(None, description="whether a text may have several labels")
    max_labels: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="the most labels of one answer")
    allow_none: bool | None = Field(None, description="whether 'none of them' is an answer")
    prompt: str | None = Field(None, description="name of a prompt; see GET /prompts")
    strategy: str | None = Field(
        None, description="auto, json_list, label_tokens, yes_no or decisions_api: how a model is read"
    )
    scores: bool = Field(False, description="add a score per label, where the model gives scores")
    cache: bool = Field(True, description="false asks anew, whatever is remembered")
    lookup: bool = Field(False, description="look titles without a text up at the providers of the settings")

    @model_validator(mode="after")
    def _is_one_request(self) -> ClassifyRequest:
        single = [name for name in (*TEXT_NAMES, "title") if getattr(self, name) is not None]
        if self.texts is not None and single:
            raise ValueError(f"give either texts or {single[0]}, not both")
        if self.labels is not None and self.taxonomy is not None:
            raise ValueError("give either labels or taxonomy, not both")
        if not self.lookup and any(fields.year is not None for fields in (self, *(self.texts or ()))):
            raise ValueError('year tells films apart for the look-up; send "lookup": true with it')
        if self.texts is not None and self.year is not None:
            raise ValueError("give every text of texts its own year")
        return self

    def years(self) -> list[int | None]:
        """The year of each text, where given."""
        return [self.year] if self.texts is None else [fields.year for fields in self.texts]

    def all_texts(self) -> list[Text]:
        """The texts to label, one or many."""
        return [self.given()] if self.texts is None else [fields.given() for fields in self.texts]

    def asks_for_genres(self, taxonomy: Taxonomy) -> bool:
        """Whether the answer has ``genres``.

        Labels of films have it; a ``description`` without a taxonomy always gets it, whatever the default taxonomy is.
        """
        plain = self.description is not None and self.taxonomy is None and self.labels is None
        return plain or taxonomy.subject == FILM

    def choice(self) -> RequestOptions:
        """What the request chooses about who answers.

        Raises:
            UnknownName: there is no such prompt or strategy.
        """
        prompt = registry.prompt(self.prompt) if self.prompt is not None else None
        if self.strategy is not None:
            strategies.named(self.strategy)  # a misspelt one is an error of whoever asks, whoever answers
        return RequestOptions(prompt, self.strategy, self.cache)

    def vocabulary(self, default: str) -> Taxonomy:
        """The taxonomy asked for: the request's own, a named one, or the default, in the shape asked for.

        Raises:
            UnknownName: the named one does not exist.
            InvalidTaxonomy: the request's own labels break a rule.
        """
        if self.labels is not None:
            labels = [entry.label() for entry in self.labels]
            multi = self.multi is not False
            return Taxonomy.of(labels, multi=multi, max_labels=self.max_labels, allow_none=self.allow_none)
        return registry.taxonomy(self.taxonomy or default).shaped(self.multi, self.max_labels, self.allow_none)


class PromptRequest(ClassifyRequest):
    """Body of ``POST /prompt``: as for ``POST /classify``, with one text."""

    texts: None = Field(None, description="not here: one text at a time")


class ItemProblem(BaseModel):
    """Why a text of a batch has no answer; members as in RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class TokenUsage(BaseModel):
    """Tokens that an answer took; none where it was remembered."""

    prompt_tokens: int
    cached_tokens: int = Field(description="part of the prompt that the endpoint had computed before")
    completion_tokens: int
    cost_usd: float | None = Field(description="where the model's price is known; see llm/prices.yaml")


class LookupTried(BaseModel):
    """A provider that told nothing about a title."""

    provider: str
    kind: str = Field(
        description="not_found, no_plot, ambiguous, no_key, refused, unreachable, busy, unreadable or timeout"
    )
    detail: str


class LookupAnswer(BaseModel):
    """What looking a title up came to."""

    found: bool = Field(description="whether the answer rests on a text that was found; else on the title alone")
    note: str = Field(description="the same in words")
    provider: str | None = Field(None, description="who told")
    title: str | None = Field(None, description="as the provider spells it")
    year: int | None = None
    id: str | None = Field(None, description="the provider's own")
    url: str | None = Field(None, description="page of the film there")
    text_from: str | None = Field(None, description="which of the provider's texts was read")
    known_genres: list[str] | None = Field(None, description="as the provider names them; no part of the labels")
    same_title: int | None = Field(None, description="how many films could be meant; the best known was taken")
    remembered: bool | None = Field(None, description="whether the provider had been asked before")
    tried: list[LookupTried] = Field([], description="providers that told nothing, and why")


class ClassifyAnswer(BaseModel):
    """Answer for one text."""

    genres: list[str] | None = Field(
        None, description="the labels again, where they are genres of films, and from POST /predict_genre"
    )
    labels: list[str] = Field(description="the labels; best first where there are scores, else in taxonomy order")
    scores: dict[str, float] | None = Field(None, description="score of each label that was scored, best first")
    score_type: ScoreType | None = Field(
        None,
        description="what the scores are: probability, each label's own; share, of one probability that the labels and "
        '"none" compete for; similarity, a cosine',
    )
    model: str = Field(description="who answered")
    prompt: str | None = Field(description="name and digest of the prompt, where one was used")
    strategy: str | None = Field(description="how the language model was read, where one was asked")
    taxonomy: str = Field(description="name and digest of the taxonomy")
    cached: bool = Field(description="whether the answer was remembered")
    dropped: int = Field(description="how many words of the model's answer were no labels of the taxonomy")
    usage: TokenUsage | None = Field(None, description="tokens taken, where a language model was asked")
    lookup: LookupAnswer | None = Field(None, description="what was looked up, where that was asked for")
    notes: list[str] | None = Field(None, description="fields of the request that had no effect, and why")
    problem: ItemProblem | None = Field(None, description="why this text of a batch has no answer")

    @classmethod
    def of(
        cls,
        prediction: Prediction,
        with_scores: bool,
        lookup: LookupAnswer | None = None,
        genres: bool = False,
        notes: Sequence[str] = (),
    ) -> ClassifyAnswer:
        """A prediction as the service shows it.

        Args:
            prediction: the answer for one text.
            with_scores: whether scores are shown.
            lookup: what was looked up.
            genres: whether the labels are shown under ``genres`` too.
            notes: what had no effect.
        """
        problem = prediction.problem
        return cls(
            genres=list(prediction.labels) if genres else None,
            labels=list(prediction.labels),
            scores=_best_first(prediction.scores) if with_scores and prediction.scores else None,
            score_type=prediction.score_type if with_scores and prediction.scores else None,
            model=prediction.source.model,
            prompt=prediction.source.prompt,
            strategy=prediction.source.strategy,
            taxonomy=prediction.source.taxonomy,
            cached=prediction.cached,
            dropped=len(prediction.dropped),
            usage=_usage(prediction),
            lookup=lookup,
            notes=list(notes) or None,
            problem=ItemProblem.model_validate(problem_body(SLUGS[problem.kind], problem.detail)) if problem else None,
        )

    def body(self) -> Mapping[str, Any]:
        """The members to send; scores, usage and problem only where there are any."""
        body = self.model_dump()
        if self.lookup:
            body["lookup"] = {name: value for name, value in body["lookup"].items() if value is not None}
        return {name: value for name, value in body.items() if value is not None or name in ("prompt", "strategy")}


def _best_first(scores: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))


def _usage(prediction: Prediction) -> TokenUsage | None:
    used = prediction.usage
    if used == Usage():
        return None
    return TokenUsage(
        prompt_tokens=used.prompt_tokens,
        cached_tokens=used.cached_tokens,
        completion_tokens=used.completion_tokens,
        cost_usd=cost(prediction.source.model, used),
    )
