"""Registry: the bundled taxonomies and prompts, and the user's own, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from prompts.errors import InvalidPrompt, InvalidTaxonomy, UnknownName
from prompts.files import read_text
from prompts.folders import Folders, LoadedFolder, OwnFolders
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import load_taxonomy
from prompts.template import STRATEGY_FORMATS, TEMPLATES, FewShotExample, Prompt
from prompts.text import Text

OWN = OwnFolders()
"""Folders of the user's own taxonomies and prompts; ``use_folders`` sets them."""

TAXONOMIES = Path(__file__).parent / "taxonomies"
_TEXT, _LABELS = (
    Text("The text of a trial.", "The title of a trial."),
    Taxonomy.of({"a": "first", "b": "second"}, multi=True),
)
_PROMPT_FILE = re.compile(r"[a-z][a-z0-9_]*\.v[1-9][0-9]*\.jinja")


def load_prompt(path: Path) -> Prompt:
    """Read one template; the file's name, ``KIND.vN.jinja``, is the prompt's.

    Raises:
        InvalidPrompt: a name of another form, a template that ``Prompt`` refuses or cannot render, or one that leaves
            the text out.
    """
    if not _PROMPT_FILE.fullmatch(path.name):
        raise InvalidPrompt(f"{path.name}: name a prompt KIND.vN.jinja, such as plot.v2.jinja")
    prompt = Prompt(path.name.removesuffix(".jinja"), read_text(path, InvalidPrompt))
    if path.parent != TEMPLATES:  # bundled prompts are tested
        _try(prompt)
    return prompt


def _try(prompt: Prompt) -> None:
    """Render a prompt under every strategy, so that an unknown variable is an error of the file, not of a request."""
    for question in STRATEGY_FORMATS:
        try:
            *_, last = prompt.render(_TEXT, _LABELS, question, [FewShotExample(Text("x"), ("a",))])
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InvalidPrompt(f"prompt {prompt.name!r} cannot be filled in: {error}; correct the template") from None
        if not any(word in last["content"] for word in (_TEXT.body, _TEXT.title)):
            raise InvalidPrompt(
                f"prompt {prompt.name!r}, section user: it leaves the text out; print {{{{ text }}}} or {{{{ title }}}}"
            )


def use_folders(taxonomies: Path | None, prompts: Path | None) -> None:
    """Set the folders of the user's own taxonomies and prompts of this process; None: there is none."""
    OWN.taxonomies = taxonomies and taxonomies.absolute()
    OWN.prompts = prompts and prompts.absolute()


@cache
def _taxonomy_folders(bundled: Path, own: Path | None) -> Folders[Taxonomy]:
    return Folders(bundled.glob("*.yaml"), own, (".yaml", ".yml"), load_taxonomy)


@cache
def _prompt_folders(bundled: Path, own: Path | None) -> Folders[Prompt]:
    return Folders(bundled.glob("*.jinja"), own, (".jinja",), load_prompt)


def taxonomies() -> LoadedFolder[Taxonomy]:
    """Every taxonomy, by name.

    Raises:
        InvalidSetting: the folder of own taxonomies cannot be read.
    """
    return _taxonomy_folders(TAXONOMIES, OWN.taxonomies).current()


def prompts() -> LoadedFolder[Prompt]:
    """Every prompt version, by name.

    Raises:
        InvalidSetting: the folder of own prompts cannot be read.
    """
    return _prompt_folders(TEMPLATES, OWN.prompts).current()


def versions() -> str:
    """A string that changes with the user's own taxonomies and prompts."""
    return f"{taxonomies().version}.{prompts().version}"


def skipped() -> list[str]:
    """Messages about the files of taxonomies and prompts that cannot be used as they are now."""
    return [str(error) for found in (taxonomies(), prompts()) for error in found.faulty.values()]


def forget() -> None:
    """Read all folders again at the next call."""
    _taxonomy_folders.cache_clear()
    _prompt_folders.cache_clear()


def taxonomy(name: str) -> Taxonomy:
    """The taxonomy of that name.

    Raises:
        UnknownName: there is none.
        InvalidTaxonomy: its file cannot be used.
    """
    found = taxonomies()
    if name not in found:
        raise found.faulty.get(name) or UnknownName("taxonomy", name, found)
    return found[name]


def taxonomy_at(place: str) -> Taxonomy:
    """The taxonomy of that name, or of a YAML file at that path; only for callers that may read local files.

    Raises:
        UnknownName: there is no such name.
        InvalidTaxonomy: there is no such file, or as in ``load_taxonomy``.
    """
    if not place.endswith((".yaml", ".yml")):
        return taxonomy(place)
    if not Path(place).is_file():
        raise InvalidTaxonomy(
            f"there is no file {place}; give a taxonomy's YAML file, or a name: {', '.join(taxonomies())}"
        )
    return load_taxonomy(Path(place))


def taxonomy_from(value: str | Path | Taxonomy | Iterable[str | Label] | Mapping[str, Any]) -> Taxonomy:
    """The taxonomy that a Python caller means: its name, a YAML file, itself, or labels as in ``taxonomy_of``.

    Raises:
        UnknownName: no taxonomy has this name.
        InvalidTaxonomy: the file or the labels cannot be used.
    """
    if isinstance(value, Taxonomy):
        return value
    return taxonomy_at(str(value)) if isinstance(value, str | Path) else taxonomy_of(value)


def taxonomy_of(labels: Iterable[str | Label] | Mapping[str, Any], **shape: Any) -> Taxonomy:
    """The taxonomy of labels as in ``Taxonomy.of`` or, where they are nested, as in ``Hierarchy.of``.

    Raises:
        InvalidTaxonomy: the labels break a rule.
    """
    items = labels.values() if isinstance(labels, Mapping) else labels if isinstance(labels, list | tuple) else ()
    below = Mapping | list | tuple if isinstance(labels, Mapping) else Mapping
    return (Hierarchy if any(isinstance(one, below) for one in items) else Taxonomy).of(labels, **shape)


def registered(place: str) -> Taxonomy:
    """As ``taxonomy_at``; registers the taxonomy of a file in this process under the file's name.

    A file of the folder of own taxonomies is registered already, and read again when it changes.
    """
    found, path = taxonomy_at(place), Path(place).absolute()
    if place.endswith((".yaml", ".yml")) and path.parent != OWN.taxonomies:
        _taxonomy_folders(TAXONOMIES, OWN.taxonomies).pin(path, found)
    return found


def prompt(name: str) -> Prompt:
    """The prompt of that name, or of a kind (``"plot"``).

    Of a kind, the newest of the user's own versions is used, else its ``DEFAULT_VERSION``, else its newest version.

    Raises:
        UnknownName: there is none.
        InvalidPrompt: its file cannot be used.
    """
    found = prompts()
    versions = [prompt for prompt in found.values() if name in (prompt.name, prompt.kind)]
    if not versions:
        wrong = next((error for stem, error in found.faulty.items() if name in (stem, stem.rpartition(".v")[0])), None)
        raise wrong or UnknownName("prompt", name, {*found, *(prompt.kind for prompt in found.values())})
    if own := [prompt for prompt in versions if prompt.name in found.own]:
        return max(own, key=lambda prompt: prompt.version)
    return max(versions, key=lambda prompt: (prompt.version == DEFAULT_VERSION.get(prompt.kind), prompt.version))


def prompt_at(place: str) -> Prompt:
    """As ``prompt``, or as ``load_prompt`` of a path; only for callers that may read local files."""
    return load_prompt(Path(place)) if place.endswith(".jinja") else prompt(place)


def prompt_for(text: Text, taxonomy: Taxonomy) -> Prompt:
    """The prompt for a text without a named one: by the taxonomy's subject, and whether the text has a body.

    A subject without an entry in ``KIND_BY_SUBJECT`` chooses the user's own prompt of that kind, if there is one.
    """
    kinds = KIND_BY_SUBJECT.get(taxonomy.subject)
    if kinds is None:
        found = prompts() if OWN.prompts else None
        own = [found[name].kind for name in found.own if name in found] if found else []
        kinds = (taxonomy.subject,) * 2 if taxonomy.subject in own else ("text", "text")
    return prompt(kinds[0] if text.body.strip() else kinds[1])


# Version of a kind that is named without one.
DEFAULT_VERSION: Mapping[str, int] = dict.fromkeys(("auto", "company", "plot", "review", "text", "title"), 2)

# subject of the taxonomy -> kind of prompt for (a text, a bare title)
KIND_BY_SUBJECT: Mapping[str, tuple[str, str]] = {
    "film": ("plot", "title"),
    "review": ("review", "review"),
    "company": ("company", "company"),
}
