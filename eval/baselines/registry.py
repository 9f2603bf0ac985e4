"""Trains a baseline by name, and reads one back."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.baselines import manifest
from eval.baselines.data import FixedDecoding, Probabilities, Scorer, Split, Track, TrainingData, untracked
from eval.baselines.thresholds import Decoding, Objective, Rule, tune
from eval.baselines.trained import Trained
from eval.datasets import Example
from eval.metrics.classification import METRICS
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.taxonomy import Taxonomy

CACHE = Path("var/cache/embeddings")


@dataclass(frozen=True)
class Baseline:
    """A baseline.

    Attributes:
        settings: a dataclass of what may be set, with its defaults.
        fit: learns; gets the material and the settings.
        restore: reads what the scorer saved: folder, number of labels, whether several may be given.
        again: learns once more what an earlier training's notes say was chosen; gets the material, the settings and
            the notes. None where nothing is chosen, so that ``fit`` does.
        rule: the decoding where none is asked for.
        soft: whether it learns from a teacher's doubt too, rather than from labels alone.
    """

    settings: Callable[..., Any]
    fit: Callable[[TrainingData, Any], Scorer]
    restore: Callable[[Path, int, bool], Scorer]
    again: Callable[[TrainingData, Any, Mapping[str, Any]], Scorer] | None = None
    rule: Rule = "per-label"
    soft: bool = False


@dataclass(frozen=True)
class TrainingPlan:
    """How to train, beside the data.

    Attributes:
        kind: name of a baseline.
        settings: what differs from the kind's defaults.
        decode: how scores become labels; None takes the kind's. A taxonomy of one label a text takes the best.
        objective: the F1 that thresholds are tuned for.
        seed: of everything random.
        data: name of the data, for the manifest.
        command: what was typed, for the manifest.
        cache: folder for embeddings.
        teacher: who gave the labels, for the manifest; None where people did.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    decode: Rule | None = None
    objective: Objective = "macro"
    seed: int = 0
    data: str = ""
    command: str = ""
    cache: Path = CACHE
    teacher: Mapping[str, Any] | None = None


def train(
    plan: TrainingPlan,
    taxonomy: Taxonomy,
    training: Sequence[Example],
    validation: Sequence[Example],
    out: Path,
    track: Track = untracked,
    soft: Mapping[str, Sequence[float]] | None = None,
) -> Trained:
    """Train a baseline, tune its decoding on validation texts, and save both with a manifest.

    Args:
        plan: what to train and how.
        taxonomy: the taxonomy to learn.
        training: what weights are learnt from.
        validation: what settings, stopping and thresholds are chosen by; never give it the test split.
        out: folder to write to; made if missing, what a former training left there is written over.
        track: shows progress.
        soft: a teacher's figure from 0 to 1 for every label in taxonomy order, by the ids of the training examples;
            kinds that learn from labels alone leave them aside.

    Raises:
        UnknownName: there is no such baseline.
        InvalidSetting: the kind has no such setting, or not with such a value.
        InvalidDataset: a split is empty, an example stands in both, or no validation row has complete labels.
    """
    kind = kind_of(plan.kind)
    settings = _settings(plan, kind)
    refuse_overlap(training, validation)
    splits = (
        _softened(Split.of(training, taxonomy), training, soft if kind.soft else None),
        Split.of(validation, taxonomy),
    )
    judged = splits[1].judged()  # told before the training takes its time
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=out, prefix="unfinished-") as scratch:
        scorer = kind.fit(TrainingData(taxonomy, *splits, plan.seed, plan.cache, Path(scratch), track), settings)
    seconds = round(time.perf_counter() - start, 1)
    scores = scorer.probabilities(judged.texts)
    decoding = _decoding(plan, kind, scorer, scores, judged, taxonomy)
    made = _manifest(plan, taxonomy, splits) | {
        "settings": asdict(settings),
        "notes": scorer.notes(),
        "decoding": decoding.as_json(),
        "validation": figures(scores, judged, decoding, taxonomy),
        "seconds": seconds,
    }
    scorer.save(out)
    manifest.write(out, made)
    return Trained(plan.kind, taxonomy, scorer, decoding, made)


def _softened(split: Split, examples: Sequence[Example], soft: Mapping[str, Sequence[float]] | None) -> Split:
    """The split with a teacher's figures beside its labels, where there are some."""
    if soft is None:
        return split
    return replace(split, soft=np.array([soft[one.id] for one in examples], dtype=np.float32))


def load(path: Path) -> Trained:
    """A trained baseline from its folder; nothing in it is run.

    Raises:
        InvalidSetting: the folder holds none, or a damaged one.
    """
    made, taxonomy, decoding = manifest.parts_of(path)
    try:
        scorer = kind_of(made["kind"]).restore(path, len(taxonomy.names), taxonomy.multi)
    except (OSError, KeyError, ValueError) as error:
        raise InvalidSetting(f"{path} holds a damaged {made['kind']} ({error}); train again") from None
    return Trained(made["kind"], taxonomy, scorer, decoding, made)


def figures(scores: Probabilities, judged: Split, decoding: Decoding, taxonomy: Taxonomy) -> dict[str, float]:
    """Every metric on the texts that thresholds were tuned on: a little too good, for choosing alone."""
    chosen = decoding.choose(scores, taxonomy.max_labels, taxonomy.allow_none)
    return {name: round(float(metric(judged.truth, chosen)), 4) for name, metric in METRICS.items()}


def _decoding(
    plan: TrainingPlan, kind: Baseline, scorer: Scorer, scores: Probabilities, judged: Split, taxonomy: Taxonomy
) -> Decoding:
    if not taxonomy.multi:
        return Decoding("best")
    if plan.decode is None and isinstance(scorer, FixedDecoding):
        return scorer.decoding()
    rule = plan.decode or kind.rule
    return tune(scores, judged.truth, rule, plan.objective, taxonomy.max_labels, taxonomy.allow_none)


def clear(out: Path) -> None:
    """Take away what says that a training here was finished, and what a killed one left."""
    (out / manifest.FILE).unlink(missing_ok=True)
    for left in out.glob("unfinished-*"):
        shutil.rmtree(left)


def _manifest(plan: TrainingPlan, taxonomy: Taxonomy, splits: tuple[Split, Split]) -> dict[str, Any]:
    """What is known of a training before it begins."""
    sides = {name: seen(split) for name, split in zip(("train", "validation"), splits, strict=True)}
    return {
        "format": manifest.FORMAT,
        "kind": plan.kind,
        "command": plan.command,
        "taxonomy": taxonomy.as_json(),
        "data": {"name": plan.data, **sides},
        "seed": plan.seed,
        "versions": manifest.versions(),
        **({"teacher": dict(plan.teacher)} if plan.teacher else {}),
    }


def seen(split: Split) -> dict[str, Any]:
    """A split as manifests tell of it."""
    return {"rows": len(split), "complete": int(split.complete.sum()), "digest": split.digest}


def kind_of(name: str) -> Baseline:
    """The baseline of a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in BASELINES:
        raise UnknownName("baseline", name, BASELINES)
    return BASELINES[name]()


def _settings(plan: TrainingPlan, kind: Baseline) -> Any:
    known = {one.name for one in fields(kind.settings())}
    if unknown := sorted(plan.settings.keys() - known):
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise InvalidSetting(f"{plan.kind} has no setting {', '.join(unknown)}; {has}")
    return kind.settings(**plan.settings)


def refuse_overlap(training: Sequence[Example], validation: Sequence[Example]) -> None:
    """Let two splits be learnt and chosen by only where both have rows and share none.

    Raises:
        InvalidDataset: a split is empty, or an example stands in both.
    """
    if not training or not validation:
        raise InvalidDataset(f"the {'validation' if training else 'training'} split is empty; name one that has rows")
    if both := {one.id for one in training} & {one.id for one in validation}:
        raise InvalidDataset(
            f"{len(both)} examples stand in training and validation, {min(both)!r} among them; split them"
        )


def _prior() -> Baseline:
    from eval.baselines import dummy

    return Baseline(dummy.NoSettings, dummy.fit_prior, dummy.restore_prior, rule="top-k")


def _lot() -> Baseline:
    from eval.baselines import dummy

    return Baseline(dummy.NoSettings, dummy.fit_lot, dummy.restore_lot)


def _untaught() -> Baseline:
    from eval.baselines import dummy, embedded

    return Baseline(dummy.NoSettings, embedded.fit, embedded.restore)


def _linear(name: str) -> Baseline:
    from eval.baselines import linear

    line = linear.LINES[name]
    return Baseline(
        linear.LinearSettings, partial(linear.fit, line=line), linear.restore, partial(linear.again, line=line)
    )


def _neighbours() -> Baseline:
    from eval.baselines import knn

    return Baseline(knn.NeighbourSettings, knn.fit, knn.restore)


def _perceptron() -> Baseline:
    from eval.baselines import mlp

    return Baseline(mlp.PerceptronSettings, mlp.fit, mlp.restore, mlp.again, soft=True)


def _hybrid() -> Baseline:
    from eval.baselines import hybrid

    return Baseline(hybrid.HybridSettings, hybrid.fit, hybrid.restore, hybrid.again, soft=True)


def _blend() -> Baseline:
    from eval.baselines import ensemble

    return Baseline(ensemble.BlendSettings, partial(ensemble.fit, read=load), partial(ensemble.restore, read=load))


def _fine_tuned(name: str) -> Baseline:
    from eval.baselines import finetune, transformer

    return Baseline(finetune.SETTINGS[name], finetune.fit, transformer.restore, finetune.again)


# What a name needs is imported when it is asked for: TF-IDF waits for no torch.
BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "prior": _prior,
    "random": _lot,
    "embedded-tuned": _untaught,
    "tfidf-nb": partial(_linear, "tfidf-nb"),
    "tfidf-svm": partial(_linear, "tfidf-svm"),
    "tfidf-knn": _neighbours,
    "tfidf-lr": partial(_linear, "tfidf-lr"),
    "minilm-mlp": _perceptron,
    "hybrid": _hybrid,
    "minilm": partial(_fine_tuned, "minilm"),
    "distilbert": partial(_fine_tuned, "distilbert"),
    "blend": _blend,
}
