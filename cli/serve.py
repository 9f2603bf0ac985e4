"""`main.py serve`: the HTTP service, optionally with a vLLM or llama.cpp server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, EndpointOptions, endpoint_options
from cli.group import examples
from cli.names import complete_taxonomy

if TYPE_CHECKING:
    import socket

    from flask import Flask

    from llm.backends.child_server import ChildServer, OnProgress
    from marquee.settings import Settings


EXAMPLE = "A young smith forges a magic sword to free her kingdom from a dragon."


@click.command(
    short_help="Start the HTTP service.",
    epilog=examples(
        "serve",
        "serve --host 0.0.0.0 --port 8080 --allow-anonymous",
        "serve --model gpt-4o-mini --api-key-env MY_KEY",
        "serve --gguf qwen2.5-1.5b-instruct-q4_k_m.gguf",
        "serve --system hf:models/my-nli-model",
        "serve --vllm Qwen/Qwen2-7B-Instruct",
    ),
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 5000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; each loads the model.  [default: 1]")
@click.option(
    "--taxonomy", shell_complete=complete_taxonomy, help="Default taxonomy: a name, or a YAML file.  [default: tmdb]"
)
@endpoint_options
@click.option("--system", help="embedded, or hf:NAME_OR_PATH: a pretrained model.  [default: MARQUEE_CLASSIFIER]")
@click.option("--local", help="Folder or name of a language model to load into this process, without any server.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bfloat16", "float32"]),
    help="Number format of models in this process; auto: bfloat16 where the GPU or CPU multiplies in it.  "
    "[default: auto]",
)
@click.option("--trained", type=PATH, help="Folder of a trained baseline, see `main.py train`.")
@click.option(
    "--vllm",
    "vllm_model",
    metavar="[MODEL]",
    is_flag=False,
    flag_value="",
    help="Start a vLLM server and use it; MODEL is a folder or a name on the hub.  [default: MARQUEE_MODEL]",
)
@click.option(
    "--gguf",
    metavar="FILE",
    help="Start llama.cpp with a GGUF file and use it, without a GPU.  [default: MARQUEE_GGUF]",
)
@click.option(
    "--adapter", help="Folder of a LoRA adapter for the model of --local, --vllm or --gguf; see `main.py train lora`."
)
@click.option("--allow-anonymous", is_flag=True, default=None, help="Accept requests without an API key.")
@click.option("--debug", is_flag=True, help="Flask's development server on loopback, with reload and tracebacks.")
def serve(
    system: str | None, local: str | None, trained: Path | None, vllm_model: str | None, gguf: str | None,
    endpoint: EndpointOptions, debug: bool, **overrides: Any,
) -> None:  # fmt: skip
    """Start the HTTP service. Options take precedence over the settings."""
    from marquee.serving import adapter_in_use, gguf_in_settings, with_gguf, with_vllm

    chosen = {"--system": system, "--local": local, "--trained": trained, "--vllm": vllm_model, "--gguf": gguf}
    own = [option for option, value in chosen.items() if value is not None]
    _check(own, endpoint, overrides["taxonomy"])
    adapter = overrides["adapter"]
    if adapter is not None and own not in (["--local"], ["--vllm"], ["--gguf"]):
        raise click.UsageError("--adapter changes a language model; give --local, --vllm or --gguf beside it")
    server: ChildServer | None = None
    if trained is not None:
        overrides["taxonomy"] = _taxonomy_of(trained)
    file = gguf if own or endpoint.given else gguf_in_settings() or None
    if vllm_model is not None:
        settings, server = with_vllm(vllm_model, **overrides, model=endpoint.model)
    elif file is not None:
        settings, server = with_gguf(file, **overrides)
    else:
        here = {"classifier": system, "local_model": ""} if system else {"local_model": local} if local else {}
        settings = endpoint.settings(**overrides | here)
    if trained is None and (adapter := adapter or adapter_in_use(settings, started=server is not None)):
        settings = _as_trained(settings, Path(adapter), file)
    with ExitStack() as at_the_end:
        _serve(settings, server, trained, debug, at_the_end)


def _check(own: list[str], endpoint: EndpointOptions, taxonomy: str | None) -> None:
    """Refuse options that exclude each other; ``own`` are those that choose the classifier."""
    if len(own) > 1:
        raise click.UsageError(f"give one of {', '.join(own)}: each of them chooses the classifier")
    needless = endpoint.given if own != ["--vllm"] else replace(endpoint, model=None).given
    if own and needless:
        raise click.UsageError(f"{needless}: these are for an endpoint, and {own[0]} needs none; leave them out")
    if own == ["--trained"] and taxonomy:
        raise click.UsageError("--trained brings the taxonomy of its training; leave --taxonomy out")


def _as_trained(settings: Settings, adapter: Path, gguf: str | None) -> Settings:
    """The settings that the adapter was trained with, unless they are set; prints notes about the adapter."""
    from marquee.serving import as_trained, weights_note

    settings, words = as_trained(settings, adapter)
    for word in words + ([weights_note(adapter, gguf)] if gguf else []):
        click.echo(word, err=True)
    return settings


def _serve(
    settings: Settings, server: ChildServer | None, trained: Path | None, debug: bool, at_the_end: ExitStack
) -> None:
    from llm.backends.lora_adapter import check_base, load_adapter
    from llm.backends.missing_models import why_missing
    from similarity.native import share_cores

    share_cores(settings.workers)  # before anything imports torch
    if settings.workers > 1:
        at_the_end.enter_context(_shared_metrics())  # before anything imports prometheus_client
    from service.access_control import access_control_of
    from service.server import check_host, listen, serve_debugging
    from service.services import build
    from service.telemetry import configure_logging

    check_host(settings.host)
    access_control_of(settings)  # an error is reported before the server takes its minutes
    if not settings.local_model:
        build(settings)
    elif why := why_missing(settings.local_model):
        raise click.ClickException(why)
    elif settings.adapter:  # weights are the worker's to load: torch's threads do not survive a fork
        check_base(load_adapter(Path(settings.adapter)), settings.local_model)
    listener = None if debug else at_the_end.enter_context(listen(settings.host, settings.port))
    if server:
        at_the_end.callback(server.stop)
        _start(server)
    click.echo(f"Answers: {_classifier_in_words(settings, trained)}")
    configure_logging(settings.log_level, settings.log_format)
    if listener is None:
        serve_debugging(lambda: _app(settings, trained, Event()), settings)
    else:
        _run(settings, trained, listener)


def _start(server: ChildServer) -> None:
    """Start the server and print its progress. SIGTERM ends this process in the regular way, which ends it too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    click.echo(f"Starting {server.title}; its log: {server.log}")
    try:
        server.start(_progress())
    finally:
        if sys.stdout.isatty():
            click.echo()


def _progress() -> OnProgress:
    """Prints seconds and state: a line that overwrites itself on a terminal, else a line every 10 seconds."""
    printed_at = float("-inf")

    def on_progress(seconds: float, words: str) -> None:
        nonlocal printed_at
        line = f"  {seconds:4.0f} s  {words}"
        if sys.stdout.isatty():
            click.echo(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", nl=False)
        elif words and seconds - printed_at >= 10:
            printed_at = seconds
            click.echo(line)

    return on_progress


def _run(settings: Settings, trained: Path | None, listener: socket.socket) -> None:
    from prompts.network import url_of
    from service.server import Server

    url = url_of(settings.host, listener.getsockname()[1])
    click.echo(f"Starting on {url} ...")
    stopping = Event()
    invite = partial(click.echo, _invitation(url))
    make_app = partial(_app, settings, trained, stopping)
    Server(make_app, listener, settings, on_ready=invite, on_stop=stopping.set).run()


def _app(settings: Settings, trained: Path | None, stopping: Event) -> Flask:
    from service.access_control import access_control_of
    from service.app import create_app
    from service.services import build
    from service.telemetry import configure_tracing

    # In the worker: neither torch's threads nor open connections survive a fork, nor does the one that sends spans.
    configure_tracing()
    classifier = None
    if trained:
        from eval.baselines import load

        classifier = load(trained)
    services = build(settings, classifier)
    services = replace(services, access=access_control_of(settings), stopping=stopping)
    services.load()
    return create_app(services)


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """A folder for the metrics of all worker processes, so that each of them can report the total."""
    owner, folder = os.getpid(), tempfile.mkdtemp(prefix="marquee-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked worker runs this at its exit too
            shutil.rmtree(folder, ignore_errors=True)


def _taxonomy_of(trained: Path) -> str:
    """The name of a trained baseline's taxonomy, or its file in the folder where that name is not registered.

    Raises:
        UsageError: another taxonomy is registered under the name.
    """
    from eval.baselines.trained import read_manifest
    from marquee.settings import use_own_folders
    from prompts import registry

    use_own_folders()
    _, taxonomy, _ = read_manifest(trained)
    own = trained / f"{taxonomy.name}.yaml"
    if taxonomy.name not in registry.taxonomies() and own.is_file():
        return str(own)
    registered = registry.taxonomy(taxonomy.name)
    if registered.digest != taxonomy.digest:
        raise click.UsageError(
            f"{trained} was trained for {taxonomy.versioned_name}, which is {registered.digest} by now; train again"
        )
    return registered.name


def _classifier_in_words(settings: Settings, trained: Path | None) -> str:
    """The classifier in words; loads nothing that the worker loads."""
    if trained:
        return f"the model trained in {trained}, for {settings.taxonomy}"
    if settings.local_model:
        return f"{settings.local_model}, in this process"
    from prompts.network import without_login
    from service.services import build

    services = build(settings)
    name = services.model
    if settings.pretrained:
        return f"{name}, in this process"
    if not settings.uses_language_model:
        return f"{name} (no endpoint or key is set: the embedded classifier answers; see docs/language-models.md)"
    problem = services.check()
    return f"{name} at {without_login(settings.base_url)}" + (f"\n  warning: {problem.detail}" if problem else "")


def _invitation(url: str) -> str:
    body = json.dumps({"description": EXAMPLE})
    return f"Ready. Try:\n  curl -X POST {url}/classify -H 'Content-Type: application/json' \\\n    -d '{body}'"
