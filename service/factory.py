"""Assembles the service from the settings."""

from __future__ import annotations

from functools import partial

from llm.backends.backend import Backend
from llm.classifier import Classifier
from llm.few_shot import Shots
from llm.thresholds import ThresholdStore
from marquee.factory import Monitor, RequestOptions, answer_store, create, language_model
from marquee.settings import Settings
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.decisions.backends import ByModel, ByScores, Decider, FallingBack, Forwarded
from service.metrics import Metrics
from service.prompt_preview import asked_by
from service.response_cache import ResponseCache
from service.services import AskingOf, Limits, PromptPreview, Services
from service.title_lookup import lookup_of
from similarity.encoders.minilm import encoder_of
from similarity.index.sample import live
from similarity.index.search import Similar
from similarity.micro_batching import Admission


def build(settings: Settings, trained: Classifier | None = None) -> Services:
    """The parts of a service under these settings.

    Args:
        settings: which model answers, where, and within which limits.
        trained: answers instead of what the settings name; it knows the labels of its own taxonomy only.

    Raises:
        MarqueeError: a setting names what does not exist.
    """
    metrics = Metrics()
    models = create(settings, trained, Monitor(metrics.batch.observe, lambda queue: metrics.queue.labels(queue).inc))
    encoder = encoder_of(settings.encoder) if settings.encoder else models.encoder
    gate = Admission(settings.max_pending, metrics.queue.labels("similar").inc)
    films = Similar(live(settings.index, encoder), encoder, gate)

    def load() -> None:
        models.load()
        if settings.index is not None:
            films.open()

    parts = partial(
        Services, models.classifier_for, models.check, load, taxonomy=models.taxonomy.name,
        limits=_limits(settings), metrics=metrics, similar=lambda: films, lookup=lookup_of(settings),
        origins=settings.origins, hot=ResponseCache(settings.cache_shared), trusted_proxies=settings.trusted_proxies,
    )  # fmt: skip
    by_scores = ByScores(models.embedded, models.pairs)
    if models.backend is None:
        return parts(decider=by_scores)
    previews = _previews(models.backend, settings, models.examples)
    return parts(asking_of=previews, decider=decider(models.backend, settings, by_scores, models.gate))


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_body_bytes,
        settings.max_texts,
        settings.max_text_chars,
        settings.max_request_labels,
        settings.request_timeout,
        settings.lookup_timeout,
    )


def decider(backend: Backend, settings: Settings, embedded: Decider, gate: Admission) -> Decider:
    """What answers typed questions: the endpoint's decisions where the settings say so, else token probabilities."""
    forwards = settings.strategy == "decisions_api"
    store = answer_store(settings)
    first = Forwarded(backend, gate) if forwards else ByModel(backend, gate, store, settings.cache_shared)
    return FallingBack(first, embedded) if settings.fallback else first


def _previews(backend: Backend, settings: Settings, shots: Shots) -> AskingOf:
    """What the language model is sent for a text under a choice."""
    decisions = ThresholdStore(settings.thresholds_path, settings.threshold)

    def preview(choice: RequestOptions, text: Text, taxonomy: Taxonomy) -> PromptPreview:
        return asked_by(language_model(backend, settings, choice, decisions, shots), text, taxonomy)

    return preview
