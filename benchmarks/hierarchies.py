"""Taxonomy files of labelled sets whose labels have parents, for `main.py evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from prompts.files import write_text_atomically
from prompts.hierarchy import Hierarchy
from prompts.label_tree import NestedLabel
from prompts.taxonomy import Label
from prompts.taxonomy_file import as_yaml


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("names", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the files.")
def main(folder: Path, names: tuple[str, ...], out: Path) -> None:
    """Write OUT/NAME.yaml of FOLDER/NAME.labels.json for each of NAMES.

    Its ``labels`` and ``parents`` have a ``name``, perhaps a ``description`` and the name of a ``parent``.
    """
    for name in names:
        found = json.loads((folder / f"{name}.labels.json").read_text(encoding="utf-8"))
        branches = list(_branches(found))
        multi = bool(found["multi"])
        taxonomy = Hierarchy.of_branches(name, branches, multi=multi, max_labels=5)
        path = out / f"{name}.yaml"
        write_text_atomically(path, as_yaml(taxonomy))
        click.echo(f"{path}: {len(taxonomy.names)} leaves, {taxonomy.depth} levels")


def _branches(found: Mapping[str, Any]) -> Iterator[NestedLabel]:
    """The labels above first."""
    for entry in (*found["parents"], *found["labels"]):
        label = Label(entry["name"], " ".join((entry.get("description") or "").split()))
        yield NestedLabel(label, entry.get("parent") or "")


if __name__ == "__main__":
    main()
