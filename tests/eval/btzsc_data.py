"""A small copy of the public benchmark BTZSC in its data format; all texts are written for these tests.

As on the hub, the first two texts of each data set have the first hypothesis as the true one: the package ``btzsc``
finds the number of hypotheses from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

COLUMNS = ("text", "hypothesis", "labels", "dataset_id", "label_text")
_NEWS = {
    "World": "This news text is about world politics",
    "Sports": "This news text is about sport",
    "Business": "This news text is about business",
}
_FILMS = {
    "negative": "The sentiment of this review is negative",
    "positive": "The sentiment of this review is positive",
}
_MOODS = {name: f"The emotion of the author is {name}" for name in ("joy", "anger", "fear", "sadness")}
# Texts with the names of their true labels; a text follows itself, one has no label, one has two.
TEXTS: Mapping[str, tuple[Mapping[str, str], Sequence[tuple[str, Sequence[str]]]]] = {
    "imdb": (
        _FILMS,
        [
            ("A dull film with a wooden cast.", ["negative"]),
            ("I left after twenty minutes of noise.", ["negative"]),
            ("A tender, funny and beautiful film.", ["positive"]),
            ("Not one joke worked.", ["negative"]),
        ],
    ),
    "emotiondair": (
        _MOODS,
        [
            ("I laughed all afternoon with my sister.", ["joy"]),
            ("We are so glad to be at home again.", ["joy"]),
            ("I am furious about this bill.", ["anger"]),
            ("The dark stairs scare me.", ["fear"]),
        ],
    ),
    "agnews": (
        _NEWS,
        [
            ("Two presidents signed the border treaty on Monday.", ["World"]),
            ("The ministers met again to end the war.", ["World"]),
            ("The goalkeeper saved three penalties.", ["Sports"]),
            ("The goalkeeper saved three penalties.", ["Sports"]),
            ("The bank raised its profit forecast.", ["Business"]),
            ("A recipe for lentil soup.", []),
            ("The club sold its stadium to a fund.", ["Sports", "Business"]),
            ("She won the marathon in the rain.", ["Sports"]),
        ],
    ),
}


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a data set; ``label_text`` is the true label of the text, on each of its rows."""
    hypotheses, texts = TEXTS[name]
    return [
        {"text": text, "hypothesis": hypothesis, "labels": int(label in true), "dataset_id": name,
         "label_text": true[0] if true else "something else"}
        for text, true in texts
        for label, hypothesis in hypotheses.items()
    ]  # fmt: skip


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = list(rows)
    pyarrow.parquet.write_table(pyarrow.table({name: [row[name] for row in listed] for name in columns}), path)


def write_all(folder: Path) -> Path:
    """All data sets as the hub has them."""
    for name in TEXTS:
        write(folder / name / "test-00000-of-00001.parquet", rows_of(name))
    return folder
