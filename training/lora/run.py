"""From labelled texts to a folder with a LoRA adapter and its manifest."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.baselines.trained import FORMAT, Split, Track, untracked, write_manifest
from eval.baselines.training import check_splits, clear
from eval.datasets import Example, sample
from eval.manifest import libraries
from eval.metrics import METRICS, indicator
from llm.backends.local_backend import LocalBackend
from llm.backends.lora_adapter import CONFIG, WEIGHTS, weights_digest
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts.errors import InvalidSetting
from prompts.files import digest_of, make_folder, read_json, write_text_atomically
from training.lora.config import Hardware, LoraConfig, PromptSetup

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM
    from training.lora.lessons import LoraDataset

KIND = "lora"


@dataclass(frozen=True)
class LoraPlan:
    """Everything about a training but the examples; ``data`` and ``command`` are for the manifest."""

    setup: PromptSetup
    config: LoraConfig = LoraConfig()
    incomplete: bool = False
    seed: int = 0
    data: str = ""
    command: str = ""


def train_adapter(
    plan: LoraPlan, training: Sequence[Example], validation: Sequence[Example], out: Path, track: Track = untracked
) -> dict[str, Any]:
    """Train an adapter, stop by the loss on validation texts (never the test split), and save it with a manifest.

    The folder ``out`` is created, and an earlier training in it is overwritten; one of the same plan and texts that was
    interrupted is resumed.

    Returns:
        The manifest. Its ``validation`` has all metrics ``before`` and ``after`` the training, over at most
        ``config.judged`` validation texts with complete labels.

    Raises:
        InvalidSetting: the base model cannot be loaded, or the machine lacks the hardware.
        InvalidDataset: a split is empty, the splits overlap, or no training example remains.
    """
    from llm.backends.causal_lm_loading import load
    from training.lora.lessons import tokenised
    from training.lora.train import fit, save, with_adapter

    check_splits(training, validation)
    config, hardware = plan.config, Hardware.of(plan.config)
    watched = sample([one for one in validation if one.complete or plan.incomplete], config.watched)
    base = load(config.base, hardware.device, hardware.dtype, quantised=hardware.quantised)
    datasets = [
        tokenised(base, plan.setup, examples, min(config.max_tokens, base.context), plan.incomplete)
        for examples in (training, watched)
    ]
    evaluated = sample([one for one in validation if one.complete], config.judged)
    head = _manifest(plan, hardware, (training, watched), datasets)
    state = _state_of(out, head)
    start = time.perf_counter()
    before = _kept(state / "before.json", lambda: metrics(base, plan.setup, evaluated))
    tuned = with_adapter(base, config, hardware, plan.seed)
    first, second = (dataset.examples for dataset in datasets)
    result = fit(tuned, first, second, config, hardware, state, plan.seed, track)
    seconds = round(time.perf_counter() - start, 1)
    save(tuned, config.base, out)
    manifest = head | {
        "notes": result,
        "validation": {"texts": len(evaluated), "before": before, "after": metrics(base, plan.setup, evaluated)},
        "seconds": seconds,
    }
    write_manifest(out, manifest)
    shutil.rmtree(state)
    return manifest


def _state_of(out: Path, head: Mapping[str, Any]) -> Path:
    """The folder of the training's state in ``out``; emptied where it belongs to another training."""
    state, digest = out / "state", digest_of(json.dumps({**head, "command": ""}, sort_keys=True), 16)
    make_folder(out)
    clear(out)
    for name in (CONFIG, WEIGHTS):  # of an earlier training
        (out / name).unlink(missing_ok=True)
    if state.exists() and _digest_in(state) != digest:
        shutil.rmtree(state)
    make_folder(state)
    write_text_atomically(state / "plan", digest)
    return state


def _digest_in(state: Path) -> str:
    return (state / "plan").read_text() if (state / "plan").exists() else ""


def _kept(path: Path, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What an interrupted training computed already, or what ``make`` gives."""
    if not path.exists():
        write_text_atomically(path, json.dumps(make()))
    found: dict[str, float] = read_json(path, InvalidSetting)
    return found


def metrics(causal: CausalLM, setup: PromptSetup, examples: Sequence[Example]) -> dict[str, float]:
    """All metrics of the model on examples, prompted and parsed as in use; empty without examples."""
    if not examples:
        return {}
    model = LanguageModel(LocalBackend.from_loaded(causal, KIND), STRATEGIES[setup.form], setup.prompt)
    predictions = model.classify([one.text for one in examples], setup.taxonomy)
    pair = [indicator([one.labels for one in rows], setup.taxonomy) for rows in (examples, predictions)]
    return {name: round(float(metric(*pair)), 4) for name, metric in METRICS.items()}


def _manifest(
    plan: LoraPlan, hardware: Hardware, splits: Sequence[Sequence[Example]], datasets: Sequence[LoraDataset]
) -> dict[str, Any]:
    data = {
        name: {
            "rows": len(examples),
            "lessons": len(dataset.examples),
            "counts": dict(dataset.counts),
            "digest": Split.of(examples, plan.setup.taxonomy).digest,
        }
        for name, examples, dataset in zip(("train", "validation"), splits, datasets, strict=True)
    }
    return {
        "format": FORMAT,
        "kind": KIND,
        "command": plan.command,
        "base": {"name": plan.config.base, "weights": weights_digest(plan.config.base)},
        "taxonomy": plan.setup.taxonomy.as_json(),
        "strategy": plan.setup.form,
        "prompts": plan.setup.prompts(splits[0]),
        "stopped by": "the lowest loss on the validation texts",
        "data": {"name": plan.data, **data},
        "seed": plan.seed,
        "settings": asdict(plan.config) | {"incomplete": plan.incomplete},
        "computed in": {"device": hardware.device, "dtype": hardware.dtype, "four_bit": hardware.quantised is not None},
        "versions": libraries(),
    }
