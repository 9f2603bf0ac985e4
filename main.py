"""Marquee's front door: one command line that enters the rooms; most of its lines declare options.

Heavy imports wait inside the commands, so that ``--help`` answers at once. Who answers is put together in
``service/wiring.py``.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prompts.errors import MarqueeError

if TYPE_CHECKING:
    from eval.datasets import Example
    from llm.classifier import Prediction
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text
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


@main.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 5000]")
@click.option("--local", help="Folder or name of a language model to load into this process, without any server.")
@click.option(
    "--vllm",
    "vllm_model",
    metavar="[MODEL]",
    is_flag=False,
    flag_value="",
    help="Start a vLLM server too and ask it; MODEL is a folder or a name on the hub.  [default: MARQUEE_MODEL]",
)
def serve(host: str | None, port: int | None, local: str | None, vllm_model: str | None) -> None:
    """Start the HTTP service."""
    from flask import Flask

    from service.app import create_app
    from service.server import Server, listen
    from service.settings import read_settings
    from service.vllm import start, with_vllm
    from service.wiring import build

    if local and vllm_model is not None:
        raise click.UsageError("--local and --vllm are two ways to run a model; give one")
    if vllm_model is None:
        settings, vllm = read_settings(host=host, port=port, local_model=local), None
    else:
        settings, vllm = with_vllm(vllm_model, host=host, port=port)
        build(settings)  # what is wrong should be told before vLLM takes its minutes
    listener = listen(settings.host, settings.port)  # likewise
    url = f"http://{settings.host}:{listener.getsockname()[1]}"

    def make_app() -> Flask:
        parts = build(settings)  # in the worker: neither torch's threads nor open connections survive a fork
        parts.load()
        return create_app(parts)

    with ExitStack() as at_the_end:
        if vllm:
            at_the_end.callback(vllm.stop)
            start(vllm)
        click.echo(f"Answers: {_who(settings)}\nStarting on {url} ...")
        Server(make_app, listener, settings.threads, on_ready=lambda: click.echo(_invitation(url))).run()


def _who(settings: Settings) -> str:
    """Who will answer, in words, without loading anything that the worker will load."""
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


@main.command()
@click.argument("text", required=False)
@click.option("--overview", help="The text, as TMDB calls it; the same as TEXT.")
@click.option("--title", default="", help="Title of what the text describes; may stand alone.")
@click.option("--taxonomy", help="Vocabulary to choose from; see `main.py taxonomies`.")
@click.option("--labels", help="A vocabulary of your own instead: names with commas between.")
@click.option("--multi/--single", default=None, help="Several labels, or the one that fits best.")
@click.option("--max-labels", type=click.IntRange(1), help="The most labels of an answer.")
@click.option("--prompt", help="Prompt to use; see `main.py prompts`.")
@click.option("--reading", help="How a language model is read: auto, list, letters, yes_no or decisions.")
@click.option("--scores", is_flag=True, help="Show a score per label, where the model gives scores.")
@click.option("--cache/--no-cache", default=True, help="Whether a remembered answer will do.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the service does.")
def classify(
    text: str | None, overview: str | None, title: str, as_json: bool, scores: bool, cache: bool, **shape: Any
) -> None:
    """Label a TEXT, given here, by --overview, by --title alone, or on standard input."""
    from service.settings import read_settings
    from service.wiring import build

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
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled texts: .jsonl or .jsonl.gz.")
@click.option("--loss", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Micro-F1 that may be lost.")
@click.option("--taxonomy", help="Vocabulary of the labels.  [default: the settings']")
@click.option("--split", default="validation", show_default=True, help="Rows of this split; never the test split.")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="At most so many texts.")
@click.option("--text-field", default="description", show_default=True, help="Column of the text.")
@click.option("--title-field", help="Column of a title to give beside the text.")
@click.option("--labels-field", default="genres", show_default=True, help="Column of the labels.")
def cascade(data: Path, loss: float, taxonomy: str | None, **choice: Any) -> None:
    """Find the margin at which MiniLM's answers may stand, so that the language model is asked least often."""
    from eval.calibrate import fit_cascade
    from prompts import shelf
    from service.parts import Choice
    from service.settings import read_settings
    from service.wiring import build

    settings = read_settings(cascade=0.0, fallback=False)
    if not settings.asks_a_model:
        raise click.ClickException("no language model is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    vocabulary = shelf.taxonomy(taxonomy or settings.taxonomy)
    small = build(read_settings(classifier="embedded")).classifier_for(Choice())
    large = build(settings).classifier_for(Choice())
    fitted = fit_cascade(small, large, vocabulary, _examples(data, vocabulary, **choice), loss)
    click.echo(f"MARQUEE_CASCADE={fitted.margin:.4f}")
    click.echo(f"{fitted.share:.1%} of the texts go to {large.name}; micro-F1 {fitted.micro_f1:.3f}", err=True)


@main.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Texts: .jsonl or .jsonl.gz.")
@click.option("--taxonomy", help="Vocabulary to calibrate for.  [default: the settings']")
@click.option(
    "--reading", type=click.Choice(["letters", "yes_no", "decisions"]), required=True, help="Reading to calibrate."
)
@click.option("--prompt", help="Prompt to calibrate.  [default: the one that suits each text]")
@click.option("--unlabelled", is_flag=True, help="The texts have no labels: correct the model's bias only.")
@click.option("--split", default="validation", show_default=True, help="Rows of this split, where they have one.")
@click.option("--limit", type=click.IntRange(1), default=500, show_default=True, help="At most so many texts.")
@click.option("--text-field", default="description", show_default=True, help="Column of the text.")
@click.option("--labels-field", default="genres", show_default=True, help="Column of the labels.")
def calibrate(taxonomy: str | None, reading: str, prompt: str | None, **choice: Any) -> None:
    """Learn how a reading's scores become labels: a threshold from labelled texts, or a correction from unlabelled."""
    from eval.calibrate import calibrate as learn
    from llm.decision import Decisions
    from prompts import shelf
    from service.parts import Choice
    from service.settings import read_settings
    from service.wiring import engine_of, language_model

    settings = read_settings()
    if not settings.asks_a_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    asked = Choice(shelf.prompt(prompt) if prompt else None, reading)
    model = language_model(engine_of(settings), settings, asked, Decisions())
    learnt = learn(model, shelf.taxonomy(taxonomy or settings.taxonomy), settings.decisions_path, **choice)
    click.echo(
        f"threshold {learnt.threshold:.3f}, {len(learnt.shifts)} labels corrected; kept in {settings.decisions_path}"
    )


@main.command()
@click.option("--anew", is_flag=True, help="Probe again, whatever is remembered.")
@click.option(
    "--order",
    "orders",
    type=click.IntRange(2),
    is_flag=False,
    flag_value=20,
    default=None,
    help="Report how many decisions flip over so many orders of the labels.  [20]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data/sample/films.jsonl"),
    show_default=True,
    help="Texts for --order: JSON lines.",
)
@click.option("--text-field", default="plot", show_default=True, help="Column of the text.")
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="At most so many texts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(anew: bool, orders: int | None, as_json: bool, **texts: Any) -> None:
    """Find out what the endpoint really honours, or how much answers hang on the order of the labels."""
    from llm.classifier import Problem
    from service.settings import read_settings
    from service.wiring import probed

    settings = read_settings()
    if orders:
        return _probe_order(settings, orders, as_json, **texts)
    if not settings.asks_a_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    probing = probed(settings)
    found = (None if anew else probing.kept()) or probing.anew()
    if isinstance(found, Problem):
        raise click.ClickException(found.detail)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return None
    click.echo(f"{settings.model} at {settings.base_url}, version {found.version or 'unknown'}")
    for name, finding in found.findings.items():
        click.echo(f"  {name:16} {finding.outcome:10} {finding.note}")
    click.echo(f"  {'context':16} {found.context or 'unknown'}")
    return None


def _probe_order(settings: Settings, orders: int, as_json: bool, data: Path, text_field: str, limit: int) -> None:
    from eval.datasets import texts_of
    from llm.order import flips
    from prompts import shelf
    from service.parts import Choice
    from service.wiring import build

    classifier = build(settings).classifier_for(Choice(cache=False))
    found = flips(classifier, texts_of(data, text_field, limit), shelf.taxonomy(settings.taxonomy), orders)
    if as_json:
        click.echo(json.dumps({"orders": orders, **vars(found)}))
        return
    click.echo(f"{classifier.name}, {orders} orders, {found.decisions} decisions about a text and a label:")
    click.echo(f"  {found.ever:.1%} are not the same under every order")
    click.echo(f"  {found.minority:.1%} of the answers go against the majority of their decision")
    if found.failed:
        click.echo(f"  {found.failed} texts had a problem and were left out")


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
    from service.wiring import build

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
