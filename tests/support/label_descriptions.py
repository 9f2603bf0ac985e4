"""A taxonomy whose names say little, descriptions of its labels, and texts that belong to them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from prompts.taxonomy_file import descriptions_in

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DESCRIPTIONS: Mapping[str, Sequence[str]] = descriptions_in(EXAMPLES / "tenants.yaml")
TABLE = EXAMPLES / "tenants.csv"
with TABLE.open(encoding="utf-8") as _file:
    TEXTS: Sequence[tuple[str, str]] = [(row["text"], row["label"]) for row in csv.DictReader(_file)]


def taxonomy_file(folder: Path, descriptions: Mapping[str, Sequence[str]] = DESCRIPTIONS, **shape: object) -> Path:
    """A YAML file of the labels with these descriptions, the first one under ``description``."""
    labels = [
        {"name": name, "description": lines[0], "descriptions": list(lines[1:])} if lines else name
        for name, lines in descriptions.items()
    ]
    path = folder / "tenants.yaml"
    path.write_text(yaml.safe_dump({"multi": False, **shape, "labels": labels}, sort_keys=False), encoding="utf-8")
    return path
