"""The baselines by name, and reading a trained one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.baselines.data import Scorer, TrainingData
from eval.baselines.thresholds import Rule
from eval.baselines.trained import Trained, read_manifest
from prompts.errors import InvalidSetting, UnknownName


@dataclass(frozen=True)
class Baseline:
    """A kind of model.

    Attributes:
        settings: a dataclass of settings with defaults.
        fit: trains; takes the data and the settings.
        restore: reads what the scorer saved; takes the folder, the number of labels, and whether labels are
            independent.
        refit: trains with the choices of an earlier training; takes the data, the settings and the ``train_info`` of
            that. None if ``fit`` chooses nothing.
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
    """The baseline of a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in BASELINES:
        raise UnknownName("baseline", name, BASELINES)
    return BASELINES[name]()


def load(path: Path) -> Trained:
    """Read a trained baseline from its folder; no code in it is run.

    Raises:
        InvalidSetting: the folder has no trained baseline, or a damaged one.
    """
    manifest, taxonomy, decoding = read_manifest(path)
    try:
        scorer = kind_of(manifest["kind"]).restore(path, len(taxonomy.names), taxonomy.multi)
    except (OSError, KeyError, ValueError) as error:
        raise InvalidSetting(f"{path} has a damaged {manifest['kind']} ({error}); train again") from None
    return Trained(manifest["kind"], taxonomy, scorer, decoding, manifest)


def _prior() -> Baseline:
    from eval.baselines import untrained

    return Baseline(untrained.NoSettings, untrained.fit_prior, untrained.restore_prior, rule="top-k")


def _random() -> Baseline:
    from eval.baselines import untrained

    return Baseline(untrained.NoSettings, untrained.fit_random, untrained.restore_random)


def _embedded() -> Baseline:
    from eval.baselines import untrained

    return Baseline(untrained.NoSettings, untrained.fit_embedded, untrained.restore_embedded)


def _linear(name: str) -> Baseline:
    from eval.baselines import tfidf

    fit, refit = (
        partial(function, fit_label=tfidf.LINEAR[name]) for function in (tfidf.fit_linear, tfidf.refit_linear)
    )
    return Baseline(tfidf.LinearSettings, fit, tfidf.restore_linear, refit)


def _knn() -> Baseline:
    from eval.baselines import tfidf

    return Baseline(tfidf.KNNSettings, tfidf.fit_knn, tfidf.restore_knn)


def _mlp() -> Baseline:
    from eval.baselines import mlp

    return Baseline(mlp.MLPSettings, mlp.fit, mlp.restore, mlp.refit, uses_soft_labels=True)


def _hybrid() -> Baseline:
    from eval.baselines import ensemble

    return Baseline(
        ensemble.HybridSettings,
        ensemble.fit_hybrid,
        ensemble.restore_hybrid,
        ensemble.refit_hybrid,
        uses_soft_labels=True,
    )


def _blend() -> Baseline:
    from eval.baselines import ensemble

    fit, restore = (partial(function, load=load) for function in (ensemble.fit_ensemble, ensemble.restore_ensemble))
    return Baseline(ensemble.EnsembleSettings, fit, restore)


def _fine_tuned(name: str) -> Baseline:
    from eval.baselines import finetune, transformer
    from eval.baselines.finetune_settings import SETTINGS

    return Baseline(SETTINGS[name], finetune.fit, transformer.restore, finetune.refit)


# Functions import the code of a baseline on first use: TF-IDF needs no torch.
BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "prior": _prior,
    "random": _random,
    "embedded-tuned": _embedded,
    "tfidf-nb": partial(_linear, "tfidf-nb"),
    "tfidf-svm": partial(_linear, "tfidf-svm"),
    "tfidf-knn": _knn,
    "tfidf-lr": partial(_linear, "tfidf-lr"),
    "minilm-mlp": _mlp,
    "hybrid": _hybrid,
    "minilm": partial(_fine_tuned, "minilm"),
    "distilbert": partial(_fine_tuned, "distilbert"),
    "blend": _blend,
}
