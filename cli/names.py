"""Names on the command line: taxonomies, prompts, strategies and systems, with shell completion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import Utf8Text
from prompts.errors import MarqueeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from prompts.taxonomy import Taxonomy

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
SYSTEMS_HELP = (
    "embedded, llm[:STRATEGY][:PROMPT], fusion[:STRATEGY][:PROMPT], hf:NAME_OR_PATH, service:URL, or a trained model "
    "NAME[:PATH]"
)
_TRAINED = Path("var/models")


def taxonomy_names() -> list[str]:
    """The names of all taxonomies."""
    from marquee.settings import use_own_folders
    from prompts import registry

    use_own_folders()
    return sorted(registry.taxonomies())


def prompt_names() -> list[str]:
    """The names of all prompts, with and without their version."""
    from marquee.settings import use_own_folders
    from prompts import registry

    use_own_folders()
    return sorted({name for prompt in registry.prompts().values() for name in (prompt.name, prompt.kind)})


def strategy_names() -> list[str]:
    """The names of the strategies of a language model."""
    from llm.strategies import AUTO, STRATEGIES

    return [AUTO, *STRATEGIES]


def system_names() -> list[str]:
    """The systems that ``--systems`` accepts; for trained models, those in ``var/models``."""
    from llm.strategies import STRATEGIES
    from marquee.systems import SYSTEMS

    trained = sorted(path.parent.name for path in _TRAINED.glob("*/manifest.json"))
    return [*SYSTEMS, *(f"{kind}:{name}" for kind in ("llm", "fusion") for name in STRATEGIES), *trained]


def completing(names: Callable[[], Iterable[str]], several: bool = False) -> Complete:
    """A ``shell_complete`` callback for these names; file names are offered where none of them matches.

    An error, such as a missing library or a damaged taxonomy file, offers no names: a shell would show its traceback.

    Args:
        names: called at completion only.
        several: whether the value is a list with commas between; its last item is completed.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        found = []
        with suppress(ImportError, OSError, MarqueeError):
            found = [CompletionItem(f"{before}{comma}{name}") for name in names() if name.startswith(last)]
        return found or [CompletionItem(incomplete, type="file")]

    return complete


class TaxonomyType(click.ParamType["Taxonomy"]):
    """A taxonomy by its name or by the path of a YAML file; an empty value is the default of the settings."""

    name = "taxonomy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Taxonomy:
        """The taxonomy.

        Raises:
            UnknownName: no taxonomy has this name.
            InvalidTaxonomy: the file is missing or breaks a rule.
        """
        from marquee.settings import read_settings, use_own_folders
        from prompts import registry

        use_own_folders()
        return registry.taxonomy_at(Utf8Text().convert(value, param, ctx) or read_settings().taxonomy)


complete_taxonomy = completing(taxonomy_names)
complete_prompt = completing(prompt_names)
complete_strategy = completing(strategy_names)
complete_systems = completing(system_names, several=True)
taxonomy_option = click.option(
    "--taxonomy",
    type=TaxonomyType(),
    default="",
    show_default=False,
    shell_complete=complete_taxonomy,
    help="Taxonomy: a name (see `main.py taxonomies`) or a YAML file.  [default: MARQUEE_TAXONOMY]",
)
optional_taxonomy = click.option(
    "--taxonomy",
    type=TaxonomyType(),
    shell_complete=complete_taxonomy,
    help="Taxonomy: a name or a YAML file.  [default: the labels of the table]",
)
