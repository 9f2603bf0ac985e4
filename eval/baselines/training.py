"""Training of a baseline, and training again on the training and validation texts together (refit).

A refit keeps all choices of the first training: settings, number of epochs, ensemble weights and thresholds
(Goodfellow, Bengio and Courville 2016, Deep Learning, 7.8). Its quality can only be measured on the test split.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.baselines.registry import Baseline, kind_of
from eval.baselines.thresholds import Decoding, Objective, Rule, tune
from eval.baselines.trained import (
    FORMAT,
    MANIFEST,
    Probabilities,
    Scorer,
    Split,
    Track,
    Trained,
    TrainingData,
    read_manifest,
    untracked,
)
from eval.datasets import Example
from eval.manifest import libraries
from eval.metrics import METRICS
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy

CACHE = Path("var/cache/embeddings")
_SCRATCH = "unfinished-"


@dataclass(frozen=True)
class TrainingPlan:
    """Everything about a training but the data.

    Attributes:
        settings: those that differ from the defaults of the kind.
        decode: how scores become labels; None takes the default of the kind. Ignored for single-label taxonomies.
        objective: the F1 that thresholds are tuned for.
        data: name of the data, for the manifest, as is ``command``.
        teacher: the system that labelled the data, for the manifest; None for human labels.
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

    def parsed_settings(self, kind: Baseline) -> Any:
        """The settings as the dataclass of the kind; raises ``InvalidSetting`` for an unknown one or a wrong value."""
        known = {one.name for one in fields(kind.settings())}
        if unknown := sorted(self.settings.keys() - known):
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise InvalidSetting(f"{self.kind} has no setting {', '.join(unknown)}; {has}")
        return kind.settings(**self.settings)


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

    Training examples are for the weights, validation examples for settings, early stopping and thresholds. An earlier
    training in ``out`` is overwritten. ``soft`` has a teacher's probability of every label in taxonomy order, by the
    ids of the training examples; kinds without soft labels ignore it.

    Raises:
        UnknownName: no such baseline.
        InvalidSetting: the kind has no such setting, or a value is wrong.
        InvalidDataset: a split is empty, the splits overlap, or no validation row has complete labels.
    """
    kind = kind_of(plan.kind)
    settings = plan.parsed_settings(kind)
    check_splits(training, validation)
    train_split, validation_split = Split.of(training, taxonomy), Split.of(validation, taxonomy)
    if soft is not None and kind.uses_soft_labels:
        targets = np.array([soft[example.id] for example in training], dtype=np.float32)
        train_split = replace(train_split, soft=targets)
    complete = validation_split.complete_rows()  # before the training, which may take long
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
        data = TrainingData(taxonomy, train_split, validation_split, plan.seed, plan.cache, Path(scratch), track)
        scorer = kind.fit(data, settings)
    seconds = round(time.perf_counter() - start, 1)
    scores = scorer.probabilities(complete.texts)
    decoding = _decoding(plan, kind, scorer, scores, complete, taxonomy)
    manifest = manifest_head(plan, taxonomy, train_split, validation_split) | {
        "settings": asdict(settings),
        "notes": scorer.train_info(),
        "decoding": decoding.as_json(),
        "validation": _metrics(scores, complete, decoding, taxonomy),
        "seconds": seconds,
    }
    trained = Trained(plan.kind, taxonomy, scorer, decoding, manifest)
    trained.save(out)
    return trained


def check_splits(training: Sequence[Example], validation: Sequence[Example]) -> None:
    """Raise ``InvalidDataset`` if a split is empty, or an example is in both."""
    if not training or not validation:
        raise InvalidDataset(f"the {'validation' if training else 'training'} split is empty; name one that has rows")
    if both := {one.id for one in training} & {one.id for one in validation}:
        raise InvalidDataset(
            f"{len(both)} examples are in training and validation, {min(both)!r} among them; split them"
        )


def clear(out: Path) -> None:
    """Remove the manifest of an earlier training, and the temporary files of a killed one."""
    (out / MANIFEST).unlink(missing_ok=True)
    for scratch in out.glob(f"{_SCRATCH}*"):
        shutil.rmtree(scratch)


def manifest_head(plan: TrainingPlan, taxonomy: Taxonomy, training: Split, validation: Split) -> dict[str, Any]:
    """The entries of a manifest that are known before the training."""
    return {
        "format": FORMAT,
        "kind": plan.kind,
        "command": plan.command,
        "taxonomy": taxonomy.as_json(),
        "data": {"name": plan.data, "train": _summary(training), "validation": _summary(validation)},
        "seed": plan.seed,
        "versions": libraries(),
        **({"teacher": dict(plan.teacher)} if plan.teacher else {}),
    }


def _summary(split: Split) -> dict[str, Any]:
    return {"rows": len(split), "complete": int(split.complete.sum()), "digest": split.digest}


def _decoding(
    plan: TrainingPlan, kind: Baseline, scorer: Scorer, scores: Probabilities, validation: Split, taxonomy: Taxonomy
) -> Decoding:
    if not taxonomy.multi:
        return Decoding("best")
    if plan.decode is None and (fixed := scorer.decoding()):
        return fixed
    rule = plan.decode or kind.rule
    return tune(scores, validation.truth, rule, plan.objective, taxonomy.max_labels, bool(taxonomy.allow_none))


def _metrics(scores: Probabilities, validation: Split, decoding: Decoding, taxonomy: Taxonomy) -> dict[str, float]:
    """Metrics on the texts that thresholds were tuned on: optimistic, for model selection only."""
    predicted = decoding.choose(scores, taxonomy.max_labels, bool(taxonomy.allow_none))
    return {name: round(float(metric(validation.truth, predicted)), 4) for name, metric in METRICS.items()}


@dataclass(frozen=True)
class Refit:
    """Trains again on the training and validation texts of a finished training.

    ``trainings`` are training splits: the manifest of a training has the digest of its own.
    """

    taxonomy: Taxonomy
    trainings: Sequence[Split]
    validation: Split
    command: str = ""
    cache: Path = CACHE
    track: Track = untracked

    def run(self, folder: Path, out: Path) -> Trained:
        """Train again, and save the result with the thresholds of the first training.

        All parts of an ensemble are trained again; its weights are kept. An earlier training in ``out`` is overwritten.

        Raises:
            InvalidSetting: the folder has no trained baseline, a refit, one with other splits than these, or one with
                a teacher's labels.
        """
        read_manifest(folder)
        if out.resolve() == folder.resolve():
            raise InvalidSetting(f"{out} has the training to refit; give another folder")
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=_SCRATCH) as scratch:
            trained = self._refitted(folder, Path(scratch))
        clear(out)
        trained.save(out)
        return trained

    def _refitted(self, folder: Path, scratch: Path) -> Trained:
        first, taxonomy, decoding = read_manifest(folder)
        if "refit" in first:
            raise InvalidSetting(f"{folder} is a refit; name the training before it")
        if "cross_validation" in first:
            raise InvalidSetting(f"{folder} was trained by `fit`, on all of its texts; there is nothing to add")
        if "teacher" in first:
            raise InvalidSetting(f"{folder} was trained on a language model's labels; a refit needs human labels")
        both = self._texts_of(first, taxonomy, folder)
        start = time.perf_counter()
        scorer = self._scorer(first, folder, both, scratch)
        manifest = first | {
            "command": self.command,
            "refit": {"command": first["command"], "notes": first["notes"]},
            "data": first["data"] | {"train": _summary(both), "validation": {"rows": 0, "complete": 0, "digest": ""}},
            "versions": libraries(),
            "notes": scorer.train_info(),
            "seconds": round(time.perf_counter() - start, 1),
        }
        return Trained(first["kind"], taxonomy, scorer, decoding, manifest)

    def _texts_of(self, first: Mapping[str, Any], taxonomy: Taxonomy, folder: Path) -> Split:
        """The training and validation texts of a training."""
        if taxonomy.labels != self.taxonomy.labels:
            raise InvalidSetting(f"{folder} was trained for another taxonomy than {self.taxonomy.name}")
        splits = first["data"]
        training = _with_digest(self.trainings, splits["train"]["digest"], f"{folder} was trained on")
        tuning = _with_digest([self.validation], splits["validation"]["digest"], f"{folder} was tuned on")
        return training.joined(tuning)

    def _scorer(self, first: Mapping[str, Any], folder: Path, both: Split, scratch: Path) -> Scorer:
        if first["kind"] == "blend":
            from eval.baselines.ensemble import Ensemble

            load = partial(self._refitted, scratch=scratch)
            return Ensemble.restore(folder, len(self.taxonomy.names), self.taxonomy.multi, load)
        kind = kind_of(first["kind"])
        settings = kind.settings(**first["settings"])
        data = TrainingData(self.taxonomy, both, self.validation, first["seed"], self.cache, scratch, self.track)
        try:
            return kind.refit(data, settings, first["notes"]) if kind.refit else kind.fit(data, settings)
        except KeyError as error:
            raise InvalidSetting(f"the manifest of {folder} has no {error}; train it again") from None


def _with_digest(splits: Sequence[Split], digest: str, which: str) -> Split:
    if found := next((split for split in splits if split.digest == digest), None):
        return found
    known = ", ".join(split.digest for split in splits)
    raise InvalidSetting(
        f"{which} other texts (digest {digest}, not {known}); name the data, splits and further texts of that training"
    )
