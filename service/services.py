"""What the service is made of, and what one request may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event

from llm.classifier import Problem
from lookup.lookup import Lookup
from marquee.factory import ClassifierFor, RequestOptions
from prompts.taxonomy import Taxonomy
from prompts.template import Message
from prompts.text import Text
from service.decisions.backends import ByScores, Decider
from service.metrics import Metrics
from service.rate_limits import AccessControl
from service.response_cache import ResponseCache
from service.title_lookup import TitleLookup
from similarity.errors import InvalidIndex
from similarity.index.search import Similar


@dataclass(frozen=True)
class PromptPreview:
    """What a language model is asked about a text.

    Attributes:
        prompt: name and digest of the prompt.
        strategy: in which form it is asked.
        conversations: the messages of every request that the text takes.
        sent: whether they are sent to a model here at all.
    """

    prompt: str
    strategy: str
    conversations: Sequence[Sequence[Message]]
    sent: bool = True


AskingOf = Callable[[RequestOptions, Text, Taxonomy], PromptPreview]


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and the seconds that it, and its look-ups, may take."""

    body_bytes: int = 4_000_000
    texts: int = 256
    text_chars: int = 50_000
    labels: int = 1_000
    seconds: float = 120.0
    lookup_seconds: float = 10.0


def _no_films() -> Similar:
    raise InvalidIndex("this service has no films to compare; set MARQUEE_INDEX")


@dataclass(frozen=True)
class Services:
    """What the service is made of.

    Attributes:
        classifier_for: the classifier that answers under a choice.
        check: asks whether that classifier could answer now; None where all is well.
        load: loads what would make the first answer slow; called once, before the first request.
        taxonomy: name of the taxonomy of requests that name none.
        limits: what one request may hold.
        asking_of: what a language model is asked about a text; None where none answers.
        decider: who answers typed questions; None: the classifier that answers without a choice, by its scores.
        similar: what finds similar films.
        lookup: who is asked about bare titles.
        door: who may ask.
        metrics: what Prometheus is told.
        hot: answers sent last.
        stopping: set once the process has been told to stop.
        origins: whose pages may ask, beside the service's own.
        trusted_proxies: how many reverse proxies stand before the service; their X-Forwarded headers are believed.
    """

    classifier_for: ClassifierFor
    check: Callable[[], Problem | None]
    load: Callable[[], object]
    taxonomy: str
    limits: Limits = Limits()
    asking_of: AskingOf | None = None
    decider: Decider | None = None
    similar: Callable[[], Similar] = _no_films
    lookup: Lookup = field(default_factory=Lookup)
    door: AccessControl = AccessControl()
    metrics: Metrics = field(default_factory=Metrics)
    hot: ResponseCache = field(default_factory=ResponseCache)
    stopping: Event = field(default_factory=Event)
    origins: tuple[str, ...] = ()
    trusted_proxies: int = 0

    @property
    def titles(self) -> TitleLookup:
        """How bare titles are looked up."""
        return TitleLookup(self.lookup, self.limits.text_chars, self.limits.lookup_seconds, self.metrics.looked_up)

    def returns_labels(self) -> Decider:
        """Who answers typed questions."""
        return self.decider or ByScores(self.classifier_for(RequestOptions()))
