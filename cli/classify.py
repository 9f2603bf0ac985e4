"""`main.py classify`: one text from the command line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.group import examples

if TYPE_CHECKING:
    from marquee.client import ServiceAnswer
    from prompts.text import Text
    from service.schemas.classify import ClassifyRequest


@click.command(
    short_help="Label one text.",
    epilog=examples(
        'classify "A smith forges a magic sword."',
        'classify "The app crashes." --labels bug --labels billing --single',
        'classify "Great stay." --taxonomy sentiment --json',
    ),
)
@click.argument("text", required=False)
@click.option("--overview", help="The text, as TMDB calls it; the same as TEXT.")
@click.option("--title", default="", help="Title of what the text describes; may stand alone.")
@click.option("--taxonomy", help="Vocabulary to choose from: a name (see `main.py taxonomies`), or a YAML file.")
@click.option(
    "--labels", multiple=True,
    help="Labels of your own instead: names with commas between; quote a name that has one. Repeatable.",
)  # fmt: skip
@click.option("--multi/--single", default=None, help="Several labels, or the one that fits best.")
@click.option("--max-labels", type=click.IntRange(1), help="The most labels of an answer.")
@click.option("--prompt", help="Prompt to use; see `main.py prompts`.")
@click.option(
    "--strategy", help="How a language model is read: auto, json_list, label_tokens, yes_no or decisions_api."
)
@click.option("--scores", is_flag=True, help="Show a score per label, where the model gives scores.")
@click.option("--cache/--no-cache", default=True, help="Whether a remembered answer will do.")
@click.option("--lookup", is_flag=True, help="Look a title without a text up first; see MARQUEE_LOOKUP_PROVIDERS.")
@click.option("--year", type=click.IntRange(1870, 2100), help="Year of the film, for --lookup.")
@click.option("--url", help="Ask the service that runs there, instead of this process.")
@click.option("--key", help="Its API key; better set MARQUEE_KEY, which other users of this machine cannot see.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the service does.")
def classify(
    text: str | None,
    overview: str | None,
    title: str,
    url: str | None,
    key: str | None,
    as_json: bool,
    scores: bool,
    cache: bool,
    lookup: bool,
    year: int | None,
    **shape: Any,
) -> None:
    """Label a TEXT, given here, by --overview, by --title alone, or on standard input."""
    given = _given_text(text, overview, title)
    if year is not None and not lookup:
        raise click.UsageError("--year tells films apart for --lookup; give both")
    asked = _request(given, cache=cache, lookup=lookup, year=year, **shape)
    answer = _ask_service(url, key, given, asked) if url else _ask_here(asked)
    if answer.prediction.problem:
        raise click.ClickException(answer.prediction.problem.detail)
    _print_answer(answer, scores, as_json)


def _ask_here(asked: ClassifyRequest) -> ServiceAnswer:
    from marquee.client import ServiceAnswer
    from marquee.factory import create
    from marquee.settings import read_settings
    from service.schemas.classify import notes_of
    from service.title_lookup import TitleLookup, lookup_of

    settings = read_settings()
    models = create(settings)
    titles = TitleLookup(lookup_of(settings), settings.max_text_chars, settings.lookup_timeout)
    options, taxonomy = asked.options(), asked.resolve_taxonomy(models.taxonomy)
    lookup = titles.look_up(asked)[0] if asked.lookup else None
    text = lookup.text if lookup else asked.to_text()
    prediction = models.classifier_for(options).classify([text], taxonomy)[0]
    result = lookup.answer.model_dump(exclude_none=True) if lookup else None
    return ServiceAnswer(prediction, result, notes_of(options, prediction), asked.returns_genres(taxonomy))


def _ask_service(url: str, key: str | None, given: Text, asked: ClassifyRequest) -> ServiceAnswer:
    from marquee.client import Client
    from marquee.settings import read_settings

    client = Client(url, asked.cache, key=key or read_settings().key.get_secret_value())
    fields = asked.model_dump(exclude_defaults=True, exclude={"text", "title", "year", "lookup", "cache"})
    if asked.lookup:
        return client.look_up(given, asked.year, fields)
    return client.answers([given], fields)[0]


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


def _request(given: Text, labels: Sequence[str], **fields: Any) -> ClassifyRequest:
    """The request to the service that the options amount to."""
    from pydantic import ValidationError

    from prompts.faults import fault_of
    from service.schemas.classify import ClassifyRequest

    if labels and fields["taxonomy"]:
        raise click.UsageError("give either --labels or --taxonomy")
    own: dict[str, Any] = {"labels": _names(labels)} if labels else {}
    if (fields["taxonomy"] or "").endswith((".yaml", ".yml")):
        own = _of_file(fields.pop("taxonomy"))
    said = {name: value for name, value in fields.items() if value is not None}
    try:
        return ClassifyRequest.model_validate({"text": given.body, "title": given.title, **own, **said})
    except ValidationError as error:
        raise click.UsageError(str(fault_of(error, ClassifyRequest, whole="the request"))) from None


def _names(given: Iterable[str]) -> list[str]:
    """The names in all values of --labels; a comma between quotes belongs to a name."""
    names = []
    for value in given:
        try:
            rows = list(csv.reader(value.splitlines(), skipinitialspace=True, strict=value.count('"') % 2 == 1))
        except csv.Error:
            raise click.UsageError(f"--labels {value}: a quote is not closed") from None
        names += [name.strip() for row in rows for name in row]
    if not names:
        raise click.UsageError("--labels names no label; give names with commas between")
    return names


def _of_file(path: str) -> dict[str, Any]:
    """The fields of a request that bring the taxonomy of a file along."""
    from dataclasses import asdict

    from prompts import registry

    found = registry.taxonomy_at(path)
    labels = [{**asdict(label), "aliases": list(label.aliases)} for label in found.labels]
    return {"labels": labels, "multi": found.multi, "max_labels": found.max_labels, "allow_none": found.allow_none}


def _print_answer(answer: ServiceAnswer, scores: bool, as_json: bool) -> None:
    from service.schemas.answers import LookupAnswer
    from service.schemas.classify import ClassifyAnswer

    prediction, lookup = answer.prediction, answer.lookup
    if as_json:
        told = LookupAnswer.model_validate(lookup) if lookup else None
        shown = ClassifyAnswer.of(prediction, scores, told, answer.genres, answer.notes)
        click.echo(json.dumps(shown.body(), ensure_ascii=False))
        return
    click.echo(", ".join(prediction.labels) or "none of the labels applies")
    if scores:
        for name, score in prediction.scores.items():
            click.echo(f"  {score:7.3f}  {name}")
    click.echo(f"— {prediction.source.model}{', remembered' if prediction.cached else ''}", err=True)
    for note in answer.notes:
        click.echo(f"— {note}", err=True)
    if lookup:
        click.echo(f"— look-up: {lookup['note']}{' ' + lookup['url'] if 'url' in lookup else ''}", err=True)
