"""The whole training of the general branch: folds that measure and calibrate it, final weights, and manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.manifest import commit, libraries
from llm.embedded.cosine import COHORT, NONSENSE
from llm.embedded.saved_weights import save
from llm.embedded.weights import GeneralWeights, MatcherWeights
from similarity.encoders.minilm import MiniLM
from training.matcher.general import GeneralSchedule, OnProgress, ReadySet, ready, stages, text_vectors, train
from training.matcher.general_calibration import LeftOut, fitted_numbers, quality, recognised
from training.matcher.general_data import FamilyTexts, folds
from training.matcher.general_model import LOWER, GeneralModel, label_tower

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_RANK = 64  # of the changes of weights
_MEASURED = 250  # validation texts of each label set


@dataclass(frozen=True)
class GeneralPlan:
    """What to train the general branch on.

    Attributes:
        base: weights whose film branch is kept; their ``centre`` is where the centre of texts starts.
        training: label sets of the training.
        validation: label sets that the folds are measured on; label sets without a fold are not.
        schedule: how long and how fast.
    """

    base: MatcherWeights
    training: Sequence[FamilyTexts]
    validation: Sequence[FamilyTexts]
    schedule: GeneralSchedule


def train_general(plan: GeneralPlan, out: Path, command: str, on_progress: OnProgress) -> dict[str, Any]:
    """Train, write ``out`` (weights) and its manifest (``.json`` in place of ``.safetensors``); returns the manifest.

    An interrupted run is resumed by the same call.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    encoder, checkpoints = MiniLM(), stages(out)
    folder = checkpoints.folder
    training = ready([one.sample(plan.schedule.most) for one in plan.training], encoder, folder, on_progress)
    validation = ready([one.sample(_MEASURED) for one in plan.validation], encoder, folder, on_progress)
    before, left = GeneralModel(plan.base.centre).eval(), list[LeftOut]()
    for fold in folds([one.content for one in training]):
        rest = [one for one in training if one.content.family not in fold]
        model = train(rest, plan.base.centre, plan.schedule, checkpoints, on_progress)
        left += [left_out(model, one, encoder) for one in validation if one.content.family in fold]
    numbers = fitted_numbers(left)
    final = train(training, plan.base.centre, plan.schedule, checkpoints, on_progress)
    weights = replace(
        plan.base, name=out.stem, general=exported(final, before), numbers={**plan.base.numbers, **numbers}
    )
    save(weights, out, _RANK)
    seen = {one.content.name: one for one in validation}
    scope = recognised(left, numbers)
    table = {
        one.name: {
            "several": one.multi, "plain": quality(left_out(before, seen[one.name], encoder)), "trained": quality(one),
            "scope AUROC": scope[one.name],
        }
        for one in left
    }  # fmt: skip
    manifest = {
        "command": command, "recipe": asdict(plan.schedule), "rank": _RANK, "numbers": numbers,
        "label sets": {one.content.name: len(one.states) for one in training},
        "left out by fold": table, "git": commit(), "libraries": libraries(),
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def left_out(model: GeneralModel, one: ReadySet, encoder: MiniLM) -> LeftOut:
    """Encode a label set, each label by its name and description as in use, with a model that was not trained on it."""
    content = one.content
    true = np.zeros((len(content.true), len(content.labels)), bool)
    for row, places in enumerate(content.true):
        true[row, list(places)] = True
    texts = text_vectors(model, one.states) - model.centre.detach().numpy()
    plain = np.stack([vectors[0] + vectors[-1] for vectors in one.vectors])
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    cohort = encoder.encode([*COHORT, *NONSENSE])
    labels, phrases = (label_tower(model, vectors) for vectors in (plain, cohort))
    return LeftOut(content.name, content.field, content.multi, texts, labels, true, phrases)


def exported(model: GeneralModel, before: GeneralModel) -> GeneralWeights:
    """The weights of a trained model as the matcher reads them; ``before`` is the model before training."""
    original, changes = before.layers.state_dict(), {}
    for name, value in model.layers.state_dict().items():
        layer, rest = name.split(".", 1)
        change = (value - original[name]).numpy()
        if change.any():
            changes[f"encoder.layer.{int(layer) + LOWER}.{rest}"] = change
    state = model.state_dict()
    tower = {name: state[name].numpy() for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")}
    return GeneralWeights(changes, tower, state["centre"].numpy())
