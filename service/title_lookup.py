"""Titles without a text, looked up before they are labelled; the answer says what was found, or why nothing was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from llm.request_context import CURRENT_REQUEST
from llm.wrappers.cache import AnswerStore
from lookup.film import FilmQuery, FilmRecord
from lookup.lookup import Lookup, LookupResult
from lookup.providers.registry import PROVIDERS, order_of
from marquee.settings import Settings, environment_name
from prompts.text import Text, tells_nothing
from service.schemas.classify import ClassifyRequest, LookupAnswer, LookupTried

_SHARE = 0.5  # of the time that a request has left; the rest is for its answer
_STORE_BYTES = 256 * 2**20
NO_PROVIDER = "nobody can be asked about titles here: MARQUEE_LOOKUP_PROVIDERS names none whose key is set"


@dataclass(frozen=True)
class LookedUp:
    """A text to label, and what there is to tell of how it was come by; None where no look-up was asked for."""

    text: Text
    told: LookupAnswer | None = None


@dataclass(frozen=True)
class TitleLookup:
    """How titles are looked up.

    Attributes:
        lookup: the providers.
        text_chars: the longest title that is looked up, and the longest text that is taken.
        seconds: the longest time for the look-ups of a request.
        on_result: called with the provider of each title, or ``none``.
    """

    lookup: Lookup
    text_chars: int
    seconds: float
    on_result: Callable[[str], object] = lambda provider: None


def lookup_of(settings: Settings) -> Lookup:
    """The providers that the settings name and have keys for, in their order."""
    order = order_of(settings.lookup_providers)
    missing = [name for name in order if PROVIDERS[name].needs_key and not _key(settings, name)]
    asked = [
        PROVIDERS[name].make(_key(settings, name), getattr(settings, f"{name}_url"), settings.lookup_contact)
        for name in order
        if name not in missing
    ]
    skipped = {name: f"set {environment_name(f'{name}_key')} to ask it" for name in missing}
    store = AnswerStore(settings.lookup_cache_path, _STORE_BYTES)
    return Lookup(asked, store, settings.lookup_days, skipped, settings.cache_shared)


def looked_up(titles: TitleLookup, asked: ClassifyRequest) -> list[LookedUp]:
    """The texts of a request, those that say nothing replaced by what is found under their titles.

    What is not found within the request's time leaves the title alone.
    """
    texts = asked.all_texts()
    if not asked.lookup:
        return [LookedUp(text) for text in texts]
    longest = titles.text_chars
    bare = {
        place: text
        for place, text in enumerate(texts)
        if text.title.strip() and tells_nothing(text.body) and len(text.title) <= longest
    }
    years = asked.years()
    wanted = [FilmQuery.of(text.title, years[place]) for place, text in bare.items()]
    outcomes = dict(zip(bare, _outcomes(titles, wanted), strict=True))
    return [
        found(text, outcomes[place], longest) if place in outcomes else LookedUp(text, _given(text))
        for place, text in enumerate(texts)
    ]


def found(text: Text, outcome: LookupResult, most_chars: int) -> LookedUp:
    """A text after its title was looked up."""
    film = outcome.film
    if film is None:
        return LookedUp(Text("", text.title), _nothing(outcome))
    return LookedUp(Text(film.plot[:most_chars], text.title), _film(film, outcome))


def _outcomes(titles: TitleLookup, wanted: Sequence[FilmQuery]) -> list[LookupResult]:
    seconds = min(titles.seconds, _SHARE * CURRENT_REQUEST.get().remaining)
    outcomes = titles.lookup.find_all(wanted, time.monotonic() + seconds, scope=CURRENT_REQUEST.get().cache_salt)
    for outcome in outcomes:
        titles.on_result(outcome.film.provider if outcome.film else "none")
    return outcomes


def _given(text: Text) -> LookupAnswer:
    why = "there is no title to look up" if tells_nothing(text.body) else "not needed: a text was given"
    return LookupAnswer(found=False, note=why)


def _film(film: FilmRecord, outcome: LookupResult) -> LookupAnswer:
    note = f"read the {film.plot_from} that {film.provider} tells"
    if film.same_title > 1:
        note += f"; {film.same_title} films or more could be meant, and this is the best known: give a year for another"
    return LookupAnswer(
        found=True, note=note, provider=film.provider, title=film.title, year=film.year, id=film.id, url=film.url,
        text_from=film.plot_from, known_genres=list(film.genres), same_title=film.same_title,
        remembered=outcome.cached, tried=_tried(outcome),
    )  # fmt: skip


def _nothing(outcome: LookupResult) -> LookupAnswer:
    asked = [one for one in outcome.attempts if one.failure.kind != "no_key"]
    why = outcome.reason if asked else NO_PROVIDER
    return LookupAnswer(found=False, note=f"read the title alone; {why}", tried=_tried(outcome))


def _tried(outcome: LookupResult) -> list[LookupTried]:
    return [
        LookupTried(provider=one.provider, kind=one.failure.kind, detail=one.failure.detail) for one in outcome.attempts
    ]


def _key(settings: Settings, name: str) -> str:
    key: SecretStr | None = getattr(settings, f"{name}_key", None)
    return key.get_secret_value() if key else ""
