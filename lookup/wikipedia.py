"""Wikipedia: a search for the page of the film, then its plot section (MediaWiki Action API)."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from pydantic import BaseModel

from lookup.film import Candidate, FilmQuery, FilmRecord, Kind, LookupFailure, best_match, normalized_title
from lookup.http_client import HTTPClient, HTTPProvider

_BASE_URL = "https://en.wikipedia.org/w/api.php"
_PER_SECOND = 5.0
_CONCURRENCY = 1  # Wikimedia asks for sequential requests
_HITS = "20"
_BUSY = ("ratelimited", "maxlag", "readonly")
# "Alien (film)", "The Fly (1986 film)", "Drishyam (2015 Hindi film)": the text in brackets distinguishes films.
_BRACKETS = re.compile(r"^(.+?) \((?:(\d{4}) )?(?:[\w.\- ]+ )?(?:film|movie)\)$")
# Short descriptions of films begin with the year: "1979 film by Ridley Scott". Not "film series", "film festival".
_OTHER = r"\b(?:album|book|game|musical|novel|opera|play|series|single|song|soundtrack|story)\b"
_SHORT = re.compile(
    rf"^(\d{{4}})\b(?:(?!{_OTHER}).)*\bfilm\b(?! (?:series|festival|score|soundtrack|awards?|franchise)\b)"
)
_HEADING = re.compile(r"^(={2,6})\s*(.+?)\s*\1\s*$", re.MULTILINE)
_PLOT = frozenset(("plot", "plot summary", "synopsis", "plot synopsis", "story", "storyline", "summary"))


class _Page(BaseModel):
    pageid: int = 0
    title: str = ""
    description: str = ""
    index: int = 0
    extract: str = ""


class _Query(BaseModel):
    pages: list[_Page] = []


class _Error(BaseModel):
    code: str = ""
    info: str = ""


class _Reply(BaseModel):
    query: _Query = _Query()
    error: _Error | None = None


class Wikipedia(HTTPProvider):
    """A Wikipedia as a provider."""

    def find(self, query: FilmQuery, deadline: float) -> FilmRecord | LookupFailure:
        pages = {str(page.pageid): page for page in self._search(query, deadline)}
        films = [film for page in pages.values() if (film := _candidate(page))]
        found = best_match(films, query)
        if isinstance(found, LookupFailure):
            return found
        candidate, count = found
        plot = _plot(self._extract(candidate.id, deadline))
        if not plot:
            return LookupFailure("no_plot", f"Wikipedia has a page about {query}, but it has no plot section")
        title, url = candidate.titles[0], self._url(pages[candidate.id].title)
        return FilmRecord(self.name, title, candidate.year, candidate.id, url, plot, "plot section", (), count)

    def _search(self, query: FilmQuery, deadline: float) -> list[_Page]:
        # Words only: colons, minus signs and quotes are search operators.
        words = " ".join((normalized_title(query.title), "film", str(query.year or ""))).strip()
        search = {"generator": "search", "gsrsearch": words, "gsrnamespace": "0", "gsrlimit": _HITS}
        return self._query({**search, "prop": "description"}, deadline)

    def _extract(self, page: str, deadline: float) -> str:
        params = {"prop": "extracts", "explaintext": "1", "exsectionformat": "wiki", "pageids": page}
        return next((page.extract for page in self._query(params, deadline)), "")

    def _query(self, params: dict[str, str], deadline: float) -> list[_Page]:
        reply = self.http.get(
            "", {"action": "query", "format": "json", "formatversion": "2", **params}, deadline, _Reply
        )
        if reply.error:
            kind: Kind = "busy" if reply.error.code in _BUSY else "unreadable"
            raise self.http.failed(f"{reply.error.code}: {reply.error.info}", kind)
        return reply.query.pages

    def _url(self, title: str) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}/wiki/{quote(title.replace(' ', '_'))}"


def wikipedia(key: str = "", base_url: str = "", contact: str = "") -> Wikipedia:
    """A Wikipedia, by default the English one. Wikimedia's policy requires ``contact`` in the ``User-Agent``."""
    agent = f"Marquee/1 ({contact or 'film look-up'}) httpx2"
    headers = {"User-Agent": agent, "Accept": "application/json"}
    url, rate = base_url or _BASE_URL, _PER_SECOND
    return Wikipedia(HTTPClient("wikipedia", url, per_second=rate, concurrency=_CONCURRENCY, headers=headers))


def _candidate(page: _Page) -> Candidate | None:
    """The page as a candidate; None if it is not about a film."""
    brackets, short = _BRACKETS.match(page.title), _SHORT.match(page.description)
    if not brackets and not short:
        return None
    year = (brackets and brackets[2]) or (short and short[1])
    title = brackets[1] if brackets else page.title
    return Candidate(str(page.pageid), (title,), int(year) if year else None, -page.index)


def _plot(extract: str) -> str:
    """The plot section of a page and its subsections as plain text without headings."""
    headings = list(_HEADING.finditer(extract))
    for place, heading in enumerate(headings):
        if len(heading[1]) == 2 and heading[2].casefold() in _PLOT:
            end = next((one.start() for one in headings[place + 1 :] if len(one[1]) == 2), len(extract))
            lines = _HEADING.sub("", extract[heading.end() : end]).splitlines()
            return "\n".join(line.strip() for line in lines if line.strip())
    return ""
