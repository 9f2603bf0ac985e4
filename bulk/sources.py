"""The source of an answer, as the words of a cell: a run writes them, and reads them again from its output."""

from __future__ import annotations

import re

from llm.classifier import AnswerSource, Prediction
from prompts.taxonomy import Taxonomy

_WARNING = ", warning: "  # before each warning
_SHORTLIST = re.compile(r" \d+ of \d+ labels$")


def words_of(prediction: Prediction) -> str:
    """Model, taxonomy, prompt, strategy, the number of labels in the prompt after a shortlist, and warnings."""
    made = prediction.source
    shortlist = f"{offered.offered} of {offered.total} labels" if (offered := prediction.shortlist) else None
    words = " ".join(filter(None, (made.model, made.taxonomy, made.prompt, made.strategy, shortlist)))
    return _WARNING.join((words, *prediction.warnings))


def model_in(words: str, taxonomy: Taxonomy) -> str:
    """The name of the model."""
    return words.partition(f" {taxonomy.versioned_name}")[0]


def warnings_in(words: str) -> str:
    """The warnings; empty without one."""
    return words.partition(_WARNING)[2]


def source_in(words: str, taxonomy: Taxonomy) -> AnswerSource | None:
    """The source; None where the answer is not of this taxonomy."""
    model, found, rest = words.partition(_WARNING)[0].partition(f" {taxonomy.versioned_name}")
    if not found:
        return None
    names = _SHORTLIST.sub("", rest).split()
    prompt = next((name for name in names if "@" in name), None)
    strategy = next((name for name in names if "@" not in name), None)
    return AnswerSource(model, taxonomy.versioned_name, prompt, strategy)
