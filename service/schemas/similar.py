"""What a question for similar films may hold and what its answer holds; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from service.schemas.classify import TEXT_NAMES, WHOLE, TextFields
from similarity.film import Film
from similarity.index.reloading import SearchFilter
from similarity.index.search import Query, SearchResult


def _as_id(value: Any) -> Any:
    """A number is an id too: 862 and 862.0 are "862"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


FilmId = Annotated[str, BeforeValidator(_as_id, json_schema_input_type=str | int)]


_Year = Annotated[int, Field(ge=0, le=9999), WHOLE]


class SimilarRequest(TextFields):
    """Body of ``POST /similar``."""

    title: str | None = Field(None, description="title of the text; alone, of a film of the catalogue")
    id: FilmId | None = Field(None, description="id of a film of the catalogue, in place of a text")
    k: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(10, description="how many films")
    genres: list[str] = Field([], max_length=100, description="only films that have one of these genres at least")
    year_from: _Year | None = Field(None, description="only films from this year on")
    year_to: _Year | None = Field(None, description="only films up to this year")

    @model_validator(mode="after")
    def _is_one_question(self) -> SimilarRequest:
        named = [name for name in (*TEXT_NAMES, "title") if getattr(self, name) is not None]
        if self.id is not None and named:
            raise ValueError(f"give either id or {named[0]}, not both")
        if self.year_from is not None and self.year_to is not None and self.year_from > self.year_to:
            raise ValueError(f"year_from {self.year_from} is after year_to {self.year_to}; no film can be between them")
        return self

    def query(self) -> Query:
        """The question itself."""
        text = self.given()
        wanted = SearchFilter(tuple(dict.fromkeys(self.genres)), self.year_from, self.year_to)
        return Query(text.body, text.title, self.id, self.k, wanted)


class SimilarFilm(BaseModel):
    """A film of the catalogue."""

    id: str
    title: str
    year: int | None
    genres: list[str]

    @classmethod
    def of(cls, film: Film, **more: Any) -> Self:
        """A film as the service shows it."""
        return cls(id=film.id, title=film.title, year=film.year, genres=list(film.genres), **more)


class ScoredFilm(SimilarFilm):
    """A film found."""

    score: float = Field(description="cosine with what was asked; 1 is the same")


class IndexFacts(BaseModel):
    """The index that was searched."""

    version: str = Field(description="changes whenever films are added")
    films: int
    kind: str = Field(description="flat (exact), hnsw, ivf or ivfpq")


class SimilarAnswer(BaseModel):
    """Answer of ``POST /similar``."""

    films: list[ScoredFilm] = Field(description="best first; neither the film asked about nor its duplicates")
    of: SimilarFilm | None = Field(None, description="the film of the catalogue that was meant, where one was")
    model: str = Field(description="who encoded")
    index: IndexFacts

    @classmethod
    def of_found(cls, found: SearchResult, model: str) -> SimilarAnswer:
        """What was found, as the service shows it."""
        manifest = found.version.manifest
        return cls(
            films=[ScoredFilm.of(match.film, score=round(match.score, 4)) for match in found.matches],
            of=SimilarFilm.of(found.query_film) if found.query_film else None,
            model=model,
            index=IndexFacts(version=found.version.name, films=manifest.count, kind=manifest.kind),
        )

    def body(self) -> Mapping[str, Any]:
        """The members to send."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def as_text(self) -> str:
        """A line a film."""
        lines = [f"{film.score:.3f}  {_line(film)}" for film in self.films] or ["no film"]
        return "\n".join(([f"like {_line(self.of)}:"] if self.of else []) + lines)


def _line(film: SimilarFilm) -> str:
    year = f" ({film.year})" if film.year is not None else ""
    return f"{film.title or film.id}{year}  {', '.join(film.genres)}".rstrip()
