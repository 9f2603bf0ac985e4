"""`main.py reference`: the generated pages of docs/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cli.arguments import OutputPath


@click.command(short_help="Write the reference pages of settings and routes.")
@click.option("--out", type=OutputPath(folder=True), default=Path("docs"), show_default=True, help="Folder.")
def reference(out: Path) -> None:
    """Write configuration.md and http.md, the references of settings and routes."""
    from prompts.files import write_text_atomically

    for name, page in pages().items():
        write_text_atomically(out / name, page)
        click.echo(out / name)


def pages() -> Mapping[str, str]:
    """Every generated page, by its file name."""
    from marquee.factory import RequestOptions
    from service import reference as generated
    from service.app import create_app
    from service.openapi import document
    from service.services import Services

    def unused(options: RequestOptions) -> None:
        raise AssertionError("the reference labels no text")

    services = Services(unused, lambda: None, lambda: None, "tmdb")  # type: ignore[arg-type]
    return {"configuration.md": generated.configuration(), "http.md": generated.http(document(create_app(services)))}
