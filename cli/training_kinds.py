"""The kinds of model of `main.py train`: one line about each, its settings as options, and their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click

from cli.arguments import decorated

_POSITIVE, _ABOVE_0 = click.IntRange(1), click.FloatRange(0, min_open=True)
# Every setting of a kind of model: its type (None: a flag) and its help.
SETTINGS: Mapping[str, tuple[Any, str]] = {
    "ngrams": (_POSITIVE, "Longest n-gram, in words."),
    "min_count": (_POSITIVE, "Minimum number of texts with a term."),
    "c": (_ABOVE_0, "Inverse of regularisation."),
    "neighbours": (_POSITIVE, "Number of neighbours."),
    "trials": (_POSITIVE, "Trials of the random search."),
    "folds": (click.IntRange(2), "Parts of the cross-validation."),
    "encoder": (click.Choice(["minilm", "matcher"]), "minilm (original), or matcher (fine-tuned for labels)."),
    "epochs": (_POSITIVE, "Maximum number of epochs."),
    "patience": (_POSITIVE, "Epochs without gain before training stops."),
    "base": (str, "Model to start from: a folder, a name, or an earlier training."),
    "loss": (click.Choice(["bce", "two-valued", "log-weights", "focal"]), "Loss, for several labels per text."),
    "length_weight": (click.FloatRange(0), "Weight of the length, for one label per text."),
    "last_layers": (click.IntRange(0), "Train only so many last layers, and the head; 0: all."),
    "linear_probe": (None, "Train the head on the frozen encoder first."),
    "oversample": (None, "Repeat texts of rare labels (ML-ROS)."),
    "max_tokens": (click.IntRange(4), "Tokens read of a text."),
    "keep": (click.Choice(["head", "head-tail"]), "The part of a longer text that is read."),
    "lr": (_ABOVE_0, "Learning rate."),
    "batch_size": (_POSITIVE, "Texts per step."),
    "micro_batch": (_POSITIVE, "Texts per forward pass."),
    "precision": (click.Choice(["auto", "bf16", "fp32"]), "Number format of the training."),
    "rank": (_POSITIVE, "Rank of the adapter."),
    "alpha": (_POSITIVE, "Scale: updates count alpha / rank."),
    "four_bit": (None, "Base model in 4 bits (GPU, bitsandbytes)."),
    "judged": (click.IntRange(0), "Validation texts to label before and after the training."),
    "watched": (_POSITIVE, "Validation texts for the loss after each epoch."),
}
_TFIDF: Mapping[str, Any] = {"ngrams": 2, "min_count": 2}
_MLP: Mapping[str, Any] = {"trials": 12, "epochs": 40, "patience": 4, "encoder": "minilm"}
_FINE_TUNING: Mapping[str, Any] = {
    "loss": "bce", "length_weight": 0.0, "last_layers": 0, "linear_probe": False, "oversample": False,
    "max_tokens": 256, "keep": "head", "epochs": 5, "patience": 2, "batch_size": 32, "precision": "auto",
}  # fmt: skip
LORA: Mapping[str, Any] = {
    "base": "Qwen/Qwen2-7B-Instruct", "rank": 16, "alpha": 32, "lr": 2e-4, "epochs": 3, "patience": 1,
    "batch_size": 16, "micro_batch": 8, "max_tokens": 2_048, "precision": "auto", "four_bit": False, "judged": 200,
    "watched": 500,
}  # fmt: skip


class Kind(NamedTuple):
    """A baseline as a subcommand: its line in the list, and the defaults of its settings."""

    about: str
    defaults: Mapping[str, Any]


KINDS: Mapping[str, Mapping[str, Kind]] = {
    "Simple baselines": {
        "prior": Kind("The most frequent labels, for every text.", {}),
        "random": Kind("Random labels, as frequent as in the data.", {}),
        "embedded-tuned": Kind("Embedded classifier with thresholds from the data.", {}),
    },
    "TF-IDF": {
        "tfidf-nb": Kind("Multinomial naive Bayes.", {**_TFIDF, "c": 1.0}),
        "tfidf-svm": Kind("Linear support vector machine.", {**_TFIDF, "c": 1.0}),
        "tfidf-knn": Kind("Nearest neighbours.", {**_TFIDF, "ngrams": 1, "neighbours": 25}),
        "tfidf-lr": Kind("Logistic regression.", {**_TFIDF, "c": 1.0}),
    },
    "Sentence encoders": {
        "few-examples": Kind("Linear models over frozen vectors and words; see `fit`.", {"folds": 5}),
        "minilm-mlp": Kind("Neural network over MiniLM's vectors.", _MLP),
        "hybrid": Kind("minilm-mlp and tfidf-lr together.", {**_TFIDF, "c": 1.0, **_MLP}),
        "minilm": Kind("Fine-tuned MiniLM.", {"base": "the installed MiniLM", **_FINE_TUNING, "lr": 1e-4}),
        "distilbert": Kind(
            "Fine-tuned DistilBERT.", {"base": "distilbert-base-uncased", **_FINE_TUNING, "lr": 5e-5}
        ),
    },
}  # fmt: skip


def settings_options(defaults: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The options for the settings of a kind; one that is not given is None, and the default of the kind applies."""
    return decorated(*(_setting(name, default) for name, default in defaults.items()))


def _setting(name: str, default: Any) -> Callable[[Any], Any]:
    kind, about = SETTINGS[name]
    flag = f"--{name.replace('_', '-')}"
    if kind is None:
        return click.option(flag, is_flag=True, default=None, help=about)
    return click.option(flag, type=kind, help=f"{about}  [default: {default}]")
