"""The parts of the service, and how the settings build them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from llm.backends.backend import Backend, FakeBackend
from llm.calibration.prediction_sets import SetStore
from llm.calibration.thresholds import ThresholdStore
from llm.classifier import Classifier, LabelsOffered, Prediction, Problem
from llm.few_shot import ExampleSelector, no_examples
from llm.language_model import LanguageModel
from llm.pairs import PredictPairs
from llm.strategies import AUTO, STRATEGIES, named
from lookup.lookup import Lookup
from marquee.drift import load_references
from marquee.factory import ClassifierFor, Classifiers, Monitor, RequestOptions, answer_store, create, language_model
from marquee.feedback.learned import LearnedVersions, versions_of, with_learned
from marquee.feedback.store import FeedbackStore, store_of
from marquee.prediction_sets import sets_of
from marquee.review.review_file import LiveReview
from marquee.settings import Settings
from prompts import registry
from prompts.files import file_state
from prompts.hierarchy import Hierarchy
from prompts.label_tree import SEPARATOR, level_of
from prompts.taxonomy import Taxonomy
from prompts.template import Message
from prompts.text import Text
from service.access_control import AccessControl
from service.decisions import Decider, FallbackDecider, ForwardingDecider, ScoreDecider, TokenDecider
from service.telemetry import Metrics
from service.title_lookup import TitleLookup, lookup_of
from similarity.encoders.minilm import encoder_of, passes_of
from similarity.errors import InvalidIndex
from similarity.index.reloading import live
from similarity.index.search import Similar
from similarity.micro_batching import Admission

if TYPE_CHECKING:
    from llm.spending.rehearsal import Rehearsed

_UNCALLED = FakeBackend(name="none", weights=lambda conversation: {})  # renders prompts; no request reaches it


@dataclass(frozen=True)
class PromptPreview:
    """What a language model receives for a text; unsent without a language model.

    Attributes:
        conversations: the messages of each request.
        steps: of a descent through a hierarchy, the number of labels of each step by the label above them.
        shortlist: labels in the prompts, where some are left out.
    """

    prompt: str
    strategy: str
    conversations: Sequence[Sequence[Message]]
    sent: bool = True
    steps: Mapping[str, int] = field(default_factory=dict)
    shortlist: LabelsOffered | None = None


PreviewFor = Callable[[RequestOptions, Text, Taxonomy], PromptPreview]


@dataclass(frozen=True)
class Limits:
    """Limits of one request: sizes, and seconds for the whole request and for its look-ups."""

    body_bytes: int = 4_000_000
    texts: int = 256
    text_chars: int = 50_000
    labels: int = 1_000
    seconds: float = 120.0
    lookup_seconds: float = 10.0


def _no_films() -> Similar:
    raise InvalidIndex("this service has no index of films; set MARQUEE_INDEX")


@dataclass(frozen=True)
class Services:
    """The parts of the service.

    Attributes:
        check: returns why the classifier cannot answer now; None where it can.
        load: loads the models; called once, before the first request.
        taxonomy: name of the default taxonomy.
        strategy: strategy of the settings; None where the service has no language model.
        preview_for: previews a prompt; None: without the settings of a service, such as its shortlist.
        pairs: predictions for pairs of a text and a taxonomy; None where the classifier of requests cannot do that.
        decider: answers typed questions; None: the default classifier does, by its scores.
        cache_shared: whether clients with different API keys share cached responses.
        sets: calibrated prediction sets, whose file is read again when it changes; None: answers have none.
        calibrations: files that answers depend on, and that are read again when they change.
        learned: what is in force from ``main.py learn``; None where the service uses none.
        feedback: records answers and stores feedback on them; None where the service does not.
        review: the texts that the page /review shows; None where there are none.
        stopping: set once the process has received the signal to stop.
        origins: origins whose pages may call the service (CORS).
        trusted_proxies: number of reverse proxies before the service, whose X-Forwarded headers are trusted.
    """

    classifier_for: ClassifierFor
    check: Callable[[], Problem | None]
    load: Callable[[], object]
    taxonomy: str
    limits: Limits = Limits()
    strategy: str | None = None
    preview_for: PreviewFor | None = None
    pairs: PredictPairs | None = None
    decider: Decider | None = None
    similar: Callable[[], Similar] = _no_films
    lookup: Lookup = field(default_factory=Lookup)
    access: AccessControl = AccessControl()
    metrics: Metrics = field(default_factory=Metrics)
    cache_shared: bool = False
    sets: SetStore | None = None
    calibrations: tuple[Path, ...] = ()
    learned: LearnedVersions | None = None
    feedback: FeedbackStore | None = None
    review: LiveReview | None = None
    stopping: Event = field(default_factory=Event)
    origins: tuple[str, ...] = ()
    trusted_proxies: int = 0

    @property
    def model(self) -> str:
        """Name of the model that answers requests without options."""
        return self.classifier_for(RequestOptions()).name

    @cached_property
    def first_default(self) -> Taxonomy:
        """The taxonomy of requests that name none, as it was at the start."""
        return registry.taxonomy(self.taxonomy)

    @property
    def titles(self) -> TitleLookup:
        """The look-up of bare titles, within the limits."""
        return TitleLookup(self.lookup, self.limits.text_chars, self.limits.lookup_seconds, self.metrics.count_lookup)

    @property
    def question_decider(self) -> Decider:
        """The decider that answers typed questions."""
        return self.decider or ScoreDecider(self.classifier_for(RequestOptions()))

    def with_sets(self, predictions: list[Prediction], options: RequestOptions) -> list[Prediction]:
        """The predictions with their sets; none where a request's own examples or instructions change the scores."""
        if not self.sets or options.examples or options.instructions:
            return predictions
        self.sets.refresh()
        return self.sets.added(predictions)

    def calibration_state(self) -> tuple[str, bool]:
        """What changes with a file of calibrations, and whether answers may have prediction sets now."""
        state = str([file_state(path) for path in self.calibrations])
        if self.sets:
            self.sets.refresh()
        return state, bool(self.sets and self.sets.rules)

    def set_coverage_targets(self) -> None:
        """Set the metric of the coverage of each taxonomy that is calibrated now."""
        if self.sets:
            self.sets.refresh()
            for rule in self.sets.rules.values():
                self.metrics.set_coverage_target(rule.taxonomy.partition("@")[0], rule.coverage)

    def preview(self, options: RequestOptions, text: Text, taxonomy: Taxonomy) -> PromptPreview:
        """What the service's language model receives for a text; without one, what another one would receive."""
        if self.preview_for:
            return self.preview_for(options, text, taxonomy)
        return replace(preview_of(_unsent(options, no_examples), text, taxonomy), sent=False)


def _unsent(options: RequestOptions, examples: ExampleSelector) -> LanguageModel:
    """A language model that renders prompts, where the service has none."""
    strategy, shown = named(options.strategy or AUTO) or STRATEGIES["json_list"], options.examples or examples
    return LanguageModel(_UNCALLED, strategy, options.prompt, examples=shown, instructions=options.instructions)


def preview_of(
    model: LanguageModel, text: Text, taxonomy: Taxonomy, requests: Sequence[Rehearsed] = ()
) -> PromptPreview:
    """What a language model receives for a text: these requests or, without any, those about all labels."""
    conversations = [one for request in requests for one in request.conversations]
    first = requests[0].taxonomy if requests else taxonomy
    return PromptPreview(
        model.source(text, first).prompt or "",
        model.strategy_for(first).name,
        conversations or model.conversations(text, taxonomy),
        steps=_steps(requests, taxonomy),
        shortlist=_offered(requests, taxonomy),
    )


def _steps(requests: Sequence[Rehearsed], taxonomy: Taxonomy) -> dict[str, int]:
    """Number of labels by the label above them; empty where there is no descent. Label orders repeat their step."""
    names = {one.taxonomy.name: len(one.taxonomy.names) for one in requests if one.taxonomy.name != taxonomy.name}
    return {name[len(taxonomy.name + SEPARATOR) :]: names[name] for name in sorted(names, key=level_of)}


def _offered(requests: Sequence[Rehearsed], taxonomy: Taxonomy) -> LabelsOffered | None:
    if not requests:
        return None
    steps = _steps(requests, taxonomy)
    offered = sum(steps.values()) or len(requests[0].taxonomy.names)
    total = len(taxonomy.names)
    if isinstance(taxonomy, Hierarchy):
        total = taxonomy.size if steps else len(taxonomy.flat.names)
    return LabelsOffered(offered, total) if offered < total else None


def build(settings: Settings, trained: Classifier | None = None) -> Services:
    """The parts of a service with these settings.

    Args:
        settings: model, addresses and limits.
        trained: classifier that replaces the model of the settings; it has the labels of its own taxonomy only.

    Raises:
        MarqueeError: a setting is invalid.
    """
    metrics = Metrics(load_references(settings.drift_path))
    models = create(settings, trained, Monitor(metrics.batch.observe, lambda queue: metrics.queue.labels(queue).inc))
    encoder = encoder_of(settings.encoder) if settings.encoder else models.encoder
    gate = Admission(settings.max_pending, metrics.queue.labels("similar").inc)
    films = Similar(live(settings.index, encoder), encoder, gate, passes_of(encoder))

    def load() -> None:
        models.load()
        if settings.index is not None:
            films.open()

    registry.prompts()  # a folder that cannot be read is an error at the start
    learned = versions_of(settings, trained) if settings.feedback or settings.learned_path.exists() else None
    classifier_for = with_learned(models.classifier_for, learned) if learned else models.classifier_for
    services = partial(
        Services, classifier_for, models.check, load, taxonomy=models.taxonomy.name,
        limits=_limits(settings), metrics=metrics, similar=lambda: films, lookup=lookup_of(settings),
        origins=settings.origins, cache_shared=settings.cache_shared, trusted_proxies=settings.trusted_proxies,
        learned=learned, feedback=store_of(settings) if settings.feedback else None, review=_review(settings),
        sets=sets_of(settings), calibrations=settings.calibrations,
    )  # fmt: skip
    by_scores = ScoreDecider(models.embedded, models.pairs)
    previews = _previews(models, settings)
    if models.backend is None:
        return services(decider=by_scores, pairs=None if learned else models.pairs, preview_for=previews)
    decider = _decider(models.backend, settings, by_scores, models.gate)
    return services(strategy=settings.strategy, preview_for=previews, decider=decider)


def _review(settings: Settings) -> LiveReview | None:
    review = LiveReview(settings.review_path) if settings.review_path else None
    if review:
        review()  # a file that cannot be read is an error at the start
    return review


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_body_bytes,
        settings.max_texts,
        settings.max_text_chars,
        settings.max_request_labels,
        settings.request_timeout,
        settings.lookup_timeout,
    )


def _decider(backend: Backend, settings: Settings, embedded: Decider, gate: Admission) -> Decider:
    if settings.strategy == "decisions_api":
        first: Decider = ForwardingDecider(backend, gate)
    else:
        first = TokenDecider(backend, gate, answer_store(settings), settings.cache_shared)
    return FallbackDecider(first, embedded) if settings.fallback else first


def _previews(models: Classifiers, settings: Settings) -> PreviewFor:
    thresholds = ThresholdStore(settings.thresholds_path, settings.threshold)
    asking = settings.model_copy(update={"cascade_margin": 0.0})  # what is sent if the text is sent

    def preview(options: RequestOptions, text: Text, taxonomy: Taxonomy) -> PromptPreview:
        from marquee.estimates import requests

        thresholds.refresh()
        backend, examples = models.backend, models.examples
        model = (
            language_model(backend, settings, options, thresholds, examples) if backend else _unsent(options, examples)
        )
        found = preview_of(model, text, taxonomy, requests(model, asking, models.embedded, [text], taxonomy))
        return replace(found, sent=backend is not None)

    return preview
