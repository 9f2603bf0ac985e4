"""Export of OpenTelemetry traces, switched on by OpenTelemetry's standard environment variables.

Spans are opened with ``opentelemetry-api``, which does nothing until a tracer provider is set. The SDK and its
exporters are optional: ``requirements-otel.txt``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import trace

from prompts.errors import InvalidSetting
from prompts.installation import missing

_REQUEST_EXPORT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def configure_tracing(environment: Mapping[str, str] = os.environ) -> None:
    """Set the tracer provider that the environment requests.

    Call it in the process that serves: the exporting thread does not survive a fork.

    Raises:
        InvalidSetting: the SDK or the exporter is not installed.
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
