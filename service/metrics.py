"""What the service tells Prometheus, in a registry of its own per application."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from flask import Flask, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from llm.classifier import Prediction
from llm.costs import cost
from marquee.version import __version__

_SHARED = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters, gauges and histograms of one application."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("marquee_requests", "Requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "marquee_request_seconds", "Time of a request.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.queue = Gauge(
            "marquee_queue_requests",
            "Requests that wait for a classifier or are with it.",
            ["classifier"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch = Histogram("marquee_batch_texts", "Texts of a forward pass.", buckets=_TEXTS, registry=registry)
        self._answers = Counter("marquee_answers", "Texts answered.", ["model"], registry=registry)
        self._remembered = Counter("marquee_cache_hits", "Texts whose answer was remembered.", registry=registry)
        self._abstained = Counter("marquee_abstentions", "Answers that none applies.", registry=registry)
        self._dropped = Counter("marquee_invalid_words", "Words of a model that were no labels.", registry=registry)
        self._questions = Counter("marquee_questions", "Typed questions answered.", ["type"], registry=registry)
        self._problems = Counter("marquee_problems", "Texts without an answer.", ["kind"], registry=registry)
        self._lookups = Counter("marquee_lookups", "Titles looked up, by who told.", ["provider"], registry=registry)
        build = Gauge(
            "marquee_build_info", "This program; always 1.", ["version", "python"], registry=registry,
            multiprocess_mode="max",
        )  # fmt: skip
        build.labels(__version__, platform.python_version()).set(1)
        self._tokens = Counter("marquee_tokens", "Tokens of language models.", ["model", "kind"], registry=registry)
        self._dollars = Counter("marquee_cost_usd", "Their cost, where prices are known.", ["model"], registry=registry)

    def asked(self, route: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, predictions: Iterable[Prediction]) -> None:
        """Note the answers of a request."""
        for prediction in predictions:
            if prediction.problem:
                self._problems.labels(prediction.problem.kind).inc()
                continue
            self._answers.labels(prediction.source.model).inc()
            self._remembered.inc(prediction.cached)
            self._abstained.inc(not prediction.labels)
            self._dropped.inc(len(prediction.dropped))
            self._took(prediction)

    def decided(self, types: Iterable[str]) -> None:
        """Note the answers to typed questions."""
        for one in types:
            self._questions.labels(one).inc()

    def again(self, model: str, texts: int) -> None:
        """Note answers that were remembered as a whole."""
        self._answers.labels(model).inc(texts)
        self._remembered.inc(texts)

    def looked_up(self, provider: str) -> None:
        """Note a title that was looked up; ``none`` where nobody told."""
        self._lookups.labels(provider).inc()

    def exposition(self) -> bytes:
        """All figures as Prometheus reads them; those of all worker processes, where there are several."""
        if _SHARED not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

    def _took(self, prediction: Prediction) -> None:
        model, usage = prediction.source.model, prediction.usage
        for kind in ("prompt", "cached", "completion"):
            if tokens := getattr(usage, f"{kind}_tokens"):
                self._tokens.labels(model, kind).inc(tokens)
        if dollars := cost(model, usage):
            self._dollars.labels(model).inc(dollars)


def install(app: Flask, metrics: Metrics) -> None:
    """Serve the figures at ``/metrics``."""

    def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    app.add_url_rule("/metrics", "metrics", figures)


def left_by(process: int) -> None:
    """Forget the gauges of a worker process that has ended."""
    if folder := os.environ.get(_SHARED):
        for file in Path(folder).glob(f"gauge_live*_{process}.db"):
            file.unlink(missing_ok=True)
