"""Logs as text or JSON lines, a Prometheus registry per application, and the export of OpenTelemetry spans."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from llm.classifier import Prediction, Usage
from llm.request_context import CURRENT_REQUEST
from llm.spending.costs import cost
from marquee import __version__
from marquee.drift import DriftFigures, DriftReference, DriftWindow
from prompts.errors import InvalidSetting
from prompts.installation import missing

# Client libraries that log every request at INFO.
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "flask-limiter", "sentence_transformers")
_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_NO_USAGE = Usage()
_REQUEST_EXPORT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class JSONLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request id, and what ``extra={"fields": {…}}`` adds.

    Records never contain a text of a request.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := CURRENT_REQUEST.get().request_id:
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """A record as one line for people: time of day, level, message, and what ``extra={"fields": {…}}`` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with the traceback of an exception below it."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{time} {record.levelname.lower():7} {record.getMessage()}  {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str, log_format: str = "json") -> None:
    """Log to standard error.

    Args:
        level: minimum level.
        log_format: ``text``, ``json`` (JSON lines), or ``auto``: text if standard error is a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextLines() if as_text else JSONLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Metrics:
    """Counters, gauges and histograms of one application."""

    def __init__(self, references: Sequence[DriftReference] = ()) -> None:
        self._registry = registry = CollectorRegistry()
        self._windows = {reference.taxonomy: DriftWindow(reference) for reference in references}
        self._requests = Counter("marquee_requests", "Requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "marquee_request_seconds", "Duration of a request.", ["route"], buckets=_SECONDS, registry=registry
        )
        about = "Requests that wait for a classifier or are being computed."
        gauge = partial(Gauge, registry=registry)
        self.queue = gauge("marquee_queue_requests", about, ["classifier"], multiprocess_mode="livesum")
        self.batch = Histogram("marquee_batch_texts", "Texts of a forward pass.", buckets=_TEXTS, registry=registry)
        self._answers = Counter("marquee_answers", "Texts with an answer.", ["model"], registry=registry)
        self._cached = Counter("marquee_cache_hits", "Texts whose answer was cached.", registry=registry)
        self._abstentions = Counter("marquee_abstentions", "Answers without a label.", registry=registry)
        self._warned = Counter("marquee_warned", "Answers with a warning: another language.", registry=registry)
        self._dropped = Counter("marquee_invalid_words", "Words of a model that are not labels.", registry=registry)
        self._questions = Counter("marquee_questions", "Typed questions with an answer.", ["type"], registry=registry)
        self._problems = Counter("marquee_problems", "Texts without an answer.", ["kind"], registry=registry)
        self._lookups = Counter("marquee_lookups", "Titles looked up, by provider.", ["provider"], registry=registry)
        self._feedback = Counter("marquee_feedback", "Feedback, by kind.", ["taxonomy", "kind"], registry=registry)
        latest = partial(gauge, multiprocess_mode="livemostrecent")
        about = "Population stability index of the latest answers against the reference."
        self._drift = latest("marquee_drift_psi", about, ["taxonomy", "part"])
        about = "Share of the latest answers below the reference's first decile of confidence."
        self._low_confidence = latest("marquee_low_confidence_ratio", about, ["taxonomy"])
        about = "Right labels of feedback on answers with a prediction set."
        self._covered = Counter("marquee_feedback_right_labels", about, ["taxonomy", "in_set"], registry=registry)
        about = "Calibrated probability that a right label is in the prediction set."
        self._coverage = latest("marquee_coverage_target", about, ["taxonomy"])
        labels = ["version", "python"]
        build = gauge("marquee_build_info", "This program; always 1.", labels, multiprocess_mode="max")
        build.labels(__version__, platform.python_version()).set(1)
        self._tokens = Counter("marquee_tokens", "Tokens of language models.", ["model", "kind"], registry=registry)
        self._dollars = Counter("marquee_cost_usd", "Their cost, where prices are known.", ["model"], registry=registry)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request and its duration."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_predictions(self, predictions: Iterable[Prediction]) -> None:
        """Count the predictions of a request."""
        for prediction in predictions:
            if prediction.problem:
                self._problems.labels(prediction.problem.kind).inc()
                continue
            self._answers.labels(prediction.source.model).inc()
            self._cached.inc(prediction.cached)
            self._abstentions.inc(not prediction.labels)
            self._warned.inc(bool(prediction.warnings))
            self._dropped.inc(len(prediction.dropped))
            if prediction.usage != _NO_USAGE:
                self._count_usage(prediction.source.model, prediction.usage)
            if window := self._windows.get(prediction.source.taxonomy):
                self._compare(prediction.source.taxonomy, window.add(prediction))

    def count_cached(self, model: str, texts: int) -> None:
        """Count the texts of a cached response."""
        self._answers.labels(model).inc(texts)
        self._cached.inc(texts)

    def count_questions(self, types: Iterable[str]) -> None:
        """Count answers to typed questions."""
        for question_type in types:
            self._questions.labels(question_type).inc()

    def count_feedback(self, taxonomy: str, kind: str) -> None:
        """Count feedback that is stored."""
        self._feedback.labels(taxonomy, kind).inc()

    def count_covered(self, taxonomy: str, covered: int, missed: int) -> None:
        """Count the right labels of feedback that are in the prediction set of the answer, and those that are not."""
        self._covered.labels(taxonomy, "true").inc(covered)
        self._covered.labels(taxonomy, "false").inc(missed)

    def set_coverage_target(self, taxonomy: str, coverage: float) -> None:
        """Set the coverage that a taxonomy is calibrated for."""
        self._coverage.labels(taxonomy).set(coverage)

    def count_lookup(self, provider: str) -> None:
        """Count a title that was looked up; ``none`` where no provider knows it."""
        self._lookups.labels(provider).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; the sum over worker processes where there are several."""
        if _MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

    def _compare(self, taxonomy: str, found: DriftFigures | None) -> None:
        """Set the gauges of drift; ``found`` is None where there is nothing new."""
        if found is None:
            return
        self._drift.labels(taxonomy, "labels").set(found.labels)
        if found.confidence is not None and found.low_confidence is not None:
            self._drift.labels(taxonomy, "confidence").set(found.confidence)
            self._low_confidence.labels(taxonomy).set(found.low_confidence)

    def _count_usage(self, model: str, usage: Usage) -> None:
        for kind in ("prompt", "cached", "completion"):
            if tokens := getattr(usage, f"{kind}_tokens"):
                self._tokens.labels(model, kind).inc(tokens)
        if dollars := cost(model, usage):
            self._dollars.labels(model).inc(dollars)


def remove_gauges(process: int) -> None:
    """Remove the gauges of a worker process that has ended."""
    if folder := os.environ.get(_MULTIPROCESS):
        for file in Path(folder).glob(f"gauge_live*_{process}.db"):
            file.unlink(missing_ok=True)


def configure_tracing(environment: Mapping[str, str] = os.environ) -> None:
    """Set the OpenTelemetry tracer provider that the environment requests.

    Spans are opened with ``opentelemetry-api``, which does nothing until a provider is set. Call this function in the
    process that serves: the exporting thread does not survive a fork.

    Raises:
        InvalidSetting: the SDK or the exporter (``requirements-otel.txt``) is not installed.
    """
    if (exporter := requested_exporter(environment)) is None:
        return
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise missing("OTEL_…: the export of traces", "otel") from None
    resource = Resource.create({"service.name": "marquee"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    trace.set_tracer_provider(provider)


def requested_exporter(environment: Mapping[str, str]) -> str | None:
    """Entry point name of the requested exporter; None where no traces are requested.

    Raises:
        InvalidSetting: the OTLP protocol is unknown.
    """
    name = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or name == "none"
    if disabled or not any(environment.get(variable) for variable in _REQUEST_EXPORT):
        return None
    if name != "otlp":
        return name
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if (protocol or "http/protobuf") not in _OTLP:
        raise InvalidSetting(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is unknown; use one of: {', '.join(_OTLP)}")
    return _OTLP[protocol or "http/protobuf"]


def _exporter(name: str) -> Any:
    installed = entry_points(group="opentelemetry_traces_exporter")
    if name not in installed.names:
        names = ", ".join(sorted(installed.names))
        raise InvalidSetting(f"OTEL_TRACES_EXPORTER: no exporter {name!r} is installed; installed: {names}")
    return installed[name].load()()
