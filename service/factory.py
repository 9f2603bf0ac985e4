"""Puts the rooms together as the settings say: who answers, from where, within which limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from llm.backends.backend import Engine, PreparingEngine
from llm.backends.batch_transport import BatchedWire
from llm.backends.capabilities import Probed
from llm.backends.endpoint_settings import EndpointSettings
from llm.backends.local.backend import Local
from llm.backends.model_name import ModelName
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.transport import Wire
from llm.classifier import Classifier
from llm.embedded.matcher import Matcher, matcher
from llm.few_shot import FixedShots, NearestShots, Shots, load_shots, no_shots
from llm.language_model import LanguageModel
from llm.strategies import registry as readings
from llm.thresholds import Decisions
from llm.wrappers.admission import Bounded, Gate
from llm.wrappers.cache import AnswerStore, Cached
from llm.wrappers.cascade import Cascade
from llm.wrappers.fallback import Fallback
from llm.wrappers.micro_batched import Batched, BatchedPairs
from llm.wrappers.order_ensemble import OrderAveraged
from llm.wrappers.shortlist import Narrowed
from marquee.films import live
from marquee.settings import Settings
from prompts import registry
from prompts.taxonomy import Taxonomy
from service.decisions.backends import ByModel, ByScores, Decider, FallingBack, Forwarded
from service.metrics import Metrics
from service.prompt_preview import asked_by
from service.response_cache import HotAnswers
from service.services import AskingOf, Choice, ClassifierFor, Limits, Parts
from service.title_lookup import lookup_of
from similarity.encoders.minilm import MiniLM, encoder_of
from similarity.index.search import Similar

Wrap = Callable[[Classifier], Classifier]


def build(settings: Settings, trained: Classifier | None = None) -> Parts:
    """The parts of a service under these settings.

    Args:
        settings: who answers, from where, within which limits.
        trained: answers instead of whom the settings name; for its own vocabulary, which should be the settings'.

    Raises:
        MarqueeError: a setting names what does not exist.
    """
    taxonomy = registry.registered(settings.taxonomy)  # an unknown default should stop the start, not every request
    metrics = Metrics()
    first = ["A first text, so that the first request finds the model loaded."]
    encoder = MiniLM()
    compares = encoder_of(settings.encoder) if settings.encoder else encoder
    films = Similar(live(settings.index, compares), compares, _gate("similar", settings, metrics))
    gate = _gate("embedded", settings, metrics)
    own = trained or matcher(encoder=encoder)
    passes = 1 if trained else encoder.callers
    embedded = Batched(own, gate, metrics.batch.observe, passes)
    pairs = BatchedPairs(own.name, own.predict, gate, passes) if isinstance(own, Matcher) else None
    by_scores = ByScores(embedded, pairs)

    def load() -> None:
        embedded.classify(first, taxonomy)
        if settings.index is not None:
            films.open()

    parts = partial(
        Parts, taxonomy=taxonomy.name, limits=_limits(settings), metrics=metrics, similar=lambda: films,
        lookup=lookup_of(settings), origins=settings.origins, hot=HotAnswers(settings.cache_shared),
        trusted_proxies=settings.trusted_proxies,
    )  # fmt: skip
    if trained is not None or not settings.asks_a_model:
        return parts(lambda choice: embedded, lambda: None, load, decider=by_scores)
    engine = engine_of(settings)
    shots, before = shots_of(settings, encoder, taxonomy), _gate("model", settings, metrics)
    asking = classifiers(engine, settings, embedded, shots, before)
    asked = _asked(engine, settings, shots)
    parts = partial(parts, asking_of=asked, decider=decider(engine, settings, by_scores, before))
    if settings.fallback or settings.cascade:
        check = (lambda: None) if settings.fallback else engine.check
        return parts(asking, check, load)
    return parts(asking, engine.check, engine.prepare if isinstance(engine, PreparingEngine) else lambda: None)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_body_bytes,
        settings.max_texts,
        settings.max_text_chars,
        settings.max_request_labels,
        settings.request_timeout,
        settings.lookup_timeout,
    )


def _gate(classifier: str, settings: Settings, metrics: Metrics) -> Gate:
    return Gate(settings.queue, metrics.queue.labels(classifier).inc)


def probed(settings: Settings) -> Probed:
    """The endpoint's probe, with what it found before."""
    wire = _wire(settings)
    return Probed(wire, _model_name(wire, settings), settings.probe_path)


def engine_of(settings: Settings) -> Engine:
    """The language model that the settings name: in this process, or behind an endpoint."""
    if settings.local_model:
        return Local(settings.local_model, adapter=Path(settings.adapter) if settings.adapter else None)
    wire = _wire(settings)
    model = _model_name(wire, settings)
    honours = Probed(wire, model, settings.probe_path)
    size = settings.texts_per_request or 1
    return OpenAICompatible(BatchedWire(wire, honours, size) if size > 1 else wire, model, honours)


def language_model(
    engine: Engine, settings: Settings, choice: Choice, decisions: Decisions, shots: Shots = no_shots
) -> LanguageModel:
    """The language model as a classifier, without anything around it."""
    reading = readings.named(choice.reading or settings.reading)
    return LanguageModel(engine, reading, choice.prompt, decisions, shots)


def classifiers(engine: Engine, settings: Settings, embedded: Classifier, shots: Shots, gate: Gate) -> ClassifierFor:
    """For every choice of a request, the classifier that asks the engine, with all that the settings put around it."""
    readings.named(settings.reading)  # a misspelt one should stop the start
    store = _store(settings)
    decisions = Decisions(settings.decisions_path, settings.threshold)  # read once: a request should not read files
    wraps = _wraps(settings, embedded)

    def classifier_for(choice: Choice) -> Classifier:
        asked = Bounded(language_model(engine, settings, choice, decisions, shots), gate)
        # The cache stands inside: outside it would remember an outage's answers as the model's.
        classifier: Classifier = Cached(asked, store, settings.cache_shared) if store and choice.cache else asked
        for wrap in wraps:
            classifier = wrap(classifier)
        return classifier

    return classifier_for


def decider(engine: Engine, settings: Settings, embedded: Decider, gate: Gate) -> Decider:
    """Who answers typed questions: the engine, through its endpoint's own decisions where these are its reading."""
    forwards = settings.reading == "decisions"
    first = Forwarded(engine, gate) if forwards else ByModel(engine, gate, _store(settings), settings.cache_shared)
    return FallingBack(first, embedded) if settings.fallback else first


def _store(settings: Settings) -> AnswerStore | None:
    return AnswerStore(settings.cache_path, settings.cache_megabytes * 2**20) if settings.cache else None


def _asked(engine: Engine, settings: Settings, shots: Shots) -> AskingOf:
    """What the engine is asked about a text under a choice."""
    decisions = Decisions(settings.decisions_path, settings.threshold)
    return lambda choice, text, taxonomy: asked_by(
        language_model(engine, settings, choice, decisions, shots), text, taxonomy
    )


def _wraps(settings: Settings, embedded: Classifier) -> list[Wrap]:
    """What stands around the language model, from the inside out."""
    wraps: list[Wrap] = []
    if settings.orders > 1:
        wraps.append(lambda inner: OrderAveraged(inner, settings.orders))
    if settings.candidates:
        wraps.append(lambda inner: Narrowed(embedded, inner, settings.candidates))
    if settings.fallback:
        wraps.append(lambda inner: Fallback(inner, embedded))
    if settings.cascade:
        wraps.append(lambda inner: Cascade(embedded, inner, settings.cascade))
    return wraps


def shots_of(settings: Settings, encoder: MiniLM, taxonomy: Taxonomy) -> Shots:
    """The examples to show, from the file that the settings name; for the default vocabulary."""
    if settings.shots_path is None:
        return no_shots
    shots = load_shots(settings.shots_path, taxonomy)
    if not settings.shots_nearest:
        return FixedShots(shots, taxonomy.name)
    return NearestShots(encoder, shots, taxonomy.name, settings.shots_nearest)


def _wire(settings: Settings) -> Wire:
    return endpoint_settings(settings).wire()


def endpoint_settings(settings: Settings) -> EndpointSettings:
    """The part of the settings that reaches the endpoint."""
    return EndpointSettings(
        settings.base_url,
        settings.openai_api_key.get_secret_value(),
        settings.extra_body,
        settings.reasoning_tokens,
        settings.probe_path,
        settings.timeout,
        settings.retries,
        settings.concurrency,
    )


def _model_name(wire: Wire, settings: Settings) -> ModelName:
    return ModelName(wire, settings.model, "model" in settings.model_fields_set)
