"""Labelled examples, as the commands that read them ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eval.datasets import Example
    from prompts.taxonomy import Taxonomy


def examples_of(
    data: Path, taxonomy: Taxonomy, split: str | None, limit: int | None,
    text_field: str, title_field: str | None, labels_field: str,
) -> list[Example]:  # fmt: skip
    """Examples of a file under the options of a command; what was left out is told on standard error."""
    from eval.datasets import Fields, load, sample

    loaded = load(data, taxonomy, Fields(text_field, labels_field, title=title_field), split)
    if loaded.without_label:
        click.echo(f"left out: {loaded.without_label} rows without a label that may be answered", err=True)
    return sample(loaded.examples, limit)
