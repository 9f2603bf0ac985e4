"""`main.py feedback`: export and delete the feedback that the service has stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import OutputPath, json_option, print_json, print_table
from cli.group import examples

if TYPE_CHECKING:
    from marquee.feedback.store import FeedbackStore

_OPTIONS = {"entry_id": "id", "digest": "digest", "key": "key"}


@click.group(
    "feedback",
    invoke_without_command=True,
    short_help="Count, export and delete stored feedback.",
    epilog=examples("feedback", "feedback export feedback.csv", "feedback delete --key website"),
)
@json_option
@click.pass_context
def feedback_group(ctx: click.Context, as_json: bool) -> None:
    """Count the feedback in MARQUEE_FEEDBACK_PATH by taxonomy and kind; export it, or delete it."""
    if ctx.invoked_subcommand is not None:
        return None
    counts = Counter((entry.taxonomy.versioned_name, entry.kind, bool(entry.text)) for entry in _store().entries())
    if as_json:
        names = ("taxonomy", "kind", "with_text", "entries")
        return print_json([dict(zip(names, (*key, count), strict=True)) for key, count in sorted(counts.items())])
    rows = [(taxonomy, kind, "text" if text else "digest", n) for (taxonomy, kind, text), n in sorted(counts.items())]
    if rows:
        print_table(("taxonomy", "kind", "stored", "entries"), rows)
    else:
        click.echo("there is no feedback")
    return None


@feedback_group.command(
    "export",
    short_help="Write the feedback to a table.",
    epilog=examples("feedback export feedback.csv", "feedback export feedback.parquet --taxonomy tmdb"),
)
@click.argument("out", type=OutputPath())
@click.option("--taxonomy", help="Only feedback under the taxonomy of this name.")
@json_option
def export(out: Path, taxonomy: str | None, as_json: bool) -> None:
    """Write all feedback to the table OUT: CSV, TSV, JSON, JSONL or Parquet.

    Columns: id, made, key, taxonomy, kind, labels, answered, scores, model, request_id, text_digest, title, text. The
    last two are empty where the service stores no texts.
    """
    from tabular.writing import write_table

    found = [entry.row() for entry in _store().entries() if taxonomy in (None, entry.taxonomy.name)]
    write_table(out, found)
    print_json({"entries": len(found), "path": out}) if as_json else click.echo(f"{len(found):,} entries in {out}")


@feedback_group.command(
    "delete",
    short_help="Delete feedback and recorded answers.",
    epilog=examples(
        "feedback delete --id 6f1c0e0b5a9d4c8e8a7f3f1f4d2b9c10",
        'feedback delete --text "A smith forges a magic sword."',
        "feedback delete --key website",
        "feedback delete --all",
    ),
)
@click.option("--id", "entry_id", metavar="ID", help="The entry of this id.")
@click.option("--digest", metavar="SHA256", help="Everything about the text with this digest.")
@click.option("--text", help="Everything about this text.")
@click.option("--title", help="Title of --text.")
@click.option("--key", metavar="NAME", help="Everything that the API key of this name sent.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@json_option
def delete(text: str | None, title: str | None, everything: bool, as_json: bool, **given: str | None) -> None:
    """Delete feedback, and with it the recorded answers for the same texts or keys. Several options must all apply.

    The deleted content is overwritten in the file, and the write-ahead log is emptied. Copies, such as exported tables
    and backups, are not changed.
    """
    from marquee.feedback.entries import text_digest
    from prompts.text import Text

    conditions = {_OPTIONS[name]: value for name, value in given.items() if value is not None}
    if title is not None and text is None:
        raise click.UsageError("--title is the title of a text; give --text beside it")
    if text is not None:
        if "digest" in conditions:
            raise click.UsageError("give --text or --digest, not both")
        conditions["digest"] = text_digest(Text(text, title or ""))
    if everything == bool(conditions):
        raise click.UsageError("give --id, --digest, --text or --key; or --all alone, which deletes everything")
    count = _store().delete(**conditions)
    print_json({"deleted": count}) if as_json else click.echo(f"{count:,} entries deleted")


def _store() -> FeedbackStore:
    from marquee.feedback.store import store_of
    from marquee.settings import read_settings

    store = store_of(read_settings())
    if not store.path.exists():
        raise click.ClickException(
            f"there is no feedback at {store.path}; start the service with MARQUEE_FEEDBACK=true, or set "
            "MARQUEE_FEEDBACK_PATH"
        )
    return store
