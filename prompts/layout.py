"""Where the files of this program are: in a repository, or in an installed wheel, where ``hatch_build.py`` put them."""

from __future__ import annotations

from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent
"""Folder that holds the packages: the repository's root, or ``marquee/`` in ``site-packages``."""

SAMPLE = PACKAGES / "data" / "sample"
"""Folder of the sample data."""

INSTALLED = __name__.startswith("marquee.")
"""Whether this is an installed wheel."""
