"""`main.py keys`: who may ask the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.group import examples

if TYPE_CHECKING:
    from service.access_control import Keys


@click.group(
    "keys",
    short_help="Add, list and revoke API keys.",
    epilog=examples("keys add website", "keys list", "keys revoke website"),
)
def keys_group() -> None:
    """Make, list and revoke the service's API keys."""


@keys_group.command("add", short_help="Add a key and print it once.")
@click.argument("name")
def add(name: str) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    click.echo(_keys().add(name))
    click.echo(f"Made for {name}; it is not shown again. Send it as 'Authorization: Bearer KEY'.", err=True)


@keys_group.command("list", short_help="List the keys.")
def list_keys() -> None:
    """List the keys by name, with when they were made and revoked."""
    for name, key in sorted(_keys().all().items()):
        click.echo(f"{name}  made {key.made}{f', revoked {key.revoked}' if key.revoked else ''}")


@keys_group.command("revoke", short_help="Revoke a key.")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a key; a running service knows at once."""
    _keys().revoke(name)
    click.echo(f"{name} opens nothing any more")


def _keys() -> Keys:
    from marquee.settings import read_settings
    from service.access_control import Keys

    return Keys(read_settings().keys_path)
