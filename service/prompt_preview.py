"""What a language model is asked about a text, for showing."""

from __future__ import annotations

from dataclasses import replace

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.registry import AUTO, STRATEGIES, named
from marquee.factory import RequestOptions
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.services import PromptPreview, Services

_NOBODY = FakeBackend(name="nobody", weights=lambda conversation: {})  # shows what would be asked and is never asked


def asking(parts: Services, choice: RequestOptions, text: Text, taxonomy: Taxonomy) -> PromptPreview:
    """What the service's language model is asked; where it has none, what one would be asked, as not sent."""
    if parts.asking_of:
        return parts.asking_of(choice, text, taxonomy)
    strategy = named(choice.strategy or AUTO) or STRATEGIES["json_list"]
    return replace(asked_by(LanguageModel(_NOBODY, strategy, choice.prompt), text, taxonomy), sent=False)


def asked_by(model: LanguageModel, text: Text, taxonomy: Taxonomy) -> PromptPreview:
    """What this language model is asked."""
    prompt = model.prompt or prompt_for(text, taxonomy)
    return PromptPreview(prompt.versioned_name, model.strategy_for(taxonomy).name, model.conversations(text, taxonomy))
