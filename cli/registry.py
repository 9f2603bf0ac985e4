"""`main.py taxonomies` and `main.py prompts`: what there is to choose from."""

from __future__ import annotations

import json

import click


@click.command(short_help="List the taxonomies, or the labels of one.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def taxonomies(name: str | None, as_json: bool) -> None:
    """List the taxonomies, or the labels of the one called NAME."""
    from prompts import registry

    chosen = [registry.taxonomy_at(name)] if name else list(registry.taxonomies().values())
    if as_json:
        click.echo(json.dumps([taxonomy.as_json() for taxonomy in chosen], ensure_ascii=False))
    elif name:
        for label in chosen[0].labels:
            click.echo(f"{label.name:16} {label.description}{'' if label.predict else '  (never answered)'}")
    else:
        for taxonomy in chosen:
            shape = f"up to {taxonomy.max_labels} labels" if taxonomy.multi else "one label"
            click.echo(f"{taxonomy.name:12} {len(taxonomy.names):3} labels, {shape} a {taxonomy.subject}")


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
@click.option("--text", default="", help="The text to put into it.")
@click.option("--title", default="", help="The title to put into it.")
@click.option("--taxonomy", help="The taxonomy to put into it.")
@click.option("--json", "as_json", is_flag=True, help="Print the messages as JSON.")
def show(name: str, text: str, title: str, taxonomy: str | None, as_json: bool) -> None:
    """Print the messages that would be sent for a text, with the few-shot examples of the settings."""
    from marquee.factory import example_selector
    from marquee.settings import read_settings
    from prompts import registry
    from prompts.text import Text
    from similarity.encoders.minilm import MiniLM

    settings, asked = read_settings(), Text(text, title)
    vocabulary = registry.taxonomy_at(taxonomy or settings.taxonomy)
    (examples,) = example_selector(settings, MiniLM(), vocabulary)([asked], vocabulary)
    messages = registry.prompt(name).render(asked, vocabulary, examples=examples)
    if as_json:
        click.echo(json.dumps(messages, ensure_ascii=False))
        return
    for message in messages:
        click.echo(f"--- {message['role']} ---\n{message['content']}")
