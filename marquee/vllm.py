"""A vLLM server started beside the service, which asks it and ends with it."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import click

from llm.backends.vllm_server import OnProgress, Options, VLLMServer
from llm.lora_adapter import Adapter, adapter_in, refuse_other_base, vllm_arguments
from marquee.settings import Settings, read_settings


def with_vllm(model: str, **given: Any) -> tuple[Settings, VLLMServer]:
    """Settings, and the vLLM server, not yet started, that they point to.

    It serves under the name that is set, else under the model's own name: answers must carry the name of the model that
    gave them. An adapter has its own name beside that of its base.

    Raises:
        InvalidSetting: a setting that cannot work, or an adapter that cannot be served on this model.
    """
    settings = read_settings(**given, classifier="embedded")  # so far: no other endpoint's settings are looked at
    adapter = adapter_in(Path(settings.adapter)) if settings.adapter else None
    weights = _weights(model, settings, adapter)
    served, asked = _names(weights, settings.model if model and "model" in settings.model_fields_set else "", adapter)
    arguments = tuple(shlex.split(settings.vllm_arguments))
    if adapter:
        refuse_other_base(adapter, weights)
        arguments = (*vllm_arguments(adapter, asked), *arguments)
    python = str(Path(settings.vllm_python or sys.executable).expanduser())
    vllm = VLLMServer(weights, served, Options(python, settings.vllm_max_model_len, arguments))
    return settings.model_copy(update={"model": asked}).asking(vllm.base_url, vllm.api_key), vllm


def _names(weights: str, given: str, adapter: Adapter | None) -> tuple[str, str]:
    """Under which name vLLM serves the model, and which one is asked for."""
    own = Path(weights).resolve().name if Path(weights).is_dir() else weights
    if adapter is None:
        return given or own, given or own
    asked = given or adapter.name_on(own)
    return (f"{own} without adapter" if own == asked else own), asked


def _weights(model: str, settings: Settings, adapter: Adapter | None) -> str:
    """What vLLM loads: the model given, or that of the settings, or else the adapter's own base."""
    if model.startswith("~"):
        return str(Path(model).expanduser())
    return model or (adapter.base if adapter and "model" not in settings.model_fields_set else settings.model)


def start(vllm: VLLMServer) -> None:
    """Start vLLM and say how it goes; a SIGTERM meanwhile is an end like any other, so that vLLM ends too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    click.echo(f"Starting vLLM; its log: {vllm.log}")
    try:
        vllm.start(_progress())
    finally:
        if sys.stdout.isatty():
            click.echo()


def _progress() -> OnProgress:
    """Tells how long vLLM takes and what it is at: a line that rewrites itself on a terminal, else one now and then."""
    told_at = float("-inf")

    def on_progress(seconds: float, words: str) -> None:
        nonlocal told_at
        line = f"  {seconds:4.0f} s  {words}"
        if sys.stdout.isatty():
            click.echo(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", nl=False)
        elif words and seconds - told_at >= 10:
            told_at = seconds
            click.echo(line)

    return on_progress
