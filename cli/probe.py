"""`main.py probe`: what an endpoint supports, and how much its answers depend on the order of the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prompts.installation import SAMPLE

if TYPE_CHECKING:
    from marquee.settings import Settings


@click.command(short_help="Check what the endpoint supports.")
@click.option("--refresh", is_flag=True, help="Repeat all checks.")
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
    default=SAMPLE / "films.jsonl",
    show_default="the sample films",
    help="Texts for --order: JSON lines.",
)
@click.option("--text-field", default="plot", show_default=True, help="Column of the text.")
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="At most so many texts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe(refresh: bool, orders: int | None, as_json: bool, **texts: Any) -> None:
    """Check what the endpoint supports, or how much its answers depend on the order of the labels."""
    from llm.classifier import Problem
    from marquee.factory import probed
    from marquee.settings import read_settings
    from prompts.network import without_login

    settings = read_settings()
    if orders:
        return _probe_order(settings, orders, as_json, **texts)
    if not settings.asks_a_model:
        raise click.ClickException("no endpoint is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    probing = probed(settings)
    found = (None if refresh else probing.stored()) or probing.refresh()
    if isinstance(found, Problem):
        raise click.ClickException(found.detail)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        return None
    click.echo(f"{probing.model} at {without_login(settings.base_url)}, version {found.version or 'unknown'}")
    for name, finding in found.findings.items():
        click.echo(f"  {name:16} {finding.outcome:10} {finding.note}")
    click.echo(f"  {'context':16} {found.context or 'unknown'}")
    return None


def _probe_order(settings: Settings, orders: int, as_json: bool, data: Path, text_field: str, limit: int) -> None:
    from eval.datasets import texts_of
    from llm.wrappers.order_ensemble import order_sensitivity
    from marquee.factory import RequestOptions, create
    from prompts import registry

    classifier = create(settings).classifier_for(RequestOptions(cache=False))
    found = order_sensitivity(
        classifier, texts_of(data, text_field, limit), registry.taxonomy_at(settings.taxonomy), orders
    )
    if as_json:
        click.echo(json.dumps({"orders": orders, **vars(found)}))
        return
    click.echo(f"{classifier.name}, {orders} orders, {found.decisions} decisions about a text and a label:")
    click.echo(f"  {found.ever:.1%} are not the same under every order")
    click.echo(f"  {found.minority:.1%} of the answers go against the majority of their decision")
    if found.failed:
        click.echo(f"  {found.failed} texts had a problem and were left out")
