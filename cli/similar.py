"""`main.py similar`: the films most like a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cli.films import encoder_option, index_option
from cli.group import examples


@click.command(
    short_help="Find films with a similar plot.",
    epilog=examples('similar "A boy finds a dragon egg."', "similar --title Alien --k 5"),
)
@click.argument("text", required=False)
@click.option("--id", "film", help="Ask about a film of the catalogue instead.")
@click.option("--title", default="", help="Title of the text; alone: of a film of the catalogue.")
@click.option("--k", default=10, show_default=True, type=click.IntRange(1, 100), help="How many films.")
@click.option("--genre", "genres", multiple=True, help="Only films of this genre; more than one: of any of them.")
@click.option("--year-from", type=int, help="Only films from this year on.")
@click.option("--year-to", type=int, help="Only films up to this year.")
@index_option
@encoder_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the service does.")
def similar(
    text: str | None, film: str | None, title: str, k: int, genres: tuple[str, ...],
    year_from: int | None, year_to: int | None, index: Path | None, encoder: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Find the films most like TEXT, given here or on standard input, or like a film by its --id or --title."""
    from cli.films import live_index, named_encoder
    from service.schemas.similar import SimilarAnswer
    from similarity.index.reloading import SearchFilter
    from similarity.index.search import Query, Similar

    if text is None and film is None and not title and not sys.stdin.isatty():
        text = sys.stdin.read()
    if film is not None and (text or title):
        raise click.UsageError("give TEXT or --id, not both")
    if film is None and not (text or title).strip():
        raise click.UsageError("there is nothing to compare; give TEXT, --title, --id, or standard input")
    model = named_encoder(encoder)
    asked = Query(text or "", title, film, k, SearchFilter(genres, year_from, year_to))
    found = Similar(live_index(index, model), model).search(asked)
    answer = SimilarAnswer.from_result(found, model.name)
    click.echo(json.dumps(answer.body(), ensure_ascii=False) if as_json else answer.as_text())
