"""A made-up folder of films by genre, in the form of Kaggle's, with the troubles that it has."""

from __future__ import annotations

import csv
from pathlib import Path

COLUMNS = ("movie_id", "movie_name", "year", "genre", "rating", "description")
LIGHTHOUSE = "Mrs. Quill's dog doesn't bark at ghosts. It's 3.5 km to the lighthouse... They were walking, she sang!"
SALT = 'Two smugglers of salt fall out over a mule; a customs officer — half blind — "saves" them both.'
BROKEN = "A clockmaker who cannot sleep builds a tower in which every hour is told by"

DRAMA = (
    ("tt1", "The Lighthouse Dog", "1984", "Drama, Mystery", "7.1", LIGHTHOUSE),
    ("tt2", "Salt &amp; Mule", "1999", "Comedy, Drama", "6.0", f"{SALT}\n  "),
    ("tt3", "The Paper Lantern", "1984", "Drama", "", "Add a Plot"),
    ("tt4", "Clockwork", "2001", "Drama", "", f"{BROKEN} ...  See full summary »"),
    ("tt5", "Boilerplate I", "2010", "Drama", "", "The makers of this film keep its story to themselves."),
    ("tt6", "Boilerplate II", "2011", "Drama", "", "The makers of this film keep its story to themselves."),
    ("tt7", "Boilerplate III", "2012", "Drama", "", "The makers of this film keep its story to themselves!"),
    ("tt8", "Short", "2013", "Drama", "", "A tale."),
    ("tt9", "", "2013", "Drama", "", "A film that nobody has given a title to."),
)
COMEDY = (
    ("tt2", "Salt &amp; Mule", "1999", "Comedy, Western", "6.0", "Two smugglers ... See full summary »"),
    ("tt10", "Twins", "2005", "Comedy", "", "Twins sw\u200bap\u00a0villages, cafe\u0301s and in the end their names."),
    ("tt11", "Twins", "2005", "Comedy, Telenovela", "", "Twins swap villages, cafés and in the end their names."),
    ("tt12", "Nothing Known", "I", "Telenovela", "", "Plot unknown."),
)


def folder(path: Path) -> Path:
    """Write the two files."""
    path.mkdir()
    for name, rows in (("drama", DRAMA), ("comedy", COMEDY)):
        write(path / f"{name}.csv", rows)
    return path


def write(path: Path, rows: tuple[tuple[str, ...], ...]) -> None:
    """Write one file."""
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([COLUMNS, *rows])
