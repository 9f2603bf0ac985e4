"""The Open Movie Database: a film by title and year, or by its id after a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from lookup.film import FilmQuery, FilmRecord, LookupFailure
from lookup.http_client import HTTPClient
from lookup.matching import Candidate, chosen

NAME = "omdb"
BASE_URL = "https://www.omdbapi.com"
_PAGE = "https://www.imdb.com/title/"
_PER_SECOND = 5.0
_NOTHING = "N/A"
_MANY = "too many results"


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
    """Asks OMDb."""

    http: HTTPClient
    name: str = NAME

    @property
    def base_url(self) -> str:
        """See ``Provider.base_url``."""
        return self.http.base_url

    def find(self, wanted: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        """See ``Provider.find``.

        A film of a known year usually takes one request. Without a year, or where OMDb has another one, a search comes
        first: by title alone OMDb returns one film and does not mention the others.
        """
        if wanted.year:
            found = self._by_title(wanted, {"y": str(wanted.year)}, deadline)
            if isinstance(found, FilmRecord) or found.kind != "not_found":
                return found
        asked = {"s": wanted.title, "type": "movie"}
        hits = self.http.get("/", asked, deadline, _OMDbHits)
        if _MANY in hits.Error.casefold():  # a short title; what OMDb takes for it is not the only one
            return self._by_title(wanted, {}, deadline, 2)
        if hits.Response == "False":
            return self._nothing(hits.Error, wanted)
        films = [Candidate(hit.imdbID, (hit.Title,), _year(hit.Year), -place) for place, hit in enumerate(hits.Search)]
        one = chosen(films, wanted)
        if isinstance(one, LookupFailure):
            return one
        candidate, count = one
        return self._film(self.http.get("/", {"i": candidate.id, "plot": "full"}, deadline, _Film), wanted, count)

    def _by_title(
        self, wanted: FilmQuery, more: dict[str, str], deadline: float, count: int = 1
    ) -> FilmRecord | LookupFailure:
        asked = {"t": wanted.title, "type": "movie", "plot": "full", **more}
        reply = self.http.get("/", asked, deadline, _Film)
        if reply.Response == "False":
            return self._nothing(reply.Error, wanted)
        found = chosen([Candidate(reply.imdbID, (reply.Title,), _year(reply.Year), 0)], wanted)
        return found if isinstance(found, LookupFailure) else self._film(reply, wanted, count)

    def _film(self, reply: _Film, wanted: FilmQuery, count: int) -> FilmRecord | LookupFailure:
        if reply.Response == "False":
            return self._nothing(reply.Error, wanted)
        plot = _told(reply.Plot)
        if not plot:
            return LookupFailure("no_plot", f"OMDb knows {wanted}, but not its plot")
        genres = tuple(name.strip() for name in _told(reply.Genre).split(",") if name.strip())
        identity = "".join(filter(str.isalnum, reply.imdbID))
        url = f"{_PAGE}{identity}/"
        return FilmRecord(NAME, reply.Title, _year(reply.Year), identity, url, plot, "full plot", genres, count)

    def _nothing(self, said: str, wanted: FilmQuery) -> LookupFailure:
        if "not found" in said.casefold():
            return LookupFailure("not_found", f"no film is called exactly {wanted.title!r}")
        raise self.http.failed(said or "it gave no reason")


def omdb(key: str, base_url: str = "", contact: str = "") -> OMDb:
    """OMDb under a key."""
    params = {"apikey": key, "r": "json"}
    http = HTTPClient(
        NAME, base_url or BASE_URL, per_second=_PER_SECOND, params=params, spent="limit reached", secret=key
    )  # it answers 401 for a wrong key and for a used-up one alike
    return OMDb(http)


def _told(field: str) -> str:
    return "" if field.strip() == _NOTHING else field.strip()


def _year(words: str) -> int | None:
    return int(words[:4]) if words[:4].isdecimal() else None
