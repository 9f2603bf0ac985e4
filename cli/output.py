"""The paths that commands write to, checked while the command line is read: before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from prompts.files import check_output


class OutputPath(click.Path):
    """A file or a folder to write.

    Args:
        folder: whether it is a folder.
    """

    def __init__(self, folder: bool = False) -> None:
        super().__init__(path_type=Path)
        self.folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path.

        Raises:
            OSError: nothing can be written there.
        """
        return check_output(Path(os.fsdecode(super().convert(value, param, ctx))), self.folder)


def refuse_input(out: Path | None, *inputs: Path | None) -> None:
    """Refuse an output that would replace what is read.

    Raises:
        UsageError: the output is one of the inputs.
    """
    if out is not None and any(one is not None and one.resolve() == out.resolve() for one in inputs):
        raise click.UsageError(f"--out {out} would replace the input; give another path")
