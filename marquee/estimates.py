"""What a language model would be sent under the settings, and what that costs; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence

from llm.calibration.certified import margin_of
from llm.classifier import Classifier
from llm.language_model import LanguageModel
from llm.spending.costs import Preview, preview
from llm.spending.rehearsal import Rehearsal, Rehearsed
from llm.wrappers.fusion import FusionStore
from marquee.settings import Settings
from marquee.wrappers import candidates_of, wrapped
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_SAMPLE = 400  # texts that are estimated, where the embedded classifier must read each


def requests(
    model: LanguageModel, settings: Settings, embedded: Classifier, texts: Sequence[Text], taxonomy: Taxonomy
) -> list[Rehearsed]:
    """The requests about some texts, with the wrappers of the settings.

    The steps of a descent follow the embedded classifier's answers, so their number is an estimate.
    """
    rehearsal = Rehearsal(model, embedded if _descends(settings, taxonomy) else None)
    alone = settings.model_copy(update={"fusion": False, "fallback": False})  # they change no request
    margin = margin_of(settings.cascade_margin)
    wrapped(rehearsal, alone, embedded, FusionStore(), model.examples, margin).classify(texts, taxonomy)
    return rehearsal.requests


def estimate(
    model: LanguageModel, settings: Settings, embedded: Classifier, texts: Sequence[Text], taxonomy: Taxonomy
) -> Preview:
    """Tokens and price of those requests."""
    read = settings.cascade_margin or candidates_of(settings, taxonomy) or _descends(settings, taxonomy)
    sample = texts[:: -(-len(texts) // _SAMPLE) or 1] if read else texts
    found = preview(model, requests(model, settings, embedded, sample, taxonomy))
    return found.scaled(len(texts) / max(1, len(sample)))


def _descends(settings: Settings, taxonomy: Taxonomy) -> bool:
    return settings.hierarchy_beam > 0 and isinstance(taxonomy, Hierarchy)
