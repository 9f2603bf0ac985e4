"""The wrappers around a language model: the only place that knows their order."""

from __future__ import annotations

from llm.calibration.certified import CertifiedStore
from llm.classifier import Classifier
from llm.few_shot import ExampleSelector
from llm.hierarchical import Hierarchical
from llm.wrappers.combined import CANDIDATES, Cascade, Fallback, OrderEnsemble, Shortlist
from llm.wrappers.fusion import Fusion, FusionStore
from marquee.settings import Settings
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy


def wrapped(
    model: Classifier, settings: Settings, embedded: Classifier, weights: FusionStore, examples: ExampleSelector,
    margin: float | CertifiedStore,
) -> Classifier:  # fmt: skip
    """The language model in the wrappers of the settings, from the inside out."""
    if settings.label_orders > 1:
        model = OrderEnsemble(model, settings.label_orders)
    if settings.max_candidate_labels != 0:
        model = Shortlist(embedded, model, settings.max_candidate_labels or CANDIDATES)
    if settings.fusion:
        model = Fusion(model, embedded, weights, examples)
    if settings.fallback:
        model = Fallback(model, embedded)
    if margin:
        model = Cascade(embedded, model, margin)
    return Hierarchical(model, settings.hierarchy_beam)


def candidates_of(settings: Settings, taxonomy: Taxonomy) -> int:
    """Number of labels that a shortlist leaves in a prompt; 0 where it leaves all."""
    candidates, labels = settings.max_candidate_labels or CANDIDATES, len(taxonomy.names)
    if isinstance(taxonomy, Hierarchy):
        steps = taxonomy.children.values() if settings.hierarchy_beam else [taxonomy.flat.names]
        labels = max(map(len, steps))
    return candidates if settings.max_candidate_labels != 0 and labels > candidates else 0
