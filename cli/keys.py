"""`main.py keys`: API keys of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.arguments import say
from cli.group import examples

if TYPE_CHECKING:
    from service.access_control import Keys


@click.group(
    "keys",
    short_help="Add, list and revoke API keys.",
    epilog=examples("keys add website", "keys list", "keys revoke website"),
)
def keys_group() -> None:
    """Add, list and revoke the API keys of the service."""


@keys_group.command("add", short_help="Add a key and print it once.")
@click.argument("name")
def add(name: str) -> None:
    """Add a key and print it; it is printed only now, because only its hash is stored."""
    click.echo(_keys().add(name))
    say(f"Made for {name}; it is not shown again. Send it as 'Authorization: Bearer KEY'.")


@keys_group.command("list", short_help="List the keys.")
def list_keys() -> None:
    """List the keys by name, with the times when they were made and revoked."""
    for name, key in sorted(_keys().all().items()):
        click.echo(f"{name}  made {key.made}{f', revoked {key.revoked}' if key.revoked else ''}")


@keys_group.command("revoke", short_help="Revoke a key.")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke a key; a running service rejects it at once."""
    _keys().revoke(name)
    click.echo(f"Key {name!r} revoked.")


def _keys() -> Keys:
    from marquee.settings import read_settings
    from service.access_control import Keys

    return Keys(read_settings().keys_path)
