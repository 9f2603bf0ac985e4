"""The language model of the settings: in this process, or behind an endpoint.

The clients of endpoints are imported where one is built: without, the embedded classifier answers 0.1 s sooner.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from marquee.loaded_models import local_backend

if TYPE_CHECKING:
    from llm.backends.backend import Backend
    from llm.backends.capabilities import CapabilityProbe, ModelName
    from llm.backends.openai_compatible import EndpointSettings
    from llm.backends.transport import HTTPTransport
    from marquee.settings import Settings


def probe_of(settings: Settings) -> CapabilityProbe:
    """The capability checks of the endpoint, with their stored results."""
    from llm.backends.capabilities import CapabilityProbe

    transport = _transport(settings)
    return CapabilityProbe(transport, _model_name(transport, settings), settings.probe_path)


def backend_of(settings: Settings) -> Backend:
    """The language model that the settings name: in this process, or behind an endpoint."""
    if settings.local_model:
        return local_backend(settings.local_model, Path(settings.adapter) if settings.adapter else None)
    from llm.backends.batch_transport import BatchTransport
    from llm.backends.capabilities import CapabilityProbe
    from llm.backends.openai_compatible import OpenAICompatible

    transport = _transport(settings)
    model = _model_name(transport, settings)
    capabilities = CapabilityProbe(transport, model, settings.probe_path)
    size = settings.texts_per_request or 1
    return OpenAICompatible(
        BatchTransport(transport, capabilities, size) if size > 1 else transport, model, capabilities
    )


def _transport(settings: Settings) -> HTTPTransport:
    return endpoint_settings(settings).transport()


def endpoint_settings(settings: Settings) -> EndpointSettings:
    """The part of the settings that reaches the endpoint."""
    from llm.backends.openai_compatible import EndpointSettings

    return EndpointSettings(
        settings.base_url, settings.openai_api_key.get_secret_value(), settings.extra_body, settings.reasoning_tokens,
        settings.probe_path, settings.timeout, settings.retries, settings.concurrency,
    )  # fmt: skip


def _model_name(transport: HTTPTransport, settings: Settings) -> ModelName:
    from llm.backends.capabilities import ModelName

    return ModelName(transport, settings.model, "model" in settings.model_fields_set)
