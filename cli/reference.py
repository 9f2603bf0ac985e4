"""`main.py reference`: the pages of docs/ that are made from the program itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cli.output import OutputPath


@click.command(short_help="Write the reference pages of settings and routes.")
@click.option("--out", type=OutputPath(folder=True), default=Path("docs"), show_default=True, help="Folder.")
def reference(out: Path) -> None:
    """Write configuration.md and http.md, the references of settings and routes."""
    from prompts.files import write_text_atomically

    for name, words in pages().items():
        write_text_atomically(out / name, words)
        click.echo(out / name)


def pages() -> Mapping[str, str]:
    """Every page that is made, by its file's name."""
    from marquee.factory import RequestOptions
    from service import reference as made
    from service.app import create_app
    from service.openapi import document
    from service.services import Services

    def nobody(choice: RequestOptions) -> None:
        raise AssertionError("nothing is asked")

    parts = Services(nobody, lambda: None, lambda: None, "tmdb")  # type: ignore[arg-type]
    return {"configuration.md": made.configuration(), "http.md": made.http(document(create_app(parts)))}
