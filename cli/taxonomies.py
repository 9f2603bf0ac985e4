"""`main.py taxonomies`: list them, show, check or tune one, and suggest one from texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cli.arguments import PATH, OutputPath, dialect_options, json_option, print_json, print_table, refuse_input, say
from cli.group import examples
from cli.names import complete_taxonomy
from cli.taxonomy_tuning import tune

if TYPE_CHECKING:
    from llm.authoring.taxonomy_suggestion import Suggestion
    from prompts.text import Text


class TaxonomyGroup(click.Group):
    """The subcommands; a taxonomy's name in place of one gets advice."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See ``click.Group``."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"there is no command {args[0]!r}; to show a taxonomy: main.py taxonomies show {args[0]}")
        return super().resolve_command(ctx, args)


@click.group(
    "taxonomies",
    cls=TaxonomyGroup,
    invoke_without_command=True,
    short_help="List, show, check, tune or suggest taxonomies.",
    epilog=examples(
        "taxonomies", "taxonomies show tickets", "taxonomies check labels.yaml", "taxonomies suggest texts.csv"
    ),
)
@json_option
@click.pass_context
def taxonomies_group(ctx: click.Context, as_json: bool) -> None:
    """List the taxonomies; show, check or tune one, or suggest one from texts.

    Files of MARQUEE_TAXONOMIES are listed with their path. The log, on standard error, names files that cannot be used.
    """
    from marquee.settings import use_own_folders
    from prompts import registry

    if ctx.invoked_subcommand is not None:
        return None
    use_own_folders()
    found = registry.taxonomies()
    if as_json:
        return print_json([one.as_json() for one in found.values()])
    print_table(
        ("taxonomy", "labels", "subject", "per text", "from"),
        [
            (
                name, len(one.names), one.subject, f"up to {one.max_labels} labels" if one.multi else "one label",
                found.own.get(name, "bundled"),
            )
            for name, one in found.items()
        ],
    )  # fmt: skip
    return None


@taxonomies_group.command(
    "show",
    short_help="Print the labels of a taxonomy.",
    epilog=examples("taxonomies show sentiment", "taxonomies show labels.yaml --json"),
)
@click.argument("name", shell_complete=complete_taxonomy)
@json_option
def show(name: str, as_json: bool) -> None:
    """Print the labels of taxonomy NAME, which may be a YAML file."""
    from marquee.classification import load_taxonomy

    taxonomy = load_taxonomy(name)
    if as_json:
        return print_json(taxonomy.as_json())
    notes = {True: "", False: "  (never predicted)"}
    print_table(("label", "description"), [(one.name, one.description + notes[one.predict]) for one in taxonomy.labels])
    return None


@taxonomies_group.command(
    "check",
    short_help="Find labels that are confused or never chosen.",
    epilog=examples("taxonomies check labels.yaml", "taxonomies check tickets --data texts.csv --json"),
)
@click.argument("name", shell_complete=complete_taxonomy)
@click.option("--data", type=PATH, help="Texts without labels: finds labels that are chosen for none of them.")
@click.option("--text-field", help="Column of the text.  [default: description]")
@dialect_options
@json_option
def check(
    name: str, data: Path | None, text_field: str | None, encoding: str | None, separator: str | None, as_json: bool
) -> None:
    """Check a taxonomy: a YAML file or a name.

    Exits with 1 if there is an error or a warning. Notes alone exit with 0.
    """
    from llm.authoring.taxonomy_check import LintFinding
    from marquee.authoring import check_taxonomy
    from prompts.errors import InvalidTaxonomy

    texts = _texts(data, text_field, encoding, separator) if data else []
    try:
        found = check_taxonomy(name, texts)
    except InvalidTaxonomy as error:
        found = [LintFinding("invalid", "error", (), str(error), "correct it; other rules are checked afterwards")]
    counts = Counter(one.severity for one in found)
    summary = {f"{severity}s": counts[severity] for severity in ("error", "warning", "note")}
    if as_json:
        print_json({"taxonomy": name, **summary, "findings": found})
    else:
        for one in found:
            click.echo(f"{one.severity}: {one.rule}: {one.message}\n  {one.suggestion}")
        click.echo(f"{name}: " + ", ".join(f"{count} {severity}" for severity, count in summary.items()))
    if counts["error"] or counts["warning"]:
        raise SystemExit(1)


@taxonomies_group.command(
    "suggest",
    short_help="Suggest labels from texts without labels.",
    epilog=examples(
        "taxonomies suggest texts.csv --text-field message",
        "taxonomies suggest texts.csv --names model --out labels.yaml",
    ),
)
@click.argument("table", type=PATH)
@click.option("--text-field", help="Column of the text.  [default: description]")
@click.option("--labels", type=click.IntRange(2, 100), help="Number of labels.  [default: 3 to 15, by the texts]")
@click.option(
    "--names",
    type=click.Choice(["keywords", "model"]),
    default="keywords",
    help="Names by keywords, or by the language model of the settings.",
)
@click.option("--out", type=OutputPath(), help="YAML file to write.  [default: standard output]")
@dialect_options
@json_option
def suggest(
    table: Path, text_field: str | None, labels: int | None, names: Literal["keywords", "model"], out: Path | None,
    encoding: str | None, separator: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Suggest a taxonomy for the texts of TABLE, which needs no labels. The same texts give the same taxonomy.

    Texts are grouped by the similarity of their MiniLM vectors. The YAML is a draft: edit its names and descriptions.
    """
    from marquee.authoring import suggest_taxonomy
    from prompts.files import write_text_atomically

    refuse_input(out, table)
    texts = _texts(table, text_field, encoding, separator)
    found = suggest_taxonomy(texts, labels, names, name=out.stem if out else "suggested")
    for note in found.notes:
        say(note)
    document = _document(found, table)
    if out:
        write_text_atomically(out, document)
        say(f"{out}: {len(found.groups)} labels; check it: main.py taxonomies check {out}")
    if as_json:
        print_json({"taxonomy": found.taxonomy.as_json(), "groups": found.groups, "separation": found.separation})
    elif not out:
        click.echo(document, nl=False)


taxonomies_group.add_command(tune)


def _texts(table: Path, text_field: str | None, encoding: str | None, separator: str | None) -> list[Text]:
    from eval.datasets import texts_of
    from tabular import TableDialect

    return texts_of(table, text_field, dialect=TableDialect(encoding, separator))


def _document(found: Suggestion, table: Path) -> str:
    """The YAML file; comments have what the labels come from."""
    from prompts.taxonomy_file import as_yaml

    sizes = "\n".join(f"#   {group.label.name}: {group.texts:,} texts" for group in found.groups)
    head = f"# Suggested from {table.name}; edit the names and descriptions. Texts of each label:\n{sizes}\n"
    return head + as_yaml(found.taxonomy)
