"""`main.py map`: a catalogue of films as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from cli.films import encoder_option, index_option
from cli.output import OutputPath


@click.command("map", short_help="Draw the films of an index as an interactive page.")
@index_option
@encoder_option
@click.option("--out", type=OutputPath(), required=True, help="HTML file to write.")
@click.option("--method", default="auto", show_default=True, help="pca or umap; auto: UMAP where it is installed.")
@click.option("--limit", default=50_000, show_default=True, type=click.IntRange(3), help="The most films drawn.")
def film_map(index: Path | None, encoder: str | None, out: Path, method: str, limit: int) -> None:
    """Draw the films of an index in two dimensions, coloured by genre, as one interactive HTML file."""
    from cli.films import live_index, named_encoder
    from prompts.files import write_text_atomically
    from similarity.map.page import page
    from similarity.map.points import points

    live = live_index(index, named_encoder(encoder))
    found = points(live.get(), limit, method)
    name = "Sample films" if live.folder.name == "sample" else live.folder.resolve().name
    write_text_atomically(out, page(found, name))
    click.echo(f"{len(found.films):,} films: {out}")
