"""Imported first by every notebook: the project's root as working directory, where settings, data and ``var/`` are.

Its packages become importable, and tables of pandas have three decimals and whole texts.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.chdir(ROOT)
sys.path.insert(0, str(ROOT))

with suppress(ImportError):
    import pandas

    pandas.set_option("display.precision", 3, "display.max_colwidth", None)
