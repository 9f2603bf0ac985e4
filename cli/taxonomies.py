"""`main.py taxonomies`: list them, and show one."""

from __future__ import annotations

import click

from cli.arguments import json_option, print_json, print_table
from cli.group import examples
from cli.names import complete_taxonomy


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
    short_help="List the taxonomies, or show one.",
    epilog=examples("taxonomies", "taxonomies --json", "taxonomies show tickets"),
)
@json_option
@click.pass_context
def taxonomies_group(ctx: click.Context, as_json: bool) -> None:
    """List the taxonomies, or show one.

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
