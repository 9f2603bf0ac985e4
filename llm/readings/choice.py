"""Which reading to use: the one named, or the best that the model allows for a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

from llm.engines.engine import Engine
from llm.readings.decisions import DecisionsReading
from llm.readings.letters import LettersReading
from llm.readings.list import ListReading
from llm.readings.reading import Reading
from llm.readings.yes_no import YesNoReading
from prompts.errors import UnknownName
from prompts.taxonomy import Taxonomy

AUTO = "auto"


def named(name: str) -> Reading | None:
    """The reading of that name; None for ``auto``.

    Raises:
        UnknownName: there is none.
    """
    if name == AUTO:
        return None
    if name not in READINGS:
        raise UnknownName("reading", name, [AUTO, *READINGS])
    return READINGS[name]


def best(engine: Engine, taxonomy: Taxonomy) -> Reading:
    """What ``auto`` means: for one label of a few, its probability in one token; for several labels, the list, whose
    length the model chooses itself, or single questions where nothing would hold the list to the vocabulary."""
    reads = engine.code_limit >= 2
    if reads and not taxonomy.multi:
        return READINGS["letters"]
    if reads and not engine.holds_schema:
        return READINGS["yes_no"]
    return READINGS["list"]


READINGS: Mapping[str, Reading] = {
    reading.name: reading for reading in (ListReading(), LettersReading(), YesNoReading(), DecisionsReading())
}
