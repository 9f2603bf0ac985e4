"""From labelled texts to a folder that holds an adapter and where it comes from."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.baselines.data import Split, Track, untracked
from eval.baselines.trained import FORMAT, MANIFEST, write_manifest
from eval.baselines.training import check_splits
from eval.datasets import Example, sample
from eval.manifest import libraries
from eval.metrics.classification import METRICS, indicator
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.lora_adapter import CONFIG, WEIGHTS, weights_digest
from llm.strategies.registry import STRATEGIES
from training.lora.config import Hardware, LoraConfig, means
from training.lora.dataset import LoraDataset, PromptSetup, lessons

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM

KIND = "lora"


@dataclass(frozen=True)
class LoraPlan:
    """What to train, beside the texts.

    Attributes:
        asking: taxonomy, strategy and prompt.
        recipe: how.
        incomplete: whether examples of incomplete labels are learnt from.
        seed: of everything random.
        data: name of the data, for the manifest.
        command: what was typed, for the manifest.
    """

    asking: PromptSetup
    recipe: LoraConfig = LoraConfig()
    incomplete: bool = False
    seed: int = 0
    data: str = ""
    command: str = ""


def teach(
    plan: LoraPlan, training: Sequence[Example], validation: Sequence[Example], out: Path, track: Track = untracked
) -> dict[str, Any]:
    """Train an adapter, stop by the loss on validation texts, and save it with a manifest.

    Args:
        plan: what and how.
        training: what is learnt from.
        validation: what stops the training; never give it the test split.
        out: folder to write to; made if missing, what a former training left there is written over.
        track: shows progress.

    Returns:
        The manifest. Its ``validation`` holds every metric ``before`` and ``after``, of answers that were asked for and
        read as in use, over the ``recipe.judged`` validation texts of complete labels.

    Raises:
        InvalidSetting: a model that cannot be loaded, or means that this machine lacks.
        InvalidDataset: a split is empty, an example stands in both, or nothing is left to learn from.
    """
    from llm.backends import causal_lm as causal
    from training.lora.train import learn, save, with_adapter

    check_splits(training, validation)
    recipe, using = plan.recipe, means(plan.recipe)
    base = causal.load(recipe.base, using.device, using.dtype, quantised=using.quantised)
    taught = [
        lessons(base, plan.asking, some, min(recipe.max_tokens, base.context), plan.incomplete)
        for some in (training, validation)
    ]
    judged = sample([one for one in validation if one.complete], recipe.judged)
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    start = time.perf_counter()
    before = figures(base, plan.asking, judged)
    tuned = with_adapter(base, recipe, using, plan.seed)
    with tempfile.TemporaryDirectory(dir=out, prefix="unfinished-") as scratch:
        learnt = learn(tuned, taught[0].lessons, taught[1].lessons, recipe, using, Path(scratch), plan.seed, track)
    seconds = round(time.perf_counter() - start, 1)
    save(tuned, recipe.base, out)
    made = _manifest(plan, using, training, validation, taught) | {
        "notes": asdict(learnt),
        "validation": {"texts": len(judged), "before": before, "after": figures(base, plan.asking, judged)},
        "seconds": seconds,
    }
    write_manifest(out, made)
    return made


def figures(causal: CausalLM, asking: PromptSetup, examples: Sequence[Example]) -> dict[str, float]:
    """Every metric of a model's answers to examples, asked for and read as in use; none where there is no example."""
    if not examples:
        return {}
    model = LanguageModel(LocalBackend.from_loaded(causal, KIND), STRATEGIES[asking.form], asking.prompt)
    found = model.classify([one.text for one in examples], asking.taxonomy)
    truth, answered = ([one.labels for one in some] for some in (examples, found))
    pair = indicator(truth, asking.taxonomy), indicator(answered, asking.taxonomy)
    return {name: round(float(metric(*pair)), 4) for name, metric in METRICS.items()}


def _manifest(
    plan: LoraPlan,
    using: Hardware,
    training: Sequence[Example],
    validation: Sequence[Example],
    taught: Sequence[LoraDataset],
) -> dict[str, Any]:
    seen = {
        name: {
            "rows": len(some),
            "lessons": len(one.lessons),
            "counts": dict(one.counts),
            "digest": Split.of(some, plan.asking.taxonomy).digest,
        }
        for name, some, one in zip(("train", "validation"), (training, validation), taught, strict=True)
    }
    return {
        "format": FORMAT,
        "kind": KIND,
        "command": plan.command,
        "base": {"name": plan.recipe.base, "weights": weights_digest(plan.recipe.base)},
        "taxonomy": plan.asking.taxonomy.as_json(),
        "strategy": plan.asking.form,
        "prompts": plan.asking.prompts(training),
        "stopped by": "the lowest loss on the validation texts",
        "data": {"name": plan.data, **seen},
        "seed": plan.seed,
        "settings": asdict(plan.recipe) | {"incomplete": plan.incomplete},
        "computed in": {"device": using.device, "dtype": using.dtype, "four_bit": using.quantised is not None},
        "versions": libraries(),
    }


def _clear(out: Path) -> None:
    """Take away what says that a training here was finished, and what a killed one left."""
    for name in (MANIFEST, CONFIG, WEIGHTS):
        (out / name).unlink(missing_ok=True)
    for left in out.glob("unfinished-*"):
        shutil.rmtree(left)
