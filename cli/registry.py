"""`main.py taxonomies` and `main.py prompts`: list and show them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cli.arguments import taxonomy_option

if TYPE_CHECKING:
    from prompts.taxonomy import Taxonomy


@click.command(short_help="List the taxonomies, or the labels of one.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def taxonomies(name: str | None, as_json: bool) -> None:
    """List the taxonomies, or the labels of taxonomy NAME."""
    from prompts import registry

    listed = [registry.taxonomy_at(name)] if name else list(registry.taxonomies().values())
    if as_json:
        click.echo(json.dumps([taxonomy.as_json() for taxonomy in listed], ensure_ascii=False))
    elif name:
        for label in listed[0].labels:
            click.echo(f"{label.name:16} {label.description}{'' if label.predict else '  (never predicted)'}")
    else:
        for taxonomy in listed:
            shape = f"up to {taxonomy.max_labels} labels" if taxonomy.multi else "one label"
            click.echo(f"{taxonomy.name:12} {len(taxonomy.names):3} labels, {shape} per {taxonomy.subject}")


@click.group("prompts", invoke_without_command=True, short_help="List the prompts, or show one filled in.")
@click.pass_context
def prompts_group(ctx: click.Context) -> None:
    """List the prompts, or show one filled in."""
    from prompts import registry

    if ctx.invoked_subcommand is None:
        for prompt in registry.prompts().values():
            click.echo(f"{prompt.name:12} {prompt.digest}  {prompt.about}")


@prompts_group.command("show", short_help="Print the messages of a prompt for a text.")
@click.argument("name")
@click.option("--text", "body", default="", help="The text of the prompt.")
@click.option("--title", default="", help="The title of the text.")
@taxonomy_option
@click.option("--json", "as_json", is_flag=True, help="Print the messages as JSON.")
def show(name: str, body: str, title: str, taxonomy: Taxonomy, as_json: bool) -> None:
    """Print the messages that a language model receives for a text, with the few-shot examples of the settings."""
    from marquee.factory import example_selector
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.text import Text
    from similarity.encoders.minilm import MiniLM

    text = Text(body, title)
    (examples,) = example_selector(read_settings(), MiniLM(), taxonomy)([text], taxonomy)
    messages = registry.prompt(name).render(text, taxonomy, examples=examples)
    if as_json:
        click.echo(json.dumps(messages, ensure_ascii=False))
        return
    for message in messages:
        click.echo(f"--- {message['role']} ---\n{message['content']}")
