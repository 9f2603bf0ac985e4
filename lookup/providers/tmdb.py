"""The Movie Database (TMDB): a search, then the film by id (API version 3, with either kind of key)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from lookup.film import Candidate, FilmQuery, FilmRecord, LookupFailure, best_match
from lookup.http_client import HTTPClient

NAME = "tmdb"
BASE_URL = "https://api.themoviedb.org/3"
_PAGE = "https://www.themoviedb.org/movie/"
_PER_SECOND = 20.0  # half of TMDB's limit of about 40


class _TMDBHit(BaseModel):
    id: int
    title: str = ""
    original_title: str = ""
    release_date: str | None = None
    vote_count: int = 0


class _TMDBHits(BaseModel):
    results: list[_TMDBHit]


class _Genre(BaseModel):
    name: str


class _Details(BaseModel):
    id: int
    title: str
    overview: str | None = None
    release_date: str | None = None
    genres: list[_Genre] = []


@dataclass(frozen=True)
class TMDB:
    """TMDB as a provider."""

    http: HTTPClient
    name: str = NAME

    @property
    def base_url(self) -> str:
        """See ``Provider.base_url``."""
        return self.http.base_url

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """See ``Provider.find``."""
        found = self._search(query, deadline, {"year": str(query.year)} if query.year else {})
        if isinstance(found, LookupFailure) and query.year:
            found = self._search(query, deadline, {})  # TMDB's year may differ by one
        if isinstance(found, LookupFailure):
            return found
        candidate, count = found
        film = self.http.get(f"/movie/{int(candidate.id)}", {"language": "en-US"}, deadline, _Details)
        if not (film.overview or "").strip():
            return LookupFailure("no_plot", f"TMDB has {query}, but no plot")
        return FilmRecord(
            NAME, film.title, _year(film.release_date), str(film.id), f"{_PAGE}{film.id}",
            (film.overview or "").strip(), "overview", tuple(genre.name for genre in film.genres), count,
        )  # fmt: skip

    def _search(self, query: FilmQuery, deadline: float, more: dict[str, str]) -> tuple[Candidate, int] | LookupFailure:
        params = {"query": query.title, "include_adult": "false", "language": "en-US", "page": "1", **more}
        hits = self.http.get("/search/movie", params, deadline, _TMDBHits).results
        films = [
            Candidate(str(hit.id), (hit.title, hit.original_title), _year(hit.release_date), hit.vote_count)
            for hit in hits
        ]
        return best_match(films, query)


def tmdb(key: str, base_url: str = "", contact: str = "") -> TMDB:
    """The provider for an API key (version 3) or a read access token (version 4, recognised by its dots)."""
    token = "." in key
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if token else {})
    params = {} if token else {"api_key": key}
    return TMDB(
        HTTPClient(NAME, base_url or BASE_URL, per_second=_PER_SECOND, params=params, headers=headers, secret=key)
    )


def _year(date: str | None) -> int | None:
    return int(date[:4]) if date and date[:4].isdecimal() else None
