"""A vLLM server started beside the service, which asks it and ends with it."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import click

from llm.vllm_server import Options, Told, VLLMServer
from service.settings import Settings, read_settings


def with_vllm(model: str, **given: Any) -> tuple[Settings, VLLMServer]:
    """Settings, and a vLLM server, not yet started, which they ask. It serves under the name that is set, else under
    the model's own: an answer should not carry the name of a model that did not give it."""
    settings = read_settings(**given, classifier="embedded")  # so far: no other endpoint's settings are looked at
    weights = str(Path(model).expanduser()) if model.startswith("~") else model or settings.model
    if model and "model" not in settings.model_fields_set:
        settings = settings.model_copy(update={"model": Path(weights).name if Path(weights).is_dir() else model})
    python = str(Path(settings.vllm_python or sys.executable).expanduser())
    options = Options(python, settings.vllm_max_model_len, tuple(shlex.split(settings.vllm_arguments)))
    vllm = VLLMServer(weights, settings.model, options)
    return settings.asking(vllm.base_url, vllm.api_key), vllm


def start(vllm: VLLMServer) -> None:
    """Start vLLM and say how it goes; a SIGTERM meanwhile is an end like any other, so that vLLM ends too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    click.echo(f"Starting vLLM; its log: {vllm.log}")
    try:
        vllm.start(_progress())
    finally:
        if sys.stdout.isatty():
            click.echo()


def _progress() -> Told:
    """Tells how long vLLM takes and what it is at: a line that rewrites itself on a terminal, else one now and then."""
    told_at = float("-inf")

    def told(seconds: float, words: str) -> None:
        nonlocal told_at
        line = f"  {seconds:4.0f} s  {words}"
        if sys.stdout.isatty():
            click.echo(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", nl=False)
        elif words and seconds - told_at >= 10:
            told_at = seconds
            click.echo(line)

    return told
