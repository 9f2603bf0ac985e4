"""The file that a taxonomy was read from, so that files beside it are found (``llm.embedded.tunings``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prompts.taxonomy import Taxonomy


@dataclass(frozen=True)
class Place:
    """Where a taxonomy was read.

    Attributes:
        path: absolute path of the file.
        descriptions: digest of all descriptions in it, also those that a ``Taxonomy`` does not have.
    """

    path: Path
    descriptions: str


# By ``Taxonomy.labels_version``: a request for another form of answer has the same labels.
PLACES: dict[str, Place] = {}


def note(taxonomy: Taxonomy, place: Place) -> None:
    """Remember the file of a taxonomy; labels that the file had before are forgotten."""
    for version in [version for version, known in list(PLACES.items()) if known.path == place.path]:
        PLACES.pop(version, None)
    PLACES[taxonomy.labels_version] = place


def place_of(taxonomy: Taxonomy) -> Place | None:
    """Where the taxonomy of this name with these labels was read; None where this process read none."""
    return PLACES.get(taxonomy.labels_version)
