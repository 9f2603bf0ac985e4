"""`main.py classify`: label one text."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.answers import print_answers
from cli.arguments import EndpointOptions, collected, endpoint_options, json_option
from cli.group import examples
from cli.names import SYSTEMS_HELP, complete_prompt, complete_strategy, complete_systems, complete_taxonomy

if TYPE_CHECKING:
    from llm.classifier import Classifier, ScoreType
    from marquee.client import ServiceAnswer
    from marquee.settings import Settings
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

_FORM = ("multi", "max_labels", "allow_none", "level", "leaves_only", "attribute")


def _is_file(taxonomy: str) -> bool:
    return taxonomy.endswith((".yaml", ".yml"))


@dataclass(frozen=True)
class ClassifyOptions:
    """The options that choose the labels and the classifier."""

    system: str | None = None
    labels: tuple[str, ...] = ()
    taxonomies: tuple[str, ...] = ()
    multi: bool | None = None
    max_labels: int | None = None
    allow_none: bool | None = None
    level: int | None = None
    leaves_only: bool | None = None
    attribute: str | None = None
    prompt: str | None = None
    strategy: str | None = None
    explain: bool = False
    cache: bool = True
    threshold: float | None = None
    top_k: int | None = None
    score_type: ScoreType | None = None
    instructions: str | None = None
    examples: Path | None = None

    @property
    def plain(self) -> bool:
        """Whether no option changes the form of an answer, or may have no effect."""
        return replace(self, taxonomies=(), cache=True) == ClassifyOptions()

    @property
    def form(self) -> dict[str, Any]:
        """The options of the taxonomy's form."""
        return {name: getattr(self, name) for name in _FORM}

    def check(self) -> None:
        """Refuse options that contradict each other."""
        if self.labels and self.taxonomies:
            raise click.UsageError("give either --labels or --taxonomy")
        if len(self.taxonomies) < 2:
            return
        if repeated := next((name for name in self.names if self.names.count(name) > 1), None):
            raise click.UsageError(f"two of the taxonomies are called {repeated!r}; give each once")
        for option in click.get_current_context().command.params:
            if option.name in (*_FORM, "examples") and getattr(self, option.name) is not None:
                spelt = "/".join((*option.opts, *option.secondary_opts))
                raise click.UsageError(f"{spelt} is for one taxonomy; leave it out, or give one --taxonomy")

    @property
    def names(self) -> list[str]:
        """The names of the answers: those of the taxonomies."""
        return [Path(name).stem if _is_file(name) else name for name in self.taxonomies] or [""]


@click.command(
    short_help="Label one text.",
    epilog=examples(
        'classify "A smith forges a magic sword."',
        'classify "The app crashes." --labels bug,billing,praise',
        'classify "Great stay." --taxonomy sentiment --scores --explain',
        'classify "Great stay." --taxonomy sentiment --taxonomy emotions',
        'classify "Great stay." --taxonomy sentiment --system hf:my-model',
        'classify "Great stay." --base-url http://127.0.0.1:8000/v1 --json',
    ),
)
@click.argument("text", required=False)
@click.option("--overview", help="The text; TMDB's name for TEXT.")
@click.option("--title", default="", show_default=False, help="Title of the text; it may be given without a text.")
@collected(
    ClassifyOptions,
    "options",
    click.option("--system", shell_complete=complete_systems, help=f"{SYSTEMS_HELP}.  [default: that of the settings]"),
    click.option(
        "--taxonomy",
        "taxonomies",
        multiple=True,
        shell_complete=complete_taxonomy,
        help="Taxonomy: a name (see `main.py taxonomies`) or a YAML file. Repeatable: one answer each.",
    ),
    click.option(
        "--labels",
        multiple=True,
        help="Your own labels, with commas between; quote a name that has a comma. Repeatable.",
    ),
    click.option(
        "--multi/--single", default=None, help="Several labels, or the best one (for --labels: the best one)."
    ),
    click.option("--max-labels", type=click.IntRange(1), help="Maximum number of labels."),
    click.option("--allow-none/--at-least-one", default=None, help="Whether an answer may have no label."),
    click.option("--level", type=click.IntRange(1), help="Level of the answers in a hierarchy; 1 is the top."),
    click.option("--leaves-only/--inner-labels", default=None, help="Whether inner labels of a hierarchy are answers."),
    click.option("--attribute", help="What the labels say about a text, for a prompt: genre, topic, intent."),
    click.option("--prompt", shell_complete=complete_prompt, help="Prompt, a name (`main.py prompts`) or a path."),
    click.option(
        "--strategy",
        shell_complete=complete_strategy,
        help="Strategy of the language model: auto, json_list, label_likelihood, label_tokens, yes_no, decisions_api.",
    ),
    click.option("--explain", is_flag=True, help="Print the passages of the text that support each label."),
    click.option("--cache/--no-cache", default=True, help="Whether a cached answer may be used."),
    click.option("--threshold", type=click.FloatRange(-1, 1), help="Minimum score of a label."),
    click.option("--top-k", type=click.IntRange(1), help="Maximum number of labels and scores, the best ones."),
    click.option(
        "--score-type", type=click.Choice(["probability", "share", "similarity"]), help="Meaning of the scores."
    ),
    click.option("--instructions", help="Further instructions for a language model."),
    click.option(
        "--examples", type=click.Path(path_type=Path), help="Few-shot examples for a language model: JSON lines."
    ),
)
@endpoint_options
@click.option(
    "--scores/--no-scores",
    default=None,
    help="Print a score per label, where the classifier has scores.  [default: for --labels, --top-k, --score-type]",
)
@click.option("--lookup", is_flag=True, help="Look up the text of a title first; see MARQUEE_LOOKUP_PROVIDERS.")
@click.option("--year", type=click.IntRange(1870, 2100), help="Year of the film, for --lookup.")
@click.option("--url", help="Send the text to the Marquee service at this URL.")
@click.option("--key", help="API key of that service; MARQUEE_KEY hides it from other users of this machine.")
@json_option
def classify(
    text: str | None, overview: str | None, title: str, options: ClassifyOptions, endpoint: EndpointOptions,
    scores: bool | None, lookup: bool, year: int | None, url: str | None, key: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Label a text: the argument TEXT, --overview, --title alone, or standard input.

    --model, --base-url and --api-key-env replace the settings. --json prints what POST /classify returns.
    """
    item = _text(text, overview, title)
    if year is not None and not lookup:
        raise click.UsageError("--year is for --lookup; give both")
    options.check()
    if url and endpoint.given:
        raise click.UsageError(f"{endpoint.given}: the service at --url has its own model; leave them out")
    if options.system and (needless := endpoint.given or _given(options) or ("--url" if url else "")):
        raise click.UsageError(f"--system {options.system} chooses what answers; leave {needless} out")
    if url:
        found = _classify_by_service(url, key, item, options, lookup, year)
    elif lookup:
        found = _classify_by_title(item, options, endpoint.settings(), year)
    else:
        found = _classify_here(item, options, endpoint.settings())
    answers = dict(zip(options.names, found, strict=True))
    failed = {name: one.prediction.problem for name, one in answers.items() if one.prediction.problem}
    if len(failed) < len(answers):
        implied = bool(options.labels or options.top_k or options.score_type)
        print_answers(answers, implied if scores is None else scores, as_json)
    if failed:
        heads = {name: f"{name}: " if len(answers) > 1 else "" for name in failed}
        raise click.ClickException("; ".join(heads[name] + problem.detail for name, problem in failed.items()))


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


def _classify_here(text: Text, options: ClassifyOptions, settings: Settings) -> list[ServiceAnswer]:
    """Label a text in this process, with each taxonomy."""
    from marquee.classification import classify_pairs, load_prompt, taxonomy_of
    from marquee.client import ServiceAnswer
    from marquee.factory import RequestOptions, classifier_of
    from marquee.prediction_sets import sets_of

    labels = _names(options.labels)
    default = settings.taxonomy if labels is None else None  # of these settings: others may be invalid
    taxonomies = [taxonomy_of(labels, name, **options.form) for name in options.taxonomies or (default,)]
    with_sets = sets_of(settings).added if settings.coverage_path.is_file() else list
    prompt = load_prompt(options.prompt) if options.prompt else None
    request = RequestOptions.of(prompt, options.strategy, options.cache)
    if options.plain:
        classifier = classifier_of(settings, request)
        if len(taxonomies) > 1:  # the text is encoded once
            found = classify_pairs([(text, one) for one in taxonomies], classifier=classifier)
        else:
            found = with_sets(classifier.classify([text], taxonomies[0]))
        return [ServiceAnswer(one, genres=of.subject == "film") for of, one in zip(taxonomies, found, strict=True)]
    from marquee.answer_options import AnswerOptions, classify_with_options, read_examples, resolved_examples

    examples = resolved_examples(read_examples(options.examples), taxonomies[0])
    answer = AnswerOptions(
        options.threshold, options.top_k, options.score_type, options.allow_none is False, explain=options.explain
    )
    request = replace(
        request, instructions=options.instructions or "", examples=examples, score_type=options.score_type
    )
    system, cache = options.system, options.cache
    classifier = _opened(system, text, taxonomies[0], cache) if system else classifier_of(settings, request)
    return [classify_with_options(classifier, [text], one, request, answer, with_sets)[0] for one in taxonomies]


def _given(options: ClassifyOptions) -> str:
    """The options that are part of a system's name, or that it does not read."""
    return ", ".join(
        f"--{name}" for name in ("prompt", "strategy", "instructions", "examples") if getattr(options, name)
    )


def _opened(system: str, text: Text, taxonomy: Taxonomy, cache: bool) -> Classifier:
    from marquee.systems import SystemContext, from_spec

    return from_spec(system, SystemContext(taxonomy, [text], cache)).open().classifier


def _classify_by_title(
    text: Text, options: ClassifyOptions, settings: Settings, year: int | None
) -> list[ServiceAnswer]:
    """Look up the text of a title, and label it in this process."""
    from service.schemas.classify import ClassifyRequest
    from service.title_lookup import TitleLookup, lookup_of

    titles = TitleLookup(lookup_of(settings), settings.max_text_chars, settings.lookup_timeout)
    request = ClassifyRequest(text=text.body, title=text.title, year=year, lookup=True)
    (result,) = titles.look_up(request)
    lookup = result.answer.model_dump(exclude_none=True)
    return [replace(answer, lookup=lookup) for answer in _classify_here(result.text, options, settings)]


def _classify_by_service(
    url: str, key: str | None, text: Text, options: ClassifyOptions, lookup: bool, year: int | None
) -> list[ServiceAnswer]:  # fmt: skip
    from marquee.client import Client
    from marquee.settings import read_settings

    client = Client(url, options.cache, key=key or read_settings().key.get_secret_value())
    requests = [_request_fields(options, name) for name in options.taxonomies or (None,)]
    return [client.look_up(text, year, one) if lookup else client.answers([text], one)[0] for one in requests]


def _request_fields(options: ClassifyOptions, taxonomy: str | None) -> dict[str, Any]:
    """The fields of ``POST /classify``; the taxonomy of a file becomes labels."""
    from marquee.client import taxonomy_fields

    labels: Mapping[str, Any] = {"taxonomy": taxonomy, "labels": _names(options.labels), **options.form}
    if taxonomy and _is_file(taxonomy):
        from marquee.classification import taxonomy_of

        labels = taxonomy_fields(taxonomy_of(None, taxonomy, **options.form))
    names = ("prompt", "strategy", "threshold", "top_k", "score_type", "instructions")
    fields = {**labels, **{name: getattr(options, name) for name in names}, "explain": options.explain or None}
    if options.examples:
        from marquee.answer_options import as_fields, read_examples

        fields["examples"] = as_fields(read_examples(options.examples))
    return {name: value for name, value in fields.items() if value is not None}


def _names(values: Iterable[str]) -> list[str] | None:
    """The names in all values of --labels; a quoted comma is part of a name. None: the option is not used."""
    names: list[str] = []
    for value in values:
        value.encode()  # bytes that are no UTF-8 are refused; a label of U+FFFD would be a guess
        try:
            rows = list(csv.reader(value.splitlines(), skipinitialspace=True, strict=value.count('"') % 2 == 1))
        except csv.Error:
            raise click.UsageError(f"--labels {value}: a quote is not closed") from None
        names += [name.strip() for row in rows for name in row]
    if values and not names:
        raise click.UsageError("--labels names no label; give names with commas between")
    return names or None
