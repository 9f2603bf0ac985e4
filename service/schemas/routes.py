"""Request and response bodies of the other routes: ``POST /similar``, and routes without a request body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llm.classifier import LabelsOffered
from prompts.taxonomy import AllowNone
from service.schemas.classify import TextFields
from service.schemas.label_fields import ALLOW_NONE, WHOLE
from similarity.index.catalog import Film, SearchFilter
from similarity.index.search import Query, SearchResult


def _as_id(value: Any) -> Any:
    """Accept numbers as ids: 862 and 862.0 are "862"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


FilmId = Annotated[str, BeforeValidator(_as_id, json_schema_input_type=str | int)]
_Year = Annotated[int, Field(ge=0, le=9999), WHOLE]


class SimilarRequest(TextFields):
    """Body of ``POST /similar``."""

    title: str | None = Field(None, description="title of the text; without a text, title of a film of the index")
    id: FilmId | None = Field(None, description="id of a film of the index, in place of a text")
    k: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(10, description="number of films")
    genres: list[str] = Field([], max_length=100, description="only films with at least one of these genres")
    year_from: _Year | None = Field(None, description="only films from this year on")
    year_to: _Year | None = Field(None, description="only films up to this year")

    @model_validator(mode="after")
    def _is_one_query(self) -> SimilarRequest:
        if self.id is not None and (names := self.sent_names()):
            raise ValueError(f"send either id or {names[0]}, not both")
        if self.year_from is not None and self.year_to is not None and self.year_from > self.year_to:
            raise ValueError(f"year_from {self.year_from} is after year_to {self.year_to}; no film can be between them")
        return self

    def query(self) -> Query:
        """The search query."""
        text = self.to_text()
        filters = SearchFilter(tuple(dict.fromkeys(self.genres)), self.year_from, self.year_to)
        return Query(text.body, text.title, self.id, self.k, filters)


class SimilarFilm(BaseModel):
    """A film of the index."""

    id: str
    title: str
    year: int | None
    genres: list[str]

    @classmethod
    def of(cls, film: Film, **more: Any) -> Self:
        """The film in a response."""
        return cls(id=film.id, title=film.title, year=film.year, genres=list(film.genres), **more)


class ScoredFilm(SimilarFilm):
    """A similar film."""

    score: float = Field(description="cosine similarity with the query; 1: identical")


class IndexFacts(BaseModel):
    """The index that was searched."""

    version: str = Field(description="changes with every update of the index")
    films: int
    kind: str = Field(description="flat (exact), hnsw, ivf or ivfpq")


class SimilarAnswer(BaseModel):
    """Answer of ``POST /similar``."""

    films: list[ScoredFilm] = Field(description="best first; the query film and its duplicates are excluded")
    query_film: SimilarFilm | None = Field(None, description="the film, where the query is one of the index")
    model: str = Field(description="name of the encoder")
    index: IndexFacts

    @classmethod
    def from_result(cls, result: SearchResult, model: str) -> SimilarAnswer:
        """The answer of a search result."""
        manifest = result.version.manifest
        return cls(
            films=[ScoredFilm.of(match.film, score=round(match.score, 4)) for match in result.matches],
            query_film=SimilarFilm.of(result.query_film) if result.query_film else None,
            model=model,
            index=IndexFacts(version=result.version.name, films=manifest.count, kind=manifest.kind),
        )

    def body(self) -> Mapping[str, Any]:
        """The members to send."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def as_text(self) -> str:
        """One line per film."""
        lines = [f"{film.score:.3f}  {_line(film)}" for film in self.films] or ["no film"]
        return "\n".join(([f"like {_line(self.query_film)}:"] if self.query_film else []) + lines)


def _line(film: SimilarFilm) -> str:
    year = f" ({film.year})" if film.year is not None else ""
    return f"{film.title or film.id}{year}  {', '.join(film.genres)}".rstrip()


class _RouteAnswer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromptMessage(_RouteAnswer):
    """One message of a conversation with a language model."""

    role: Literal["system", "user"]
    content: str


class PromptStep(_RouteAnswer):
    """One step of a descent through a hierarchy."""

    below: str = Field(description="the label above those in the prompt; empty at the top")
    labels: int = Field(description="number of labels in the prompt")


class PromptAnswer(_RouteAnswer):
    """The messages that a language model receives for a text."""

    prompt: str = Field(description="name and digest of the prompt")
    strategy: str = Field(description="how labels are obtained from the model")
    sent: bool = Field(description="false where the service has no language model, so nothing is sent")
    requests: int = Field(description="number of requests per text; yes_no sends one per label")
    prompt_tokens: int = Field(description="of all requests, roughly: four characters each")
    shortlist: LabelsOffered | None = Field(None, description="labels in the prompts, where some are left out")
    steps: list[PromptStep] | None = Field(
        None,
        description="of a descent through a hierarchy; after the first step, answers of the embedded classifier take "
        "the place of the model's",
    )
    messages: list[PromptMessage] = Field(description="of the first request")


class LabelAnswer(_RouteAnswer):
    """One label of a taxonomy."""

    name: str
    description: str
    aliases: list[str] = Field(description="other spellings of the same label")
    predict: bool = Field(description="false: the label is never predicted")


class TaxonomyAnswer(_RouteAnswer):
    """A taxonomy."""

    name: str
    digest: str = Field(description="changes with any part of the taxonomy")
    labels: list[LabelAnswer]
    multi: bool = Field(description="whether a text may have several labels")
    max_labels: int
    subject: str = Field(description="kind of thing that is labelled")
    attribute: str = Field(description="what the labels say about it; prompts name it")
    allow_none: AllowNone = Field(description=ALLOW_NONE)
    level: int | None = Field(
        None, description="of a hierarchy, whose labels are paths: the deepest level of an answer"
    )
    leaves_only: bool | None = Field(None, description="of a hierarchy: whether an answer has no inner labels")


class TaxonomiesAnswer(_RouteAnswer):
    """The taxonomies that requests may name."""

    default: str = Field(description="taxonomy of requests that name none")
    taxonomies: list[TaxonomyAnswer]
    skipped: list[str] = Field(description="errors of files that cannot be used as they are now")


class PromptEntry(_RouteAnswer):
    """A prompt."""

    name: str
    digest: str
    about: str
    source: str = Field(description="the template itself")


class PromptsAnswer(_RouteAnswer):
    """The prompts that requests may name."""

    prompts: list[PromptEntry]
    skipped: list[str] = Field(description="errors of files that cannot be used as they are now")


class HealthAnswer(_RouteAnswer):
    """The process is alive."""

    status: Literal["ok"]
    skipped: list[str] | None = Field(
        None, description="errors of files of taxonomies and prompts that cannot be used as they are now"
    )


class ReadyAnswer(_RouteAnswer):
    """The service can answer."""

    status: Literal["ready"]
    model: str = Field(description="name of the model")


class ProblemType(_RouteAnswer):
    """Explanation of an error's ``type``."""

    type: str
    status: int
    title: str
    meaning: str = Field(description="what happened")
    causes: list[str] = Field(description="usual causes, the most frequent first")
    remedies: list[str] = Field(description="what to do, in this order")


class OpenAIError(_RouteAnswer):
    """The error in the shape of OpenAI's API."""

    message: str
    type: str
    param: str | None
    code: str


class ProblemDocument(_RouteAnswer):
    """Why a request has no answer (RFC 9457)."""

    type: str = Field(description="path of the page that explains this error; its last part is the error's name")
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do")
    field: str | None = Field(None, description="the field of the body that is wrong, where it is one field")
    error: OpenAIError | None = Field(None, description="the same in OpenAI's shape, under /v1")


class IndexAnswer(_RouteAnswer):
    """The routes of the service."""

    service: str
    answers: str = Field(description="name of the model")
    routes: dict[str, str]


class ModelEntry(_RouteAnswer):
    """A model name that requests may use."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="start of this process in seconds since 1970")
    owned_by: str = "marquee"


class ModelMetadata(_RouteAnswer):
    """The same in TypeSafe's shape."""

    name: str
    description: str = "answers typed questions at /v1/decisions and /v1/systemone"
    release_date: str = Field(description="day on which this process started, as YYYY-MM-DD")


class ModelsAnswer(_RouteAnswer):
    """Answer of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
    models: list[ModelMetadata]


class VersionAnswer(_RouteAnswer):
    """Answer of ``GET /version``."""

    name: Literal["marquee"]
    version: str = Field(description="of this program")
    model: str = Field(description="name of the model that answers requests without options")
    strategy: str | None = Field(
        description="strategy of the language model, auto: chosen by taxonomy and endpoint; null: no language model"
    )
