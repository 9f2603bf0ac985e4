"""Texts of bare titles, looked up before classification; the answer reports what was found, or why nothing was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from llm.request_context import CURRENT_REQUEST
from llm.wrappers.cache import AnswerStore
from lookup.film import FilmQuery, FilmRecord
from lookup.lookup import Lookup, LookupResult
from lookup.providers import PROVIDERS, order_of
from marquee.settings import Settings, environment_name
from prompts.text import Text, tells_nothing
from service.schemas.answer_parts import LookupAnswer, LookupTried
from service.schemas.classify import ClassifyRequest

_SHARE = 0.5  # of the request's remaining time; the rest is for the classifier
_STORE_BYTES = 256 * 2**20
NO_PROVIDER = "no provider can look titles up here: MARQUEE_LOOKUP_PROVIDERS names none whose key is set"


@dataclass(frozen=True)
class LookedUp:
    """A text to classify, and the result of looking its title up."""

    text: Text
    answer: LookupAnswer


@dataclass(frozen=True)
class TitleLookup:
    """Looks up the titles of a request.

    Attributes:
        lookup: the providers.
        max_chars: longest title that is looked up; longer texts of providers are cut.
        seconds: longest time for all titles of a request.
        on_result: called with the provider of each title, or ``none``.
    """

    lookup: Lookup
    max_chars: int
    seconds: float
    on_result: Callable[[str], object] = lambda provider: None

    def look_up(self, request: ClassifyRequest) -> list[LookedUp]:
        """The texts of a request; each text that is empty or a placeholder is replaced by the text of its title.

        A title that is not found in time is classified alone.
        """
        texts = request.all_texts()
        bare = {
            place: text
            for place, text in enumerate(texts)
            if text.title.strip() and tells_nothing(text.body) and len(text.title) <= self.max_chars
        }
        entries = request.entries()
        queries = [FilmQuery.of(text.title, entries[place].year) for place, text in bare.items()]
        results = dict(zip(bare, self._results(queries), strict=True))
        return [
            _merged(text, results[place], self.max_chars) if place in results else _not_needed(text)
            for place, text in enumerate(texts)
        ]

    def _results(self, queries: Sequence[FilmQuery]) -> list[LookupResult]:
        request = CURRENT_REQUEST.get()
        seconds = min(self.seconds, _SHARE * request.remaining)
        results = self.lookup.find_all(queries, time.monotonic() + seconds, scope=request.cache_salt)
        for result in results:
            self.on_result(result.film.provider if result.film else "none")
        return results


def lookup_of(settings: Settings) -> Lookup:
    """The providers of the settings that have their keys, in order."""
    order = order_of(settings.lookup_providers)
    missing = [name for name in order if PROVIDERS[name].needs_key and not _key(settings, name)]
    providers = [
        PROVIDERS[name].make(_key(settings, name), getattr(settings, f"{name}_url"), settings.lookup_contact)
        for name in order
        if name not in missing
    ]
    skipped = {name: f"set {environment_name(f'{name}_key')} to use it" for name in missing}
    store = AnswerStore(settings.lookup_cache_path, _STORE_BYTES)
    return Lookup(providers, store, settings.lookup_days, skipped, settings.cache_shared)


def _key(settings: Settings, name: str) -> str:
    key: SecretStr | None = getattr(settings, f"{name}_key", None)
    return key.get_secret_value() if key else ""


def _not_needed(text: Text) -> LookedUp:
    note = "there is no title to look up" if tells_nothing(text.body) else "not needed: the request has a text"
    return LookedUp(text, LookupAnswer(found=False, note=note))


def _merged(text: Text, result: LookupResult, max_chars: int) -> LookedUp:
    """A text after its title was looked up."""
    tried = [
        LookupTried(provider=one.provider, kind=one.failure.kind, detail=one.failure.detail) for one in result.attempts
    ]
    if result.film:
        answer = _found(result.film, result, tried)
        return LookedUp(Text(result.film.plot[:max_chars], text.title), answer)
    why = result.reason if any(one.kind != "no_key" for one in tried) else NO_PROVIDER
    return LookedUp(
        Text("", text.title), LookupAnswer(found=False, note=f"classified the title alone; {why}", tried=tried)
    )


def _found(film: FilmRecord, result: LookupResult, tried: list[LookupTried]) -> LookupAnswer:
    note = f"classified the {film.plot_from} from {film.provider}"
    if film.same_title > 1:
        note += f"; {film.same_title} or more films have this title, and this is the best known: send year for another"
    return LookupAnswer(
        found=True, note=note, provider=film.provider, title=film.title, year=film.year, id=film.id, url=film.url,
        text_from=film.plot_from, known_genres=list(film.genres), same_title=film.same_title,
        cached=result.cached, tried=tried,
    )  # fmt: skip
