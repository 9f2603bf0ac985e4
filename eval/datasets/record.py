"""A row of a data set as its file has it, before any taxonomy has looked at its labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from prompts.text import Text


@dataclass(frozen=True)
class Record:
    """One row.

    Attributes:
        where: file and line, for messages.
        id: unique within the data set.
        text: what is to be labelled.
        labels: spellings of its labels; one string is one label, or several with a separator between.
        title: of what the text describes, whether or not ``text`` carries it.
        year: of what the text describes, as written.
        split: the side on which it stands, or empty.
        complete: False where a missing label is unknown.
        truncated: whether the text breaks off.
        extra: further labels.
    """

    where: str
    id: str
    text: Text
    labels: str | tuple[str, ...]
    title: str = ""
    year: str = ""
    split: str = ""
    complete: bool = True
    truncated: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """The rows of a data set, what its loader left out, and what it mended; counts by reason."""

    rows: tuple[Record, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
