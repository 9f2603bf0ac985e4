"""An index of films, as the commands that make or ask one name it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.data import decorated, dialect_options

if TYPE_CHECKING:
    from eval.datasets.film_list import Films
    from similarity.index.builder import IndexEncoder
    from similarity.index.reloading import ReloadingIndex

film_columns = decorated(
    click.option("--format", "data_format", help="A table (csv, jsonl …), tmdb or imdb-by-genre.  [default: told]"),
    click.option("--id-field", help="Column of ids.  [default: id]"),
    click.option("--title-field", help="Column of titles.  [default: title]"),
    click.option("--year-field", help="Column of years.  [default: year]"),
    click.option("--genres-field", help="Column of genres: a list or names.  [default: genres]"),
    click.option("--text-field", help="Column of plots.  [default: description]"),
    dialect_options,
)
"""Options of whoever reads a file of films."""

index_option = click.option(
    "--index",
    type=click.Path(path_type=Path),
    help="Folder of an index.  [default: the settings', or the sample films]",
)

encoder_option = click.option(
    "--encoder",
    default=None,
    help="Model of sentence-transformers, by folder or name.  [default: the settings', or MiniLM]",
)


def named_encoder(name: str | None) -> IndexEncoder:
    """The encoder of a name, or of the settings."""
    from marquee.settings import read_settings
    from similarity.encoders.minilm import encoder_of

    return encoder_of(read_settings().encoder if name is None else name)


def films_of(
    path: Path, data_format: str | None = None, encoding: str | None = None, separator: str | None = None,
    **names: str | None,
) -> Films:  # fmt: skip
    """The films of a file under the options of a command."""
    from eval.datasets.film_list import FilmColumns, Films
    from tabular import TableDialect

    given = {name.removesuffix("_field"): column for name, column in names.items() if column is not None}
    return Films(path, FilmColumns(**given, dialect=TableDialect(encoding, separator)), data_format)


def live_index(folder: Path | None, encoder: IndexEncoder) -> ReloadingIndex:
    """The index of a folder, or of the settings, or of the sample films."""
    from marquee.settings import read_settings
    from similarity.index.sample import live

    return live(folder or read_settings().index, encoder)


def tell(counts: Mapping[str, int]) -> None:
    """Say on standard error how many rows something was so with; nothing of those that are none."""
    for what, count in counts.items():
        if count:
            click.echo(f"{count:,} {what}", err=True)
