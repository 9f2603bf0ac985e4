"""`main.py review`: which texts to label next, and their exchange with labelling tools."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, OutputPath, ProgressLine, dialect_options, json_option, print_json, refuse_input, say
from cli.group import examples
from cli.names import SYSTEMS_HELP, complete_systems, taxonomy_option

if TYPE_CHECKING:
    from llm.classifier import Classifier
    from marquee.review.review_file import Review
    from marquee.review.selection import ReviewRequest, ReviewTable, Selection

_FORMATS = click.Choice(["table", "label-studio", "argilla"])
_KEY = "import"  # of imported feedback, in place of the name of an API key


class PickByDefault(click.Group):
    """A group whose command `pick` may be left out: `review TABLE` is `review pick TABLE`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the arguments: `pick` where the first one is no command."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["pick", *args])


@click.group(
    "review",
    cls=PickByDefault,
    context_settings={"ignore_unknown_options": True},  # options before TABLE are those of `pick`
    subcommand_metavar="TABLE [OPTIONS] | COMMAND [ARGS]...",
    short_help="Pick the texts to label next.",
    epilog=examples(
        "review films.csv --most 50 --out review.jsonl",
        "review labelled.jsonl --taxonomy tickets --out review.jsonl",
        "review export review.jsonl tasks.json --format label-studio",
        "review import review.jsonl tasks.json --format label-studio",
    ),
)
def review_group() -> None:
    """Pick the texts of a table to label next; `review TABLE` is short for `review pick TABLE`."""


@review_group.command(
    short_help="Pick texts of a table by doubt and diversity.",
    epilog=examples(
        "review pick films.csv --most 50", "review pick labelled.csv --taxonomy tickets --out tickets.jsonl"
    ),
)
@click.argument("table", metavar="TABLE")
@click.option("--most", type=click.IntRange(1, 1_000), default=50, help="Maximum number of texts.")
@click.option("--out", type=OutputPath(), default=Path("review.jsonl"), help="Review file to write, JSON lines.")
@taxonomy_option
@click.option(
    "--system",
    shell_complete=complete_systems,
    help=f"{SYSTEMS_HELP}.  [default: the answers of bulk in TABLE, else the classifier of the settings]",
)
@click.option(
    "--diversity", type=click.FloatRange(0, 1), default=0.5, help="0: only texts in doubt; 1: only different texts."
)
@click.option("--text-field", help="Column of the texts.  [default: detected by its name]")
@click.option("--title-field", help="Column of titles; '' for none.  [default: detected]")
@click.option("--id-field", help="Column of ids; '' for the rows' numbers.  [default: detected]")
@dialect_options
@json_option
def pick(table: str, out: Path, as_json: bool, **options: Any) -> None:
    """Pick the texts of TABLE whose labels are most worth checking, and write them with suggested labels.

    TABLE is a file, a folder or a quoted pattern, as in `bulk`; the answers that `bulk` wrote into it are used. A text
    is picked where its scores are near each other or near the threshold, and where it differs from the texts that are
    picked already. Texts with feedback under this taxonomy are left out. The same input gives the same texts.

    Review the file on the page /review of the service (MARQUEE_REVIEW_PATH), or in another tool (`review export`).
    """
    from marquee.review.selection import ReviewRequest, Selecting
    from similarity.encoders.minilm import MiniLM

    request = ReviewRequest(table, **options)
    refuse_input(out, Path(table))
    rows = request.table(out)
    classifier = _classifier(request, rows)
    selecting = Selecting(request, rows, MiniLM().encode, _reviewed(request), ProgressLine("answered").advance)
    selection = selecting.run(classifier)
    selection.review.write(out)
    _report(selection, out, as_json)


def _classifier(request: ReviewRequest, table: ReviewTable) -> Classifier | None:
    """What answers; None where the table has answers."""
    if request.system is None and table.has_answers:
        say("using the answers in the table; give --system for new ones")
        return None
    from marquee.bulk_jobs import open_classifier

    return open_classifier(request.system, request.taxonomy, table.first_texts(200))


def _reviewed(request: ReviewRequest) -> set[str]:
    """Digests of texts with feedback under the taxonomy."""
    from marquee.feedback.store import store_of
    from marquee.settings import read_settings

    store = store_of(read_settings())
    if not store.path.exists():
        return set()
    return {one.digest for one in store.entries() if one.taxonomy.versioned_name == request.taxonomy.versioned_name}


def _report(selection: Selection, out: Path, as_json: bool) -> None:
    picked = selection.review.texts
    for reason, count in selection.left_out.items():
        say(f"left out: {count} with {reason}")
    if as_json:
        print_json({"file": out, "texts": selection.texts, "picked": len(picked), "left_out": selection.left_out})
        return
    labels = Counter(", ".join(one.answer.labels) or "none" for one in picked).most_common(5)
    click.echo(f"{len(picked)} of {selection.texts:,} texts in {out}")
    click.echo(f"most frequent suggestions: {'; '.join(f'{name} ({count})' for name, count in labels)}")
    say(f"review them at /review: MARQUEE_FEEDBACK=true MARQUEE_REVIEW_PATH={out} main.py serve")


@review_group.command(
    "export",
    short_help="Write a review file for another tool.",
    epilog=examples(
        "review export review.jsonl review.csv",
        "review export review.jsonl tasks.json --format label-studio",
        "review export review.jsonl records.json --format argilla",
    ),
)
@click.argument("review_file", metavar="REVIEW", type=PATH)
@click.argument("out", type=OutputPath())
@click.option("--format", "name", type=_FORMATS, default="table", help="Format of OUT.")
@json_option
def export(review_file: Path, out: Path, name: str, as_json: bool) -> None:
    """Write the texts of the review file REVIEW to OUT, with suggested labels, and right labels where there are some.

    A table is CSV, TSV, JSON lines, JSON or Parquet, by the suffix of OUT. Label Studio and Argilla read a `.json`; for
    Label Studio, the labelling configuration of the project is written beside it.
    """
    from marquee.review.exchange import export_review
    from marquee.review.review_file import read_review

    refuse_input(out, review_file)
    review = read_review(review_file)
    right = _right_labels(review)
    files = export_review(out, review, right, name)
    if as_json:
        print_json({"files": files, "texts": len(review.texts), "reviewed": len(right)})
    else:
        click.echo(f"{len(review.texts)} texts, {len(right)} of them reviewed, in {', '.join(map(str, files))}")


def _right_labels(review: Review) -> dict[str, tuple[str, ...]]:
    from marquee.feedback.store import store_of
    from marquee.settings import read_settings

    store = store_of(read_settings())
    digests = [one.answer.digest for one in review.texts]
    return store.right_labels(digests, review.taxonomy) if store.path.exists() else {}


@review_group.command(
    "import",
    short_help="Store the labels of another tool as feedback.",
    epilog=examples(
        "review import review.jsonl review.csv",
        "review import review.jsonl project-1.json --format label-studio",
        "review import review.jsonl records.json --format argilla",
    ),
)
@click.argument("review_file", metavar="REVIEW", type=PATH)
@click.argument("labelled", metavar="IN", type=PATH)
@click.option("--format", "name", type=_FORMATS, default="table", help="Format of IN.")
@json_option
def import_(review_file: Path, labelled: Path, name: str, as_json: bool) -> None:
    """Store the right labels in IN, made from the review file REVIEW, as feedback in MARQUEE_FEEDBACK_PATH.

    All rows are checked first: an unknown label, another text or an unknown id is an error with its row, and nothing is
    stored then. Texts without labels are left out. Texts are stored only with MARQUEE_FEEDBACK_TEXTS=true.
    """
    from marquee.feedback.store import store_of
    from marquee.review.exchange import import_labels
    from marquee.review.review_file import read_review
    from marquee.settings import read_settings

    found = import_labels(labelled, read_review(review_file), name)
    store = store_of(read_settings())
    kinds = Counter(store.add_for_answer(_KEY, "", one.answer, labels).kind for one, labels in found.labels)
    for reason, count in found.skipped.items():
        say(f"left out: {count} with {reason}")
    if as_json:
        print_json({"stored": len(found.labels), "kinds": kinds, "left_out": found.skipped})
    else:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        click.echo(f"{len(found.labels)} texts stored as feedback{f': {counts}' if counts else ''}")
