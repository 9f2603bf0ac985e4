"""What a language model is asked about a text, for showing."""

from __future__ import annotations

from dataclasses import replace

from llm.backends.fake import Scripted
from llm.language_model import LanguageModel
from llm.strategies.registry import AUTO, READINGS, named
from marquee.factory import Choice
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.services import Asking, Parts

_NOBODY = Scripted(name="nobody", weights=lambda conversation: {})  # shows what would be asked and is never asked


def asking(parts: Parts, choice: Choice, text: Text, taxonomy: Taxonomy) -> Asking:
    """What the service's language model is asked; where it has none, what one would be asked, as not sent."""
    if parts.asking_of:
        return parts.asking_of(choice, text, taxonomy)
    reading = named(choice.reading or AUTO) or READINGS["list"]
    return replace(asked_by(LanguageModel(_NOBODY, reading, choice.prompt), text, taxonomy), sent=False)


def asked_by(model: LanguageModel, text: Text, taxonomy: Taxonomy) -> Asking:
    """What this language model is asked."""
    prompt = model.prompt or prompt_for(text, taxonomy)
    name = f"{prompt.name}@{prompt.digest}"
    return Asking(name, model.reading_name(taxonomy), model.conversations(text, taxonomy))
