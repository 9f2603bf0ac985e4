"""From labelled texts to a folder with a LoRA adapter and its manifest; settings, device and number format."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from eval.baselines.trained import FORMAT, Split, Track, untracked, write_manifest
from eval.baselines.training import check_splits, clear
from eval.datasets import Example, sample
from eval.manifest import libraries
from eval.metrics import METRICS, indicator
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.lora_adapter import CONFIG, WEIGHTS, weights_digest
from llm.strategies import STRATEGIES
from prompts.errors import InvalidSetting
from prompts.registry import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt

if TYPE_CHECKING:
    from llm.backends.causal_lm import CausalLM
    from training.lora.train import LoraDataset

KIND = "lora"
Form = Literal["json_list", "label_tokens"]
Precision = Literal["auto", "bf16", "fp32"]
_POSITIVE = ("rank", "alpha", "epochs", "patience", "batch_size", "micro_batch", "max_tokens")


@dataclass(frozen=True)
class LoraConfig:
    """Settings of a LoRA training.

    The defaults follow the papers for models of this size: all linear layers, learning rate 2e-4 (Hu et al. 2021, arXiv
    2106.09685; Dettmers et al. 2023, arXiv 2305.14314).

    Attributes:
        base: folder of the base model, or its name on the Hugging Face Hub.
        rank: rank of the update of each linear layer.
        alpha: the update is scaled by alpha / rank.
        dropout: dropout of the inputs of the update.
        lr: peak learning rate.
        epochs: maximum number of epochs.
        patience: epochs without a lower validation loss after which training stops.
        batch_size: texts per step.
        micro_batch: texts of a forward pass; it changes the memory for activations, but not the result.
        max_tokens: texts with more tokens in messages and answer are skipped.
        precision: number format of the base model: ``bf16``, ``fp32`` or ``auto``; see
            ``similarity.encoders.precision``.
        four_bit: load the base model in 4 bits (NF4); needs a GPU and bitsandbytes.
        checkpointing: recompute activations in the backward pass instead of storing them (gradient checkpointing).
        judged: number of validation texts for the metrics before and after training; 0 computes none.
    """

    base: str = "Qwen/Qwen2-7B-Instruct"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    lr: float = 2e-4
    epochs: int = 3
    patience: int = 1
    batch_size: int = 16
    micro_batch: int = 4
    max_tokens: int = 2_048
    precision: Precision = "auto"
    four_bit: bool = False
    checkpointing: bool = True
    judged: int = 200

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.lr <= 0 or not 0 <= self.dropout < 1 or self.judged < 0:
            raise InvalidSetting("lr must be above 0, dropout from 0 to below 1, and judged at least 0")
        if self.precision not in get_args(Precision):
            raise InvalidSetting(f"precision is {self.precision!r}; give one of {', '.join(get_args(Precision))}")

    @property
    def at_once(self) -> int:
        """Texts of a forward pass."""
        return min(self.micro_batch, self.batch_size)

    @property
    def parts(self) -> int:
        """Forward passes of a step (gradient accumulation)."""
        return -(-self.batch_size // self.at_once)


@dataclass(frozen=True)
class Hardware:
    """Device (``cuda`` or ``cpu``), number format by its name in ``torch``, and the configuration of 4 bits or None."""

    device: str
    dtype: str
    quantised: Any = None

    @classmethod
    def of(cls, config: LoraConfig) -> Hardware:
        """What a configuration uses here; raises ``InvalidSetting`` where 4 bits need a GPU or bitsandbytes."""
        from similarity.encoders.precision import default_device, number_format

        device = default_device()
        dtype = number_format(device, config.precision)
        return cls(device, dtype, _four_bit(device, dtype) if config.four_bit else None)


def _four_bit(device: str, dtype: str) -> Any:
    missing = [] if device == "cuda" else ["there is no CUDA GPU here"]
    missing += [] if find_spec("bitsandbytes") else ["bitsandbytes is not installed (pip install bitsandbytes)"]
    if missing:
        raise InvalidSetting(f"four_bit is not possible: {', and '.join(missing)}; leave --four-bit out")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@dataclass(frozen=True)
class PromptSetup:
    """Taxonomy, strategy and prompt, in training as in use; without a prompt, one is selected for each text."""

    taxonomy: Taxonomy
    form: Form
    prompt: Prompt | None = None

    def prompt_of(self, example: Example) -> Prompt:
        """The prompt of an example."""
        return self.prompt or prompt_for(example.text, self.taxonomy)

    def prompts(self, examples: Sequence[Example]) -> list[str]:
        """Names and digests of the prompts of all examples."""
        return sorted({self.prompt_of(example).versioned_name for example in examples})


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

    The folder ``out`` is created, and an earlier training in it is overwritten.

    Returns:
        The manifest. Its ``validation`` has all metrics ``before`` and ``after`` the training, over at most
        ``config.judged`` validation texts with complete labels.

    Raises:
        InvalidSetting: the base model cannot be loaded, or the machine lacks the hardware.
        InvalidDataset: a split is empty, the splits overlap, or no training example remains.
    """
    from llm.backends import causal_lm as causal
    from training.lora.train import fit, save, tokenised, with_adapter

    check_splits(training, validation)
    config, hardware = plan.config, Hardware.of(plan.config)
    base = causal.load(config.base, hardware.device, hardware.dtype, quantised=hardware.quantised)
    datasets = [
        tokenised(base, plan.setup, examples, min(config.max_tokens, base.context), plan.incomplete)
        for examples in (training, validation)
    ]
    evaluated = sample([one for one in validation if one.complete], config.judged)
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    for name in (CONFIG, WEIGHTS):  # of an earlier training
        (out / name).unlink(missing_ok=True)
    start = time.perf_counter()
    before = metrics(base, plan.setup, evaluated)
    tuned = with_adapter(base, config, hardware, plan.seed)
    with tempfile.TemporaryDirectory(dir=out, prefix="unfinished-") as scratch:
        first, second = (dataset.examples for dataset in datasets)
        result = fit(tuned, first, second, config, hardware, Path(scratch), plan.seed, track)
    seconds = round(time.perf_counter() - start, 1)
    save(tuned, config.base, out)
    manifest = _manifest(plan, hardware, (training, validation), datasets) | {
        "notes": result,
        "validation": {"texts": len(evaluated), "before": before, "after": metrics(base, plan.setup, evaluated)},
        "seconds": seconds,
    }
    write_manifest(out, manifest)
    return manifest


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
