"""`main.py classify`: label one text."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import collected, say
from cli.group import examples

if TYPE_CHECKING:
    from marquee.client import ServiceAnswer
    from prompts.text import Text


@dataclass(frozen=True)
class ClassifyOptions:
    """The options that choose the labels and the classifier."""

    labels: tuple[str, ...]
    taxonomy: str | None
    multi: bool | None
    max_labels: int | None
    prompt: str | None
    strategy: str | None
    cache: bool


@click.command(
    short_help="Label one text.",
    epilog=examples(
        'classify "A smith forges a magic sword."',
        'classify "The app crashes." --labels bug --labels billing --single',
        'classify "Great stay." --taxonomy sentiment --json',
    ),
)
@click.argument("text", required=False)
@click.option("--overview", help="The text; TMDB's name for TEXT.")
@click.option("--title", default="", show_default=False, help="Title of the text; it may be given without a text.")
@collected(
    ClassifyOptions,
    "options",
    click.option("--taxonomy", help="Taxonomy: a name (see `main.py taxonomies`) or a YAML file."),
    click.option(
        "--labels",
        multiple=True,
        help="Your own labels, with commas between; quote a name that has a comma. Repeatable.",
    ),
    click.option("--multi/--single", default=None, help="Several labels, or the best one."),
    click.option("--max-labels", type=click.IntRange(1), help="Maximum number of labels."),
    click.option("--prompt", help="Prompt to use; see `main.py prompts`."),
    click.option(
        "--strategy", help="Strategy of the language model: auto, json_list, label_tokens, yes_no, decisions_api."
    ),
    click.option("--cache/--no-cache", default=True, help="Whether a cached answer may be used."),
)
@click.option("--scores", is_flag=True, help="Print a score per label, where the classifier has scores.")
@click.option("--lookup", is_flag=True, help="Look up the text of a title first; see MARQUEE_LOOKUP_PROVIDERS.")
@click.option("--year", type=click.IntRange(1870, 2100), help="Year of the film, for --lookup.")
@click.option("--url", help="Use the service at this URL.")
@click.option("--key", help="API key of that service; MARQUEE_KEY hides it from other users of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as POST /classify returns it.")
def classify(
    text: str | None, overview: str | None, title: str, options: ClassifyOptions, scores: bool, lookup: bool,
    year: int | None, url: str | None, key: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Label a TEXT: the argument, --overview, --title alone, or standard input."""
    item = _text(text, overview, title)
    if year is not None and not lookup:
        raise click.UsageError("--year is for --lookup; give both")
    if options.labels and options.taxonomy:
        raise click.UsageError("give either --labels or --taxonomy")
    if url:
        answer = _classify_by_service(url, key, item, options, lookup, year)
    elif lookup:
        answer = _classify_by_title(item, options, year)
    else:
        answer = _classify_here(item, options)
    if answer.prediction.problem:
        raise click.ClickException(answer.prediction.problem.detail)
    _print_answer(answer, scores, as_json)


def _text(text: str | None, overview: str | None, title: str) -> Text:
    from prompts.text import Text

    if text is not None and overview is not None:
        raise click.UsageError("TEXT and --overview are the same thing; give one")
    body = text if text is not None else overview
    if body is None and not title and not sys.stdin.isatty():
        body = sys.stdin.read()
    item = Text(body or "", title)
    if item.empty:
        raise click.UsageError("there is no text; give TEXT, --title, or standard input")
    return item


def _classify_here(text: Text, options: ClassifyOptions) -> ServiceAnswer:
    """Label a text in this process."""
    from marquee.classification import taxonomy_of
    from marquee.client import ServiceAnswer
    from marquee.factory import RequestOptions, classifier_of
    from marquee.settings import read_settings

    taxonomy = taxonomy_of(_names(options.labels), options.taxonomy, options.multi, options.max_labels)
    request = RequestOptions.of(options.prompt, options.strategy, options.cache)
    prediction = classifier_of(read_settings(), request).classify([text], taxonomy)[0]
    return ServiceAnswer(prediction, None, request.without_effect(prediction), taxonomy.subject == "film")


def _classify_by_title(text: Text, options: ClassifyOptions, year: int | None) -> ServiceAnswer:
    """Look up the text of a title, and label it in this process."""
    from dataclasses import replace

    from marquee.settings import read_settings
    from service.schemas.classify import ClassifyRequest
    from service.title_lookup import TitleLookup, lookup_of

    settings = read_settings()
    titles = TitleLookup(lookup_of(settings), settings.max_text_chars, settings.lookup_timeout)
    request = ClassifyRequest(text=text.body, title=text.title, year=year, lookup=True)
    (result,) = titles.look_up(request)
    return replace(_classify_here(result.text, options), lookup=result.answer.model_dump(exclude_none=True))


def _classify_by_service(
    url: str, key: str | None, text: Text, options: ClassifyOptions, lookup: bool, year: int | None
) -> ServiceAnswer:  # fmt: skip
    from marquee.client import Client
    from marquee.settings import read_settings

    client = Client(url, options.cache, key=key or read_settings().key.get_secret_value())
    fields = _request_fields(options)
    return client.look_up(text, year, fields) if lookup else client.answers([text], fields)[0]


def _request_fields(options: ClassifyOptions) -> dict[str, Any]:
    """The fields of ``POST /classify``; the taxonomy of a file becomes labels."""
    from marquee.client import taxonomy_fields
    from prompts import registry

    fields = {name: getattr(options, name) for name in ("taxonomy", "multi", "max_labels", "prompt", "strategy")}
    if (options.taxonomy or "").endswith((".yaml", ".yml")):
        taxonomy = registry.taxonomy_at(fields.pop("taxonomy")).shaped(fields.pop("multi"), fields.pop("max_labels"))
        fields |= taxonomy_fields(taxonomy)
    fields |= {"labels": _names(options.labels)} if options.labels else {}
    return {name: value for name, value in fields.items() if value is not None}


def _names(values: Iterable[str]) -> list[str] | None:
    """The names in all values of --labels; a quoted comma is part of a name. None: the option is not used."""
    names: list[str] = []
    for value in values:
        try:
            rows = list(csv.reader(value.splitlines(), skipinitialspace=True, strict=value.count('"') % 2 == 1))
        except csv.Error:
            raise click.UsageError(f"--labels {value}: a quote is not closed") from None
        names += [name.strip() for row in rows for name in row]
    if values and not names:
        raise click.UsageError("--labels names no label; give names with commas between")
    return names or None


def _print_answer(answer: ServiceAnswer, scores: bool, as_json: bool) -> None:
    prediction, lookup = answer.prediction, answer.lookup
    if as_json:
        return _print_json(answer, scores)
    click.echo(", ".join(prediction.labels) or "none of the labels applies")
    if scores:
        for name, score in prediction.scores.items():
            click.echo(f"  {score:7.3f}  {name}")
    say(f"— {prediction.source.model}{', cached' if prediction.cached else ''}")
    for note in answer.notes:
        say(f"— {note}")
    if lookup:
        say(f"— look-up: {lookup['note']}{' ' + lookup['url'] if 'url' in lookup else ''}")
    return None


def _print_json(answer: ServiceAnswer, scores: bool) -> None:
    from service.schemas.classify import ClassifyAnswer, LookupAnswer

    lookup = LookupAnswer.model_validate(answer.lookup) if answer.lookup else None
    shown = ClassifyAnswer.of(answer.prediction, scores, lookup, answer.genres, answer.notes)
    click.echo(json.dumps(shown.body(), ensure_ascii=False))
