"""The Open Movie Database (OMDb): requests by title and year, or a search and then a request by id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from lookup.film import Candidate, FilmQuery, FilmRecord, LookupFailure, best_match
from lookup.http_client import HTTPClient

NAME = "omdb"
BASE_URL = "https://www.omdbapi.com"
_PAGE = "https://www.imdb.com/title/"
_PER_SECOND = 5.0
_EMPTY = "N/A"
_TOO_MANY = "too many results"


class _OMDbHit(BaseModel):
    Title: str
    Year: str = ""
    imdbID: str


class _OMDbHits(BaseModel):
    Response: Literal["True", "False"]
    Error: str = ""
    Search: list[_OMDbHit] = []


class _Film(BaseModel):
    Response: Literal["True", "False"]
    Error: str = ""
    Title: str = ""
    Year: str = ""
    Genre: str = ""
    Plot: str = ""
    imdbID: str = ""


@dataclass(frozen=True)
class OMDb:
    """OMDb as a provider."""

    http: HTTPClient
    name: str = NAME

    @property
    def base_url(self) -> str:
        """See ``Provider.base_url``."""
        return self.http.base_url

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """See ``Provider.find``.

        With a year, one request is usually enough. Otherwise, or if OMDb has another year, a search comes first:
        a request by title alone returns one film and does not mention others.
        """
        if query.year:
            found = self._by_title(query, {"y": str(query.year)}, deadline)
            if isinstance(found, FilmRecord) or found.kind != "not_found":
                return found
        params = {"s": query.title, "type": "movie"}
        hits = self.http.get("/", params, deadline, _OMDbHits)
        if _TOO_MANY in hits.Error.casefold():  # a short title: OMDb's choice is one of several
            return self._by_title(query, {}, deadline, 2)
        if hits.Response == "False":
            return self._missing(hits.Error, query)
        films = [Candidate(hit.imdbID, (hit.Title,), _year(hit.Year), -place) for place, hit in enumerate(hits.Search)]
        match = best_match(films, query)
        if isinstance(match, LookupFailure):
            return match
        candidate, count = match
        return self._record(self.http.get("/", {"i": candidate.id, "plot": "full"}, deadline, _Film), query, count)

    def _by_title(
        self, query: FilmQuery, more: dict[str, str], deadline: float, count: int = 1
    ) -> FilmRecord | LookupFailure:
        params = {"t": query.title, "type": "movie", "plot": "full", **more}
        reply = self.http.get("/", params, deadline, _Film)
        if reply.Response == "False":
            return self._missing(reply.Error, query)
        found = best_match([Candidate(reply.imdbID, (reply.Title,), _year(reply.Year), 0)], query)
        return found if isinstance(found, LookupFailure) else self._record(reply, query, count)

    def _record(self, reply: _Film, query: FilmQuery, count: int) -> FilmRecord | LookupFailure:
        if reply.Response == "False":
            return self._missing(reply.Error, query)
        plot = _text(reply.Plot)
        if not plot:
            return LookupFailure("no_plot", f"OMDb has {query}, but no plot")
        genres = tuple(name.strip() for name in _text(reply.Genre).split(",") if name.strip())
        identity = "".join(filter(str.isalnum, reply.imdbID))
        url = f"{_PAGE}{identity}/"
        return FilmRecord(NAME, reply.Title, _year(reply.Year), identity, url, plot, "full plot", genres, count)

    def _missing(self, message: str, query: FilmQuery) -> LookupFailure:
        if "not found" in message.casefold():
            return LookupFailure("not_found", f"no film is called exactly {query.title!r}")
        raise self.http.failed(message or "no reason given")


def omdb(key: str, base_url: str = "", contact: str = "") -> OMDb:
    """The provider for an API key."""
    params = {"apikey": key, "r": "json"}
    http = HTTPClient(
        NAME, base_url or BASE_URL, per_second=_PER_SECOND, params=params, quota_message="limit reached", secret=key
    )  # the status is 401 for a wrong key and for an exhausted quota
    return OMDb(http)


def _text(field: str) -> str:
    return "" if field.strip() == _EMPTY else field.strip()


def _year(words: str) -> int | None:
    return int(words[:4]) if words[:4].isdecimal() else None
