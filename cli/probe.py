"""`main.py probe`: the capabilities of an endpoint, and the order sensitivity of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prompts.installation import SAMPLE

if TYPE_CHECKING:
    from marquee.settings import Settings


@click.command(short_help="Check what the endpoint supports.")
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
    type=click.Path(path_type=Path),
    default=SAMPLE / "films.jsonl",
    show_default="the sample films",
    help="Texts for --order: JSON lines.",
)
@click.option("--text-field", default="plot", show_default=True, help="Column of the text.")
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="Maximum number of texts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(refresh: bool, orders: int | None, data: Path, text_field: str, limit: int, as_json: bool) -> None:
    """Check which capabilities the endpoint supports, or how far answers depend on the order of the labels."""
    from llm.classifier import Problem
    from marquee.factory import probe_of
    from marquee.settings import read_settings
    from prompts.network import without_login

    settings = read_settings()
    if orders:
        return _measure_order_sensitivity(settings, orders, data, text_field, limit, as_json)
    if not settings.uses_language_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    capabilities = probe_of(settings)
    result = (None if refresh else capabilities.stored()) or capabilities.refresh()
    if isinstance(result, Problem):
        raise click.ClickException(result.detail)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
        return None
    click.echo(f"{capabilities.model} at {without_login(settings.base_url)}, version {result.version or 'unknown'}")
    for name, finding in result.findings.items():
        click.echo(f"  {name:16} {finding.outcome:10} {finding.note}")
    click.echo(f"  {'context':16} {result.context or 'unknown'}")
    return None


def _measure_order_sensitivity(
    settings: Settings, orders: int, data: Path, text_field: str, limit: int, as_json: bool
) -> None:  # fmt: skip
    from eval.datasets import texts_of
    from llm.wrappers.combined import order_sensitivity
    from marquee.factory import RequestOptions, classifier_of
    from prompts import registry

    classifier = classifier_of(settings, RequestOptions(cache=False))
    result = order_sensitivity(
        classifier, texts_of(data, text_field, limit), registry.taxonomy_at(settings.taxonomy), orders
    )
    if as_json:
        click.echo(json.dumps({"orders": orders, **vars(result)}))
        return
    click.echo(f"{classifier.name}, {orders} orders, {result.decisions} decisions about a text and a label:")
    click.echo(f"  {result.ever:.1%} are not the same under every order")
    click.echo(f"  {result.minority:.1%} of the answers go against the majority of their decision")
    if result.failed:
        click.echo(f"  {result.failed} texts had a problem and were left out")
