"""`main.py prompts`, `probe` and `reference`: prompts, the endpoint, settings and routes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, OutputPath, json_option, model_settings, print_json, print_table
from cli.group import examples
from cli.names import complete_prompt, taxonomy_option
from prompts.installation import SAMPLE

if TYPE_CHECKING:
    from prompts.taxonomy import Taxonomy


@click.group(
    "prompts",
    invoke_without_command=True,
    short_help="List the prompts, or show one filled in.",
    epilog=examples("prompts", 'prompts show plot --text "A duel at noon." --taxonomy imdb'),
)
@json_option
@click.pass_context
def prompts_group(ctx: click.Context, as_json: bool) -> None:
    """List the prompts, or show one filled in."""
    from marquee.settings import use_own_folders
    from prompts import registry

    if ctx.invoked_subcommand is not None:
        return
    use_own_folders()
    rows = [(prompt.name, prompt.digest, prompt.about) for prompt in registry.prompts().values()]
    header = ("prompt", "digest", "about")
    print_json([dict(zip(header, row, strict=True)) for row in rows]) if as_json else print_table(header, rows)


@prompts_group.command(
    "show",
    short_help="Print the messages of a prompt for a text.",
    epilog=examples('prompts show plot --text "A duel at noon."', 'prompts show plot.v2 --text "A duel." --json'),
)
@click.argument("name", shell_complete=complete_prompt)
@click.option("--text", "body", default="", show_default=False, help="The text of the prompt.")
@click.option("--title", default="", show_default=False, help="The title of the text.")
@taxonomy_option
@json_option
def show(name: str, body: str, title: str, taxonomy: Taxonomy, as_json: bool) -> None:
    """Print the messages that a language model receives for a text, with the few-shot examples of the settings."""
    from marquee.few_shot import example_selector
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.text import Text
    from similarity.encoders.minilm import MiniLM

    text = Text(body, title)
    (examples,) = example_selector(read_settings(), MiniLM(), taxonomy)([text], taxonomy)
    messages = registry.prompt_at(name).render(text, taxonomy, examples=examples)
    if as_json:
        return print_json(messages)
    for message in messages:
        click.echo(f"--- {message['role']} ---\n{message['content']}")
    return None


@click.command(
    short_help="Check what the endpoint supports.",
    epilog=examples("probe", "probe --refresh --json", "probe --order 20 --data films.jsonl"),
)
@click.option("--refresh", is_flag=True, help="Probe again, even if the result is cached.")
@click.option(
    "--order",
    "orders",
    type=click.IntRange(2),
    is_flag=False,
    flag_value=20,
    default=None,
    help="Measure how many decisions change over so many label permutations.  [20]",
)
@click.option(
    "--data",
    type=PATH,
    default=SAMPLE / "films.jsonl",
    show_default=False,
    help="Texts for --order: JSON lines.  [default: the sample films]",
)
@click.option("--text-field", default="plot", help="Column of the text.")
@click.option("--limit", type=click.IntRange(1), default=40, help="Maximum number of texts.")
@json_option
def probe(refresh: bool, orders: int | None, data: Path, text_field: str, limit: int, as_json: bool) -> None:
    """Check which capabilities the endpoint supports, or how far answers depend on the order of the labels."""
    from llm.classifier import Problem
    from marquee.backends import probe_of
    from prompts.network import without_login

    if orders:
        return _measure_order_sensitivity(orders, data, text_field, limit, as_json)
    settings = model_settings()
    capabilities = probe_of(settings)
    result = (None if refresh else capabilities.stored()) or capabilities.refresh()
    if isinstance(result, Problem):
        raise click.ClickException(result.detail)
    if as_json:
        return print_json(result.as_json())
    click.echo(f"{capabilities.model} at {without_login(settings.base_url)}, version {result.version or 'unknown'}")
    for name, finding in result.findings.items():
        click.echo(f"  {name:16} {finding.outcome:10} {finding.note}")
    click.echo(f"  {'context':16} {result.context or 'unknown'}")
    return None


def _measure_order_sensitivity(orders: int, data: Path, text_field: str, limit: int, as_json: bool) -> None:
    from eval.datasets import texts_of
    from llm.wrappers.combined import order_sensitivity
    from marquee.factory import RequestOptions, classifier_of
    from marquee.settings import read_settings
    from prompts import registry

    settings = read_settings()
    classifier = classifier_of(settings, RequestOptions(cache=False))
    result = order_sensitivity(
        classifier, texts_of(data, text_field, limit), registry.taxonomy_at(settings.taxonomy), orders
    )
    if as_json:
        return print_json({"orders": orders, **vars(result)})
    click.echo(f"{classifier.name}, {orders} orders, {result.decisions} decisions about a text and a label:")
    click.echo(f"  {result.ever:.1%} are not the same under every order")
    click.echo(f"  {result.minority:.1%} of the answers go against the majority of their decision")
    if result.failed:
        click.echo(f"  {result.failed} texts had a problem and were left out")
    return None


@click.command(
    short_help="Write the reference pages of settings and routes.", epilog=examples("reference", "reference --out docs")
)
@click.option("--out", type=OutputPath(folder=True), default=Path("docs"), help="Folder.")
def reference(out: Path) -> None:
    """Write configuration.md and http.md, the references of settings and routes."""
    from prompts.files import write_text_atomically
    from service.reference import pages

    for name, page in pages().items():
        write_text_atomically(out / name, page)
        click.echo(out / name)
