"""Predictions for pairs of a text and a taxonomy: several taxonomies for a text, or other labels for every text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from llm.classifier import Classifier, Prediction
from llm.embedded.matcher import Matcher
from llm.wrappers.languages import ByLanguage
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_MAX_THREADS = 8  # taxonomies at once, for one call
Pair = tuple[Text, Taxonomy]
PredictPairs = Callable[[Sequence[Pair]], Sequence[Prediction]]


def classify_pairs(
    classifier: Classifier, pairs: Sequence[Pair], predict: PredictPairs | None = None
) -> list[Prediction]:
    """One prediction per pair, in order.

    The embedded classifier encodes each text and each label once. Any other classifier gets the texts of a taxonomy
    together, so that a language model's server computes the taxonomy's part of the prompt once.

    Args:
        classifier: classifies the texts of one taxonomy.
        pairs: texts and taxonomies.
        predict: the same classifier for pairs of a text, which is not empty, and a flat taxonomy.
    """
    predict = predict or (classifier.predict if isinstance(classifier, Matcher | ByLanguage) else None)
    found: dict[int, Prediction] = {}
    if predict:
        shared = [
            at for at, (text, taxonomy) in enumerate(pairs) if not (text.empty or isinstance(taxonomy, Hierarchy))
        ]
        found |= zip(shared, predict([pairs[at] for at in shared]), strict=True) if shared else ()
    groups: dict[Taxonomy, list[int]] = {}
    for at, (_, taxonomy) in enumerate(pairs):
        if at not in found:
            groups.setdefault(taxonomy, []).append(at)

    def of_group(taxonomy: Taxonomy) -> list[Prediction]:
        return classifier.classify([pairs[at][0] for at in groups[taxonomy]], taxonomy)

    if groups:
        with ThreadPoolExecutor(min(_MAX_THREADS, len(groups))) as pool:
            jobs = [
                (places, pool.submit(copy_context().run, of_group, taxonomy)) for taxonomy, places in groups.items()
            ]
            for places, job in jobs:
                found |= zip(places, job.result(), strict=True)
    return [found[at] for at in range(len(pairs))]
