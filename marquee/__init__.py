"""Zero-shot text classification: label texts with your own labels, and measure how well that works.

    import marquee

    marquee.classify(["My card was charged twice"], labels=["billing", "crash"])

``docs/python.md`` has an example for every name. A name is imported when it is first used (PEP 562), so that
``import marquee`` loads no model library.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llm.classifier import Classifier, Evidence, Prediction
    from marquee.authoring import check_taxonomy, suggest_taxonomy
    from marquee.classification import (
        classify,
        classify_pairs,
        estimate_cost,
        load_classifier,
        load_prompt,
        load_taxonomy,
    )
    from marquee.client import Client
    from marquee.dataframes import classify_dataframe
    from marquee.evaluation import evaluate
    from marquee.fitting import fit
    from marquee.settings import Settings
    from marquee.sklearn import MarqueeClassifier
    from prompts.errors import MarqueeError
    from prompts.installation import SAMPLE
    from prompts.taxonomy import Label, Taxonomy
    from prompts.text import Text

__all__ = [
    "SAMPLE",
    "Classifier",
    "Client",
    "Evidence",
    "Label",
    "MarqueeClassifier",
    "MarqueeError",
    "Prediction",
    "Settings",
    "Taxonomy",
    "Text",
    "__version__",
    "check_taxonomy",
    "classify",
    "classify_dataframe",
    "classify_pairs",
    "estimate_cost",
    "evaluate",
    "fit",
    "load_classifier",
    "load_prompt",
    "load_taxonomy",
    "suggest_taxonomy",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'marquee' has no attribute {name!r}; it has {', '.join(__all__)}")
    from prompts.installation import naming_extras

    with naming_extras(f"marquee.{name}"):
        globals()[name] = found = _loaded(name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _loaded(name: str) -> object:
    """Import a public name, with no more than that name needs."""
    if name in ("Label", "Taxonomy"):
        from prompts import taxonomy

        return getattr(taxonomy, name)
    if name == "SAMPLE":
        from prompts import installation

        return installation.SAMPLE
    if name == "MarqueeError":
        from prompts import errors

        return errors.MarqueeError
    if name == "Text":
        from prompts import text

        return text.Text
    if name in ("Classifier", "Evidence", "Prediction"):
        from llm import classifier

        return getattr(classifier, name)
    if name == "Client":
        from marquee import client

        return client.Client
    if name == "Settings":
        from marquee import settings

        return settings.Settings
    if name == "MarqueeClassifier":
        from marquee import sklearn

        return sklearn.MarqueeClassifier
    if name == "classify_dataframe":
        from marquee import dataframes

        return dataframes.classify_dataframe
    if name in ("check_taxonomy", "suggest_taxonomy"):
        from marquee import authoring

        return getattr(authoring, name)
    if name == "evaluate":
        from marquee import evaluation

        return evaluation.evaluate
    if name == "fit":
        from marquee import fitting

        return fitting.fit
    from marquee import classification

    return getattr(classification, name)
