"""Traces for OpenTelemetry, where its standard variables ask for them: a request, and under it what it waited for.

The packages stand in ``requirements-otel.txt``; without them, and without the variables, nothing of this is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llm.request_context import Span
from prompts.errors import InvalidSetting

_ASKS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


class Spans:
    """Makes spans.

    Args:
        provider: OpenTelemetry's ``TracerProvider``.
    """

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("marquee")

    def request(self, method: str, route: str, headers: Mapping[str, str]) -> RequestSpan:
        """The span of a request; under the caller's, where its headers tell of one (W3C ``traceparent``)."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            f"{method} {route}",
            extract({name.lower(): value for name, value in headers.items()}),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": route},
        )
        return RequestSpan(self._tracer, span)


class RequestSpan:
    """The span of a request while it lasts; a ``llm.request_context.Trace`` for what is done on its behalf."""

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer, self._span = tracer, span

    @property
    def trace_id(self) -> str:
        """Its trace, in hex, so that the log can name it."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def end(self, status: int) -> None:
        """The request was answered so."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            _failed(self._span, f"status {status}")
        self._span.end()

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
        """See ``llm.request_context.Trace.span``."""
        from opentelemetry.propagate import inject
        from opentelemetry.trace import SpanKind, set_span_in_context

        kind = SpanKind.CLIENT if "server.address" in attributes else SpanKind.INTERNAL
        span = self._tracer.start_span(name, set_span_in_context(self._span), kind, dict(attributes))
        headers: dict[str, str] = {}
        inject(headers, set_span_in_context(span))
        try:
            yield Span(headers, lambda why: _failed(span, why))
        except BaseException as error:
            _failed(span, type(error).__name__)
            raise
        finally:
            span.end()


def _failed(span: Any, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, why))


def spans(environment: Mapping[str, str] = os.environ) -> Spans | None:
    """What the standard variables ask for; None where they ask for nothing. To be called in the process that serves:
    the thread that sends spans does not survive a fork.

    Raises:
        InvalidSetting: they ask for what is not here.
    """
    kind = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or kind == "none"
    if off or not any(environment.get(name) for name in _ASKS):
        return None
    try:
        return Spans(_provider(kind, environment))
    except ImportError:
        raise InvalidSetting("OTEL_…: traces are asked for; pip install -r requirements-otel.txt") from None


def _provider(kind: str, environment: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "marquee"}))
    provider.add_span_processor(BatchSpanProcessor(_exporter(kind, environment)))
    return provider


def _exporter(kind: str, environment: Mapping[str, str]) -> Any:
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if kind != "otlp" or (protocol or "http/protobuf") != "http/protobuf":
        raise InvalidSetting(
            f"OTEL_TRACES_EXPORTER={kind} with protocol {protocol or 'http/protobuf'} is not spoken here; "
            "otlp over http/protobuf and console are"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
