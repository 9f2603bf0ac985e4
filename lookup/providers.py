"""Providers of films and plots: TMDB and OMDb, and ``PROVIDERS``, which names all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel

from lookup import wikipedia
from lookup.film import Candidate, FilmQuery, FilmRecord, LookupFailure, best_match, year_at_start
from lookup.http_client import HTTPClient, HTTPProvider
from prompts.errors import UnknownName


class Provider(Protocol):
    """A source of films and their plots."""

    @property
    def name(self) -> str:
        """Name in settings."""

    @property
    def base_url(self) -> str:
        """Root of its API; part of the cache key."""

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """The film, or why there is none. Of several matches it is the most popular one, with their number.

        Raises:
            ProviderFailure: the request failed.
        """


# --- The Movie Database (TMDB), API version 3: a search, then the film by id ---

_TMDB_URL = "https://api.themoviedb.org/3"
_TMDB_PAGE = "https://www.themoviedb.org/movie/"
_TMDB_PER_SECOND = 20.0  # half of TMDB's limit of about 40


class _TMDBHit(BaseModel):
    id: int
    title: str = ""
    original_title: str = ""
    release_date: str | None = None
    vote_count: int = 0


class _TMDBHits(BaseModel):
    results: list[_TMDBHit]


class _TMDBGenre(BaseModel):
    name: str


class _TMDBFilm(BaseModel):
    id: int
    title: str
    overview: str | None = None
    release_date: str | None = None
    genres: list[_TMDBGenre] = []


class TMDB(HTTPProvider):
    """TMDB as a provider."""

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        found = self._search(query, deadline, {"year": str(query.year)} if query.year else {})
        if isinstance(found, LookupFailure) and query.year:
            found = self._search(query, deadline, {})  # TMDB's year may differ by one
        if isinstance(found, LookupFailure):
            return found
        candidate, count = found
        film = self.http.get(f"/movie/{int(candidate.id)}", {"language": "en-US"}, deadline, _TMDBFilm)
        plot = (film.overview or "").strip()
        if not plot:
            return LookupFailure("no_plot", f"TMDB has {query}, but no plot")
        year, genres = year_at_start(film.release_date), tuple(genre.name for genre in film.genres)
        page = f"{_TMDB_PAGE}{film.id}"
        return FilmRecord(self.name, film.title, year, str(film.id), page, plot, "overview", genres, count)

    def _search(self, query: FilmQuery, deadline: float, more: dict[str, str]) -> tuple[Candidate, int] | LookupFailure:
        params = {"query": query.title, "include_adult": "false", "language": "en-US", "page": "1", **more}
        hits = self.http.get("/search/movie", params, deadline, _TMDBHits).results
        films = [
            Candidate(str(hit.id), (hit.title, hit.original_title), year_at_start(hit.release_date), hit.vote_count)
            for hit in hits
        ]
        return best_match(films, query)


def tmdb(key: str, base_url: str = "", contact: str = "") -> TMDB:
    """The provider for an API key (version 3) or a read access token (version 4, recognised by its dots)."""
    token = "." in key
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if token else {})
    params = {} if token else {"api_key": key}
    rate = _TMDB_PER_SECOND
    return TMDB(HTTPClient("tmdb", base_url or _TMDB_URL, per_second=rate, params=params, headers=headers, secret=key))


# --- The Open Movie Database (OMDb): requests by title and year, or a search and then a request by id ---

_OMDB_URL = "https://www.omdbapi.com"
_OMDB_PAGE = "https://www.imdb.com/title/"
_OMDB_PER_SECOND = 5.0
_EMPTY = "N/A"
_TOO_MANY = "too many results"


class _OMDbReply(BaseModel):
    Response: Literal["True", "False"]
    Error: str = ""


class _OMDbHit(BaseModel):
    Title: str
    Year: str = ""
    imdbID: str


class _OMDbHits(_OMDbReply):
    Search: list[_OMDbHit] = []


class _OMDbFilm(_OMDbReply):
    Title: str = ""
    Year: str = ""
    Genre: str = ""
    Plot: str = ""
    imdbID: str = ""


class OMDb(HTTPProvider):
    """OMDb as a provider."""

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """See ``Provider.find``.

        With a year, one request is usually enough. Otherwise, or if OMDb has another year, a search comes first:
        a request by title alone returns one film and does not mention others.
        """
        if query.year:
            found = self._by_title(query, {"y": str(query.year)}, deadline)
            if isinstance(found, FilmRecord) or found.kind != "not_found":
                return found
        hits = self.http.get("/", {"s": query.title, "type": "movie"}, deadline, _OMDbHits)
        if _TOO_MANY in hits.Error.casefold():  # a short title: OMDb's choice is one of several
            return self._by_title(query, {}, deadline, 2)
        if hits.Response == "False":
            return self._missing(hits.Error, query)
        found_films = [
            Candidate(hit.imdbID, (hit.Title,), year_at_start(hit.Year), -place)
            for place, hit in enumerate(hits.Search)
        ]
        match = best_match(found_films, query)
        if isinstance(match, LookupFailure):
            return match
        candidate, count = match
        return self._record(self.http.get("/", {"i": candidate.id, "plot": "full"}, deadline, _OMDbFilm), query, count)

    def _by_title(
        self, query: FilmQuery, more: dict[str, str], deadline: float, count: int = 1
    ) -> FilmRecord | LookupFailure:
        params = {"t": query.title, "type": "movie", "plot": "full", **more}
        reply = self.http.get("/", params, deadline, _OMDbFilm)
        if reply.Response == "False":
            return self._missing(reply.Error, query)
        found = best_match([Candidate(reply.imdbID, (reply.Title,), year_at_start(reply.Year), 0)], query)
        return found if isinstance(found, LookupFailure) else self._record(reply, query, count)

    def _record(self, reply: _OMDbFilm, query: FilmQuery, count: int) -> FilmRecord | LookupFailure:
        if reply.Response == "False":
            return self._missing(reply.Error, query)
        plot, genre = ("" if field.strip() == _EMPTY else field.strip() for field in (reply.Plot, reply.Genre))
        if not plot:
            return LookupFailure("no_plot", f"OMDb has {query}, but no plot")
        genres = tuple(name.strip() for name in genre.split(",") if name.strip())
        identity, year = "".join(filter(str.isalnum, reply.imdbID)), year_at_start(reply.Year)
        page = f"{_OMDB_PAGE}{identity}/"
        return FilmRecord(self.name, reply.Title, year, identity, page, plot, "full plot", genres, count)

    def _missing(self, message: str, query: FilmQuery) -> LookupFailure:
        if "not found" in message.casefold():
            return LookupFailure("not_found", f"no film is called exactly {query.title!r}")
        raise self.http.failed(message or "no reason given")


def omdb(key: str, base_url: str = "", contact: str = "") -> OMDb:
    """The provider for an API key."""
    params, rate = {"apikey": key, "r": "json"}, _OMDB_PER_SECOND
    quota = "limit reached"  # the status is 401 for a wrong key and for an exhausted quota
    url = base_url or _OMDB_URL
    return OMDb(HTTPClient("omdb", url, per_second=rate, params=params, quota_message=quota, secret=key))


# --- registry ---


@dataclass(frozen=True)
class ProviderEntry:
    """A constructor that takes key, base URL (empty: the provider's own) and contact; and whether a key is required."""

    make: Callable[[str, str, str], Provider]
    needs_key: bool


PROVIDERS: Mapping[str, ProviderEntry] = {
    "tmdb": ProviderEntry(tmdb, needs_key=True),
    "omdb": ProviderEntry(omdb, needs_key=True),
    "wikipedia": ProviderEntry(wikipedia.wikipedia, needs_key=False),
}


def order_of(names: str) -> Sequence[str]:
    """Parse comma-separated provider names; ``none`` is the empty list.

    Raises:
        UnknownName: a name is not in ``PROVIDERS``.
    """
    order = [name.strip() for name in names.split(",") if name.strip()]
    if order == ["none"]:
        return []
    for name in order:
        if name not in PROVIDERS:
            raise UnknownName("provider", name, PROVIDERS)
    return list(dict.fromkeys(order))
