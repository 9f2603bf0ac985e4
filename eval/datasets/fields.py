"""Names of a row's columns."""

from __future__ import annotations

from dataclasses import dataclass

from tabular import TableDialect


@dataclass(frozen=True)
class Fields:
    """Names of a row's columns; None leaves a name to the format.

    Attributes:
        text: column of the text.
        labels: column of the labels: a list, one name, or several with ``|``, ``;`` or ``,`` between; empty where no
            labels are wanted.
        id: column of a name for the row.
        title: column of a title to give beside the text; None gives none, though a column ``title`` still tells
            which rows are the same film.
        dialect: encoding and separator of text files, where they are named.
    """

    text: str | None = None
    labels: str | None = None
    id: str | None = None
    title: str | None = None
    dialect: TableDialect = TableDialect()
