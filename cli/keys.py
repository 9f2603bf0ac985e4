"""`main.py keys`: the API keys of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.arguments import json_option, print_json, print_table, say
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


@keys_group.command("add", short_help="Add a key and print it once.", epilog=examples("keys add website"))
@click.argument("name")
@json_option
def add(name: str, as_json: bool) -> None:
    """Add a key and print it; it is printed only now, because only its hash is stored."""
    key = _keys().add(name)
    if as_json:
        return print_json({"name": name, "key": key})
    click.echo(key)
    say(f"Made for {name}; it is not shown again. Send it as 'Authorization: Bearer KEY'.")
    return None


@keys_group.command("list", short_help="List the keys.", epilog=examples("keys list", "keys list --json"))
@json_option
def list_keys(as_json: bool) -> None:
    """List the keys by name, with the times when they were made and revoked."""
    keys = sorted(_keys().all().items())
    if as_json:
        return print_json([{"name": name, "made": key.made, "revoked": key.revoked or None} for name, key in keys])
    print_table(("name", "made", "revoked"), [(name, key.made, key.revoked) for name, key in keys])
    return None


@keys_group.command("revoke", short_help="Revoke a key.", epilog=examples("keys revoke website"))
@click.argument("name")
@json_option
def revoke(name: str, as_json: bool) -> None:
    """Revoke a key; a running service rejects it at once."""
    _keys().revoke(name)
    print_json({"name": name, "revoked": True}) if as_json else click.echo(f"Key {name!r} revoked.")


def _keys() -> Keys:
    from marquee.settings import read_settings
    from service.access_control import Keys

    return Keys(read_settings().keys_path)
