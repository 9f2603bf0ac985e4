"""Rows of a data set as their file has them, before a taxonomy is applied to their labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from prompts.text import Text
from tabular import TableDialect


@dataclass(frozen=True)
class Fields:
    """Names of a row's columns; None takes the default of the format.

    Attributes:
        text: column of the text.
        labels: column of the labels: a list, one name, or several separated by ``|``, ``;`` or ``,``; empty reads no
            labels.
        id: column of a name for the row.
        title: column of a title that becomes part of the text. With None the text has no title, but a column ``title``
            still identifies the film.
        dialect: encoding and separator of text files.
    """

    text: str | None = None
    labels: str | None = None
    id: str | None = None
    title: str | None = None
    dialect: TableDialect = TableDialect()


@dataclass(frozen=True)
class Record:
    """One row.

    Attributes:
        where: file and line, for messages.
        id: unique within the data set.
        text: the text to label.
        labels: spellings of its labels; a string is one label, or several with a separator.
        title: of the film, even if ``text`` has none.
        year: of the film, as written.
        split: its split; empty if the data has none.
        complete: False if a missing label is unknown rather than false.
        truncated: whether the text is cut off.
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
    """The rows of a data set, and counts of rows skipped and of changes made, by reason."""

    rows: tuple[Record, ...]
    skipped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
