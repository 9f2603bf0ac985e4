"""`main.py taxonomies tune`: fit the embedded classifier to a taxonomy by descriptions and unlabelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, command_line, dialect_options, json_option, print_json, print_table, say
from cli.group import examples

if TYPE_CHECKING:
    from eval.compare import Difference
    from eval.datasets import Example
    from prompts.text import Text


@click.command(
    "tune",
    short_help="Fit the embedded classifier without labelled texts.",
    epilog=examples(
        "taxonomies tune labels.yaml",
        "taxonomies tune labels.yaml --texts texts.csv --text-field message",
        "taxonomies tune labels.yaml --check labelled.csv",
        "taxonomies tune labels.yaml --remove",
    ),
)
@click.argument("file", type=PATH)
@click.option("--texts", type=PATH, help="Texts without labels to learn from: 50 or more, for `multi: false`.")
@click.option("--check", type=PATH, help="Labelled texts: compares the classifier before and after.")
@click.option("--text-field", help="Column of the text.  [default: description]")
@click.option("--labels-field", help="Column of the labels.  [default: genres]")
@click.option("--split", help="Only rows of this split of --check.")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of rows of --check; always the same ones.")
@dialect_options
@click.option("--weights", type=PATH, help="Own weights of the embedded classifier, to use as embedded:PATH.")
@click.option("--remove", is_flag=True, help="Delete the tuning of FILE.")
@json_option
def tune(
    file: Path, texts: Path | None, check: Path | None, text_field: str | None, labels_field: str | None,
    split: str | None, limit: int | None, encoding: str | None, separator: str | None, weights: Path | None,
    remove: bool, as_json: bool,
) -> None:  # fmt: skip
    """Fit the embedded classifier to the taxonomy FILE without labelled texts.

    It learns from label descriptions, from texts without labels (--texts), or from both. Every label needs five
    descriptions: `description` and `descriptions` in the file. Where a label has fewer, the language model of the
    settings writes more; without one, --texts is needed. The result is NAME.tuned.safetensors beside FILE. The embedded
    classifier uses it whenever this taxonomy is used, until the file or the classifier changes.

    Of --texts, at most 1,000 are used, and none that is in --check or has the split `test`.
    """
    from marquee.loaded_models import untuned
    from marquee.taxonomy_tuning import as_rows, check_tuning, remove_tuning, tune_taxonomy

    if remove:
        return _report_removed(file, remove_tuning(file), as_json)
    fields = text_field, labels_field, encoding, separator
    examples = _labelled(file, check, fields, split, limit) if check else []  # an error here costs no description
    unlabelled = _unlabelled(file, texts, fields, examples) if texts else []
    found = tune_taxonomy(file, untuned(weights), command=command_line(), texts=unlabelled)
    for note in found.notes:
        say(note)
    compared = check_tuning(found, untuned(weights), examples) if examples else []
    if compared and compared[0].difference < 0:
        say(f"{compared[0].metric} is lower than before; `main.py taxonomies tune {file} --remove` deletes the tuning")
    if as_json:
        result = {"path": str(found.path), "seconds": found.seconds, "written": found.written, "texts": found.texts}
        return print_json(result | {"check": as_rows(compared)})
    learned = f", {found.texts:,} texts" * bool(found.texts)
    click.echo(f"{found.path}: {len(found.taxonomy.names)} labels{learned}, {found.seconds:.1f} s")
    if compared:
        print_table(("metric", "before", "after", "difference", "95% interval", "p"), map(_row, compared))
        click.echo(f"{len(examples):,} texts")
    return None


def _unlabelled(file: Path, table: Path, fields: tuple[str | None, ...], checked: Sequence[Example]) -> Sequence[Text]:
    from eval.datasets import texts_to_learn
    from llm.embedded.text_tuning import MOST
    from marquee.taxonomy_tuning import tunable
    from tabular import TableDialect

    tunable(file, by_texts=True)
    text, _, encoding, separator = fields
    without = [example.text for example in checked]
    return texts_to_learn(table, text, MOST, without, TableDialect(encoding, separator))


def _labelled(
    file: Path, table: Path, fields: tuple[str | None, ...], split: str | None, limit: int | None
) -> Sequence[Example]:
    from eval.datasets import Fields, load, sample
    from marquee.taxonomy_tuning import tunable
    from tabular import TableDialect

    taxonomy, _ = tunable(file)
    text, labels, encoding, separator = fields
    columns = Fields(text, labels, dialect=TableDialect(encoding, separator))
    return sample(load(table, taxonomy, columns, split, unlabelled=bool(taxonomy.allow_none)).examples, limit)


def _report_removed(file: Path, deleted: list[Path], as_json: bool) -> None:
    if as_json:
        return print_json({"removed": list(map(str, deleted))})
    click.echo(f"removed: {', '.join(map(str, deleted))}" if deleted else f"{file} has no tuning")
    return None


def _row(one: Difference) -> tuple[str, ...]:
    p = "-" if one.p is None else f"{one.p:.4f}"
    return one.metric, f"{one.a:.3f}", f"{one.b:.3f}", f"{one.difference:+.3f}", f"{one.low:+.3f} to {one.high:+.3f}", p
