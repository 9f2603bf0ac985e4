"""Marquee's front door: one command line that wires the rooms together. Heavy imports wait inside the commands."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prompts.errors import MarqueeError

if TYPE_CHECKING:
    from eval.datasets import Example
    from llm.classifier import Classifier, Prediction
    from llm.engines.engine import Engine
    from llm.engines.wire import Wire
    from llm.vllm_server import Told, VLLMServer
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text
    from service.parts import Choice, ClassifierFor, Parts
    from service.schemas import ClassifyRequest
    from service.settings import Settings

EXAMPLE = "A young smith forges a magic sword to free her kingdom from a dragon."


class FrontDoor(click.Group):
    """A command group that tells expected errors in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MarqueeError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Marquee: zero-shot text classification with prompt templates."""


# --- wiring ---


def build(settings: Settings) -> Parts:
    """Put the rooms together: who answers, from where, within which limits."""
    from llm.embedded import Embedded
    from prompts import shelf
    from service.parts import Limits, Parts
    from similarity.encoder import MiniLM

    taxonomy = shelf.taxonomy(settings.taxonomy)  # an unknown default should stop the start, not every request
    limits = Limits(settings.max_body_bytes, settings.max_texts, settings.max_text_chars, settings.max_request_labels)
    embedded = Embedded(MiniLM())

    def load() -> None:
        embedded.classify([EXAMPLE], taxonomy)

    if not settings.asks_a_model:
        return Parts(lambda choice: embedded, lambda: None, load, taxonomy.name, limits)
    engine = _engine(settings)
    asking = _asking(engine, settings, embedded)
    if settings.fallback:
        return Parts(asking, lambda: None, load, taxonomy.name, limits)
    return Parts(asking, engine.check, lambda: engine.code_limit, taxonomy.name, limits)  # probes, if need be


def _wire(settings: Settings) -> Wire:
    from llm.engines.wire import Wire

    key = settings.openai_api_key.get_secret_value()
    return Wire(settings.base_url, key, settings.timeout, settings.retries, settings.concurrency)


def _engine(settings: Settings) -> Engine:
    from llm.engines.openai_compatible import OpenAICompatible
    from llm.engines.probe import Probed

    wire = _wire(settings)
    return OpenAICompatible(wire, settings.model, Probed(wire, settings.model, settings.probe_path))


def _asking(engine: Engine, settings: Settings, embedded: Classifier) -> ClassifierFor:
    """Classifiers that ask an engine, remember its answers, and fall back where the settings say so."""
    from llm.cache import AnswerStore, Cached
    from llm.decision import Decisions
    from llm.fallback import Fallback
    from llm.language_model import LanguageModel
    from llm.readings import choice as readings

    readings.named(settings.reading)  # a misspelt one should stop the start
    store = AnswerStore(settings.cache_path, settings.cache_megabytes * 2**20) if settings.cache else None
    decisions = Decisions(settings.decisions_path, settings.threshold)

    def classifier_for(choice: Choice) -> Classifier:
        asked = LanguageModel(engine, readings.named(choice.reading or settings.reading), choice.prompt, decisions)
        remembered = Cached(asked, store) if store and choice.cache else asked
        # The cache stands inside: outside it would remember an outage's answers as the model's.
        return Fallback(remembered, embedded) if settings.fallback else remembered

    return classifier_for


# --- commands ---


@main.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 5000]")
@click.option(
    "--vllm",
    "vllm_model",
    metavar="[MODEL]",
    is_flag=False,
    flag_value="",
    help="Start a vLLM server too and ask it; MODEL is a folder or a name on the hub.  [default: MARQUEE_MODEL]",
)
def serve(host: str | None, port: int | None, vllm_model: str | None) -> None:
    """Start the HTTP service."""
    from flask import Flask

    from service.app import create_app
    from service.server import Server, listen
    from service.settings import read_settings

    if vllm_model is None:
        settings, vllm = read_settings(host=host, port=port), None
    else:
        settings, vllm = _with_vllm(vllm_model, host=host, port=port)
    parts = build(settings)
    listener = listen(settings.host, settings.port)  # what is wrong should be told before vLLM takes its minutes
    url = f"http://{settings.host}:{listener.getsockname()[1]}"

    def make_app() -> Flask:
        parts = build(settings)  # in the worker: neither torch's threads nor open connections survive a fork
        parts.load()
        return create_app(parts)

    with ExitStack() as at_the_end:
        if vllm:
            at_the_end.callback(vllm.stop)
            _start(vllm)
        click.echo(f"Answers: {_who(settings, parts)}\nStarting on {url} ...")
        Server(make_app, listener, settings.threads, on_ready=lambda: click.echo(_invitation(url))).run()


def _with_vllm(model: str, **given: Any) -> tuple[Settings, VLLMServer]:
    """Settings, and a vLLM server, not yet started, which they ask. It serves under the name that is set, else under
    the model's own: an answer should not carry the name of a model that did not give it."""
    from llm.vllm_server import Options, VLLMServer
    from service.settings import read_settings

    settings = read_settings(**given, classifier="embedded")  # so far: no other endpoint's settings are looked at
    weights = str(Path(model).expanduser()) if model.startswith("~") else model or settings.model
    if model and "model" not in settings.model_fields_set:
        settings = settings.model_copy(update={"model": Path(weights).name if Path(weights).is_dir() else model})
    python = str(Path(settings.vllm_python or sys.executable).expanduser())
    options = Options(python, settings.vllm_max_model_len, tuple(shlex.split(settings.vllm_arguments)))
    vllm = VLLMServer(weights, settings.model, options)
    return settings.asking(vllm.base_url, vllm.api_key), vllm


def _start(vllm: VLLMServer) -> None:
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


def _who(settings: Settings, parts: Parts) -> str:
    from service.parts import Choice

    name = parts.classifier_for(Choice()).name
    if settings.asks_a_model:
        problem = parts.check()
        return f"{name} at {settings.base_url}" + (f"\n  warning: {problem.detail}" if problem else "")
    return f"{name} (no endpoint or key is set: the small model in this process answers; see README, Configuration)"


def _invitation(url: str) -> str:
    body = json.dumps({"description": EXAMPLE})
    return f"Ready. Try:\n  curl -X POST {url}/classify -H 'Content-Type: application/json' \\\n    -d '{body}'"


@main.command()
@click.argument("text", required=False)
@click.option("--overview", help="The text, as TMDB calls it; the same as TEXT.")
@click.option("--title", default="", help="Title of what the text describes; may stand alone.")
@click.option("--taxonomy", help="Vocabulary to choose from; see `main.py taxonomies`.")
@click.option("--labels", help="A vocabulary of your own instead: names with commas between.")
@click.option("--multi/--single", default=None, help="Several labels, or the one that fits best.")
@click.option("--max-labels", type=click.IntRange(1), help="The most labels of an answer.")
@click.option("--prompt", help="Prompt to use; see `main.py prompts`.")
@click.option("--reading", help="How a language model is read: auto, list, letters or yes_no.")
@click.option("--scores", is_flag=True, help="Show a score per label, where the model gives scores.")
@click.option("--cache/--no-cache", default=True, help="Whether a remembered answer will do.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the service does.")
def classify(
    text: str | None, overview: str | None, title: str, as_json: bool, scores: bool, cache: bool, **shape: Any
) -> None:
    """Label a TEXT, given here, by --overview, by --title alone, or on standard input."""
    from service.settings import read_settings

    given = _given_text(text, overview, title)
    parts = build(read_settings())
    asked = _request(cache=cache, **shape)
    (prediction,) = parts.classifier_for(asked.choice()).classify([given], asked.vocabulary(parts.taxonomy))
    if prediction.problem:
        raise click.ClickException(prediction.problem.detail)
    _print_prediction(prediction, scores, as_json)


def _given_text(text: str | None, overview: str | None, title: str) -> Text:
    from prompts.text import Text

    if text is not None and overview is not None:
        raise click.UsageError("TEXT and --overview are the same thing; give one")
    body = text if text is not None else overview
    if body is None and not title and not sys.stdin.isatty():
        body = sys.stdin.read()
    given = Text(body or "", title)
    if given.empty:
        raise click.UsageError("there is no text; give TEXT, --title, or standard input")
    return given


def _request(labels: str | None, **fields: Any) -> ClassifyRequest:
    """The request to the service that the options amount to; its text is not looked at."""
    from service.schemas import ClassifyRequest

    own = [name.strip() for name in labels.split(",")] if labels else None
    if own and fields["taxonomy"]:
        raise click.UsageError("give either --labels or --taxonomy")
    return ClassifyRequest.model_validate({"text": "-", "labels": own, **fields})


def _print_prediction(prediction: Prediction, scores: bool, as_json: bool) -> None:
    from service.schemas import ClassifyAnswer

    if as_json:
        click.echo(json.dumps(ClassifyAnswer.of(prediction, scores).body(), ensure_ascii=False))
        return
    click.echo(", ".join(prediction.labels) or "none of the labels applies")
    if scores:
        for name, score in prediction.scores.items():
            click.echo(f"  {score:7.3f}  {name}")
    click.echo(f"— {prediction.source.model}{', remembered' if prediction.cached else ''}", err=True)


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def taxonomies(name: str | None, as_json: bool) -> None:
    """List the vocabularies, or the labels of the one called NAME."""
    from prompts import shelf

    chosen = [shelf.taxonomy(name)] if name else list(shelf.taxonomies().values())
    if as_json:
        click.echo(json.dumps([taxonomy.as_json() for taxonomy in chosen], ensure_ascii=False))
    elif name:
        for label in chosen[0].labels:
            click.echo(f"{label.name:16} {label.description}{'' if label.predict else '  (never answered)'}")
    else:
        for taxonomy in chosen:
            shape = f"up to {taxonomy.max_labels} labels" if taxonomy.multi else "one label"
            click.echo(f"{taxonomy.name:12} {len(taxonomy.names):3} labels, {shape} a {taxonomy.subject}")


@main.group("prompts", invoke_without_command=True)
@click.pass_context
def prompts_group(ctx: click.Context) -> None:
    """List the prompts, or show one filled in."""
    from prompts import shelf

    if ctx.invoked_subcommand is None:
        for prompt in shelf.prompts().values():
            click.echo(f"{prompt.name:12} {prompt.digest}  {prompt.about}")


@prompts_group.command("show")
@click.argument("name")
@click.option("--text", default="", help="The text to put into it.")
@click.option("--title", default="", help="The title to put into it.")
@click.option("--taxonomy", help="The vocabulary to put into it.")
@click.option("--json", "as_json", is_flag=True, help="Print the messages as JSON.")
def show(name: str, text: str, title: str, taxonomy: str | None, as_json: bool) -> None:
    """Print the very messages that would be sent for a text."""
    from prompts import shelf
    from prompts.text import Text
    from service.settings import read_settings

    vocabulary = shelf.taxonomy(taxonomy or read_settings().taxonomy)
    messages = shelf.prompt(name).render(Text(text, title), vocabulary)
    if as_json:
        click.echo(json.dumps(messages, ensure_ascii=False))
        return
    for message in messages:
        click.echo(f"--- {message['role']} ---\n{message['content']}")


@main.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Examples: .jsonl or .jsonl.gz.")
@click.option("--taxonomy", help="Vocabulary of the labels.  [default: the settings']")
@click.option("--split", help="Rows of this split only.")
@click.option("--limit", type=click.IntRange(1), help="At most so many examples, always the same ones.")
@click.option("--text-field", default="description", show_default=True, help="Column of the text.")
@click.option("--title-field", help="Column of a title to give beside the text.")
@click.option("--labels-field", default="genres", show_default=True, help="Column of the labels: a list or one name.")
@click.option("--url", help="Ask the service running there instead of a classifier in this process.")
@click.option("--cache/--no-cache", default=True, help="Whether remembered answers will do.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for rows.jsonl and metrics.json.")
def evaluate(data: Path, taxonomy: str | None, url: str | None, cache: bool, out: Path | None, **choice: Any) -> None:
    """Label the examples of a file and measure how well."""
    from eval.run import record, summarise
    from prompts import shelf
    from service.client import Client
    from service.parts import Choice
    from service.settings import read_settings

    settings = read_settings()
    vocabulary = shelf.taxonomy(taxonomy or settings.taxonomy)
    examples = _examples(data, vocabulary, **choice)
    classifier = Client(url, cache) if url else build(settings).classifier_for(Choice(cache=cache))
    folder = out or Path("var/runs") / f"{data.name.partition('.')[0]}-{vocabulary.name}"
    with click.progressbar(length=len(examples), label=classifier.name, file=sys.stderr) as bar:
        rows = record(classifier, examples, vocabulary, folder, told=lambda: bar.update(1))
    for name, value in summarise(rows, vocabulary, folder).items():
        click.echo(f"{name:16} {value:8.3f}" if isinstance(value, float) else f"{name:16} {value:8}")
    click.echo(f"rows and metrics: {folder}", err=True)


def _examples(
    data: Path, taxonomy: Taxonomy, split: str | None, limit: int | None,
    text_field: str, title_field: str | None, labels_field: str,
) -> list[Example]:  # fmt: skip
    from eval.datasets import Fields, load, sample

    loaded = load(data, taxonomy, Fields(text_field, labels_field, title=title_field), split)
    if loaded.without_label:
        click.echo(f"left out: {loaded.without_label} rows without a label that may be answered", err=True)
    return sample(loaded.examples, limit)


if __name__ == "__main__":
    main()
