"""`main.py serve`: the HTTP service, with a language model beside it where one is asked for."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llm.classifier import Classifier
    from prompts.taxonomy import Taxonomy
    from service.settings import Settings

EXAMPLE = "A young smith forges a magic sword to free her kingdom from a dragon."


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 5000]")
@click.option("--local", help="Folder or name of a language model to load into this process, without any server.")
@click.option("--trained", type=click.Path(path_type=Path), help="Folder of a trained baseline, see `main.py train`.")
@click.option(
    "--vllm",
    "vllm_model",
    metavar="[MODEL]",
    is_flag=False,
    flag_value="",
    help="Start a vLLM server too and ask it; MODEL is a folder or a name on the hub.  [default: MARQUEE_MODEL]",
)
def serve(host: str | None, port: int | None, local: str | None, trained: Path | None, vllm_model: str | None) -> None:
    """Start the HTTP service."""
    from flask import Flask

    from service.app import create_app
    from service.server import Server, listen
    from service.settings import read_settings
    from service.vllm import start, with_vllm
    from service.wiring import build

    if sum((bool(local), trained is not None, vllm_model is not None)) > 1:
        raise click.UsageError("--local, --trained and --vllm are ways to choose who answers; give one")
    if trained is not None:
        settings, vllm = read_settings(host=host, port=port, taxonomy=_learnt(trained).name), None
    elif vllm_model is None:
        settings, vllm = read_settings(host=host, port=port, local_model=local), None
    else:
        settings, vllm = with_vllm(vllm_model, host=host, port=port)
        build(settings)  # what is wrong should be told before vLLM takes its minutes
    listener = listen(settings.host, settings.port)  # likewise
    url = f"http://{settings.host}:{listener.getsockname()[1]}"

    def make_app() -> Flask:
        # in the worker: neither torch's threads nor open connections survive a fork
        parts = build(settings, _loaded(trained) if trained else None)
        parts.load()
        return create_app(parts)

    with ExitStack() as at_the_end:
        if vllm:
            at_the_end.callback(vllm.stop)
            start(vllm)
        click.echo(f"Answers: {_who(settings, trained)}\nStarting on {url} ...")
        Server(make_app, listener, settings.threads, on_ready=lambda: click.echo(_invitation(url))).run()


def _learnt(trained: Path) -> Taxonomy:
    """The vocabulary of a trained baseline, which must still be the one on the shelf."""
    from eval.baselines.manifest import parts_of
    from prompts import shelf

    _, learnt, _ = parts_of(trained)
    now = shelf.taxonomy(learnt.name)
    if now.digest != learnt.digest:
        raise click.UsageError(
            f"{trained} was trained for {learnt.name}@{learnt.digest}, which is {now.digest} by now; train again"
        )
    return now


def _loaded(trained: Path) -> Classifier:
    from eval.baselines import load

    return load(trained)


def _who(settings: Settings, trained: Path | None) -> str:
    """Who will answer, in words, without loading anything that the worker will load."""
    if trained:
        return f"what was trained in {trained}, for {settings.taxonomy}"
    if settings.local_model:
        return f"{settings.local_model}, in this process"
    from service.parts import Choice
    from service.wiring import build

    parts = build(settings)
    name = parts.classifier_for(Choice()).name
    if not settings.asks_a_model:
        return f"{name} (no endpoint or key is set: the small model in this process answers; see README, Configuration)"
    problem = parts.check()
    return f"{name} at {settings.base_url}" + (f"\n  warning: {problem.detail}" if problem else "")


def _invitation(url: str) -> str:
    body = json.dumps({"description": EXAMPLE})
    return f"Ready. Try:\n  curl -X POST {url}/classify -H 'Content-Type: application/json' \\\n    -d '{body}'"
