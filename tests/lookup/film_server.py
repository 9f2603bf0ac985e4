"""A real local server that speaks as TMDB, OMDb and Wikipedia do, and misbehaves on command. Its films are made up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.misbehaving import Behaviour, body

TMDB_KEY, TMDB_TOKEN, OMDB_KEY = "0123456789abcdef", "eyJ.token.sig", "omdbkey1"

LANTERN = "A lantern maker walks home through a flooded city and finds her brother's boat."
SALT = "Two smugglers of salt fall out over a mule."


def film(id: int, title: str, year: int, plot: str | None, votes: int = 10, **more: Any) -> dict[str, Any]:
    return {"id": id, "title": title, "year": year, "plot": plot, "votes": votes, "genres": ["Drama"], **more}


FILMS = (
    film(11, "The Paper Lantern", 1984, LANTERN, 900, genres=["Drama", "Mystery"]),
    film(12, "The Paper Lantern", 2011, "A remake in which the lantern talks.", 40),
    film(13, "Paper Lanterns", 2003, "Another film.", 5_000),
    film(14, "Salt & Mule", 1999, SALT, 77, original_title="Sal y Mula", genres=["Comedy"]),
    film(15, "Nothing Told", 2001, "", 3),
    film(16, "Él Último Tren", 1970, "The last train leaves without its driver.", 12),
)


@dataclass
class FilmServer:
    """The running server.

    Attributes:
        url: its root.
        faults: behaviours that come before it answers as it should, one a request.
        requests: path, parameters and headers (names in lower case) of the requests so far.
        films: what it knows.
    """

    url: str = ""
    faults: list[Behaviour] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    films: tuple[Mapping[str, Any], ...] = FILMS

    @property
    def tmdb(self) -> str:
        return f"{self.url}/3"

    @property
    def wikipedia(self) -> str:
        return f"{self.url}/w/api.php"

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Behaviour:
        """What a provider that is well says."""
        if path.startswith("/3/"):
            return self._tmdb(path.removeprefix("/3"), query, headers)
        if path == "/w/api.php":
            return self._wikipedia(query)
        return self._omdb(query) if path == "/" else body(404, "<html>Not here</html>", "text/html")

    def _tmdb(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Behaviour:
        if query.get("api_key") != TMDB_KEY and headers.get("authorization") != f"Bearer {TMDB_TOKEN}":
            said = "Invalid API key: You must be granted a valid key."
            return body(401, {"status_code": 7, "status_message": said, "success": False})
        if path == "/search/movie":
            hits = [_tmdb_hit(one) for one in self._like(query["query"], query.get("year"))]
            return body(200, {"page": 1, "results": hits, "total_pages": 1, "total_results": len(hits)})
        found = [one for one in self.films if path == f"/movie/{one['id']}"]
        if not found:
            return body(404, {"success": False, "status_code": 34, "status_message": "The resource is not there."})
        genres = [{"id": place, "name": name} for place, name in enumerate(found[0]["genres"])]
        return body(200, {**_tmdb_hit(found[0]), "genres": genres, "imdb_id": f"tt{found[0]['id']:07}"})

    def _omdb(self, query: dict[str, str]) -> Behaviour:
        if query.get("apikey") != OMDB_KEY:
            return body(401, {"Response": "False", "Error": "Invalid API key!"})
        if "s" in query:
            hits = self._like(query["s"], query.get("y"))
            if not hits:
                return body(200, {"Response": "False", "Error": "Movie not found!"})
            listed = [{**_omdb_film(one), "Plot": None} for one in hits]
            listed = [{name: hit[name] for name in ("Title", "Year", "imdbID", "Type", "Poster")} for hit in listed]
            return body(200, {"Search": listed, "totalResults": str(len(listed)), "Response": "True"})
        if "i" in query:
            found = [one for one in self.films if f"tt{one['id']:07}" == query["i"]]
        else:
            hits = self._like(query["t"], query.get("y"))
            found = sorted(hits, key=lambda one: one["title"].casefold() != query["t"].casefold())
        if not found:
            return body(200, {"Response": "False", "Error": "Movie not found!"})
        return body(200, _omdb_film(found[0]))

    def _wikipedia(self, query: dict[str, str]) -> Behaviour:
        if query.get("generator") == "search":
            words = query["gsrsearch"].partition(" film")[0]
            pages = [_page(one, place) for place, one in enumerate(self._like(words, None), 1)]
            pages += [{"pageid": 99, "ns": 0, "title": words.title(), "index": 50, "description": "1970 novel"}]
            return body(200, {"batchcomplete": True, "query": {"pages": pages}})
        found = [one for one in self.films if str(one["id"]) == query["pageids"]]
        return body(200, {"batchcomplete": True, "query": {"pages": [_extract(one) for one in found]}})

    def _like(self, words: str, year: str | None) -> list[Mapping[str, Any]]:
        """As a search engine finds: whatever shares a word with the query, best known first."""
        wanted = set(words.casefold().replace("&", " ").split())
        hits = [one for one in self.films if wanted & set(_names(one).casefold().replace("&", " ").split())]
        return sorted((one for one in hits if year in (None, str(one["year"]))), key=lambda one: -one["votes"])


def _names(one: Mapping[str, Any]) -> str:
    return f"{one['title']} {one.get('original_title', '')}"


def _tmdb_hit(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "adult": False, "backdrop_path": None, "genre_ids": [18], "id": one["id"], "original_language": "en",
        "original_title": one.get("original_title", one["title"]), "overview": one["plot"], "popularity": 1.5,
        "poster_path": None, "release_date": f"{one['year']}-05-25", "title": one["title"], "video": False,
        "vote_average": 7.0, "vote_count": one["votes"],
    }  # fmt: skip


def _omdb_film(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Title": one["title"], "Year": str(one["year"]), "Rated": "N/A", "Released": "N/A", "Runtime": "90 min",
        "Genre": ", ".join(one["genres"]), "Plot": one["plot"] or "N/A", "Poster": "N/A", "Ratings": [],
        "imdbID": f"tt{one['id']:07}", "Type": "movie", "Response": "True",
    }  # fmt: skip


def _page(one: Mapping[str, Any], place: int) -> dict[str, Any]:
    title = f"{one['title']} ({one['year']} film)" if one["id"] == 12 else one["title"]
    return {"pageid": one["id"], "ns": 0, "title": title, "index": place, "description": f"{one['year']} film by X"}


def _extract(one: Mapping[str, Any]) -> dict[str, Any]:
    plot = f"\n\n\n== Plot ==\n{one['plot']}\n\n\n=== Ending ===\nIt ends.\n" if one["plot"] else ""
    text = f"{one['title']} is a film.{plot}\n\n\n== Cast ==\nA. Body as the mule\n\n\n=== Voices ===\nNobody"
    return {"pageid": one["id"], "ns": 0, "title": one["title"], "extract": text}


@contextmanager
def film_server(*faults: Behaviour) -> Iterator[FilmServer]:
    """Run the server on a free port."""
    state, lock = FilmServer(faults=list(faults)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                state.requests.append((parts.path, query, headers))
                behave = state.faults.pop(0) if state.faults else state.answer(parts.path, query, headers)
            behave(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
