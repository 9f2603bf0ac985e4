"""The baselines by name, and reading a trained one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.baselines.thresholds import Rule
from eval.baselines.trained import Scorer, Trained, TrainingData, read_manifest
from prompts.errors import InvalidSetting, UnknownName


@dataclass(frozen=True)
class Baseline:
    """A kind of model.

    Attributes:
        settings: a dataclass of settings with defaults.
        fit: trains.
        restore: reads what the scorer saved in a folder, for a number of labels, independent or not.
        refit: trains with the choices of an earlier training, of its ``train_info``; None if ``fit`` chooses nothing.
        rule: default decoding.
        uses_soft_labels: whether it is trained on a teacher's probabilities instead of its labels.
    """

    settings: Callable[..., Any]
    fit: Callable[[TrainingData, Any], Scorer]
    restore: Callable[[Path, int, bool], Scorer]
    refit: Callable[[TrainingData, Any, Mapping[str, Any]], Scorer] | None = None
    rule: Rule = "per-label"
    uses_soft_labels: bool = False


def kind_of(name: str) -> Baseline:
    """The baseline of a name; raises ``UnknownName`` if there is none."""
    if name not in BASELINES:
        raise UnknownName("baseline", name, BASELINES)
    return BASELINES[name](name)


def load(path: Path) -> Trained:
    """Read a trained baseline, without running code in its folder; raises ``InvalidSetting`` if it has none."""
    manifest, taxonomy, decoding = read_manifest(path)
    try:
        scorer = kind_of(manifest["kind"]).restore(path, len(taxonomy.names), taxonomy.multi)
    except (OSError, KeyError, ValueError) as error:
        raise InvalidSetting(f"{path} has a damaged {manifest['kind']} ({error}); train again") from None
    return Trained(manifest["kind"], taxonomy, scorer, decoding, manifest)


def _untrained(name: str) -> Baseline:
    from eval.baselines import untrained as models

    return {
        "prior": Baseline(models.NoSettings, models.Prior.fit, models.Prior.restore, rule="top-k"),
        "random": Baseline(models.NoSettings, models.RandomLabels.fit, models.RandomLabels.restore),
        "embedded-tuned": Baseline(models.NoSettings, models.EmbeddedScores.fit, models.EmbeddedScores.restore),
    }[name]


def _tfidf(name: str) -> Baseline:
    from eval.baselines import tfidf

    if name == "tfidf-knn":
        return Baseline(tfidf.KNNSettings, tfidf.KNN.fit, tfidf.KNN.restore)
    fit, refit = (partial(one, fit_label=tfidf.LINEAR[name]) for one in (tfidf.fit_linear, tfidf.refit_linear))
    return Baseline(tfidf.LinearSettings, fit, tfidf.Linear.restore, refit)


def _mlp(name: str) -> Baseline:
    from eval.baselines import mlp

    return Baseline(mlp.MLPSettings, mlp.fit, mlp.MLP.restore, mlp.refit, uses_soft_labels=True)


def _few_examples(name: str) -> Baseline:
    from eval.baselines import few_examples as models

    return Baseline(models.FewExamplesSettings, models.fit, models.FrozenHead.restore)


def _ensemble(name: str) -> Baseline:
    from eval.baselines import ensemble as models

    if name == "hybrid":
        settings, restore = models.HybridSettings, models.Hybrid.restore
        return Baseline(settings, models.fit_hybrid, restore, models.refit_hybrid, uses_soft_labels=True)
    fit, restore_parts = (partial(one, load=load) for one in (models.fit_ensemble, models.Ensemble.restore))
    return Baseline(models.EnsembleSettings, fit, restore_parts)


def _fine_tuned(name: str) -> Baseline:
    from eval.baselines import finetune, losses, transformer

    return Baseline(losses.SETTINGS[name], finetune.fit, transformer.Transformer.restore, finetune.refit)


# Functions import the code of a baseline on first use: TF-IDF needs no torch.
BASELINES: Mapping[str, Callable[[str], Baseline]] = {
    "prior": _untrained,
    "random": _untrained,
    "embedded-tuned": _untrained,
    "tfidf-nb": _tfidf,
    "tfidf-svm": _tfidf,
    "tfidf-knn": _tfidf,
    "tfidf-lr": _tfidf,
    "few-examples": _few_examples,
    "minilm-mlp": _mlp,
    "hybrid": _ensemble,
    "minilm": _fine_tuned,
    "distilbert": _fine_tuned,
    "blend": _ensemble,
}
