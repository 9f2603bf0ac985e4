"""LoRA adapters on disk: their base model, and whether a model is that base.

PEFT loads an adapter on another base of the same shapes without an error, with worse results. ``check_base`` detects
this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompts.errors import InvalidSetting
from prompts.files import digest_of, read_json

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_SLICES, _SLICE_BYTES = 64, 4_096
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what its --max-lora-rank takes


@dataclass(frozen=True)
class Adapter:
    """An adapter as ``peft`` writes it."""

    folder: Path  # its folder
    base: str  # folder or name of its base model, as in the training
    rank: int  # the highest rank of its matrices
    digest: str  # 8 hex digits of its weights and of how they are added, such as ``lora_alpha``
    config: Mapping[str, Any]  # its ``adapter_config.json``
    manifest: Mapping[str, Any]  # the manifest of its training; empty if it was not trained by this program

    def name_on(self, base: str) -> str:
        """Name of the model that this adapter makes of a base."""
        return f"{base}+{self.folder.resolve().name}@{self.digest}"

    @property
    def purpose(self) -> str:
        """Taxonomy, strategy and prompts of the training, in words; empty without a manifest."""
        if not (taxonomy := self.manifest.get("taxonomy")):
            return ""
        prompts = ", ".join(self.manifest.get("prompts", ()))
        under = f", under {prompts}" if prompts else ""
        return f"{taxonomy['name']}@{taxonomy['digest']}, read as {self.manifest.get('strategy')}{under}"


def load_adapter(folder: Path) -> Adapter:
    """The adapter in a folder, without its weights.

    Raises:
        InvalidSetting: the folder has no LoRA adapter.
    """
    if not (folder / CONFIG).is_file():
        raise InvalidSetting(f"{folder} holds no LoRA adapter (no {CONFIG}); make one with `main.py train lora`")
    if not (folder / WEIGHTS).is_file():  # adapter_model.bin is a pickle, which can run any code
        raise InvalidSetting(f"{folder} holds an adapter without weights (no {WEIGHTS}); train it again")
    config = read_json(folder / CONFIG, InvalidSetting)
    try:
        ranks = [int(config["r"]), *(config.get("rank_pattern") or {}).values()]
        base = str(config["base_model_name_or_path"])
    except (KeyError, TypeError, ValueError):
        raise InvalidSetting(f"{folder / CONFIG} is not that of a LoRA adapter; train it again") from None
    if config.get("peft_type") != "LORA":
        raise InvalidSetting(f"{folder} holds an adapter of another kind ({config.get('peft_type')}); LoRA is served")
    manifest = read_json(folder / MANIFEST, InvalidSetting) if (folder / MANIFEST).is_file() else {}
    return Adapter(folder, base, max(ranks), _digest(folder, config), config, manifest)


def _digest(folder: Path, config: Mapping[str, Any]) -> str:
    """Two adapters of the same weights may have another scale; the base's folder may move."""
    computed = {name: value for name, value in config.items() if name != "base_model_name_or_path"}
    return digest_of(json.dumps([digest_of(folder / WEIGHTS), computed], sort_keys=True), 8)


def check_base(adapter: Adapter, model: str) -> None:
    """Compare a model, a folder or a name on the hub, with the base of an adapter: by their weights if known, or names.

    Raises:
        InvalidSetting: it is another model.
    """
    known, weights = (adapter.manifest.get("base") or {}).get("weights"), weights_digest(model)
    if known and weights:
        if known != weights:
            raise InvalidSetting(
                f"the adapter in {adapter.folder} was trained on {adapter.base} (weights {known}), and {model} is "
                f"another model (weights {weights}); serve it on its own base, or train one for this model"
            )
        return
    if not _same_name(adapter.base, model):
        raise InvalidSetting(
            f"the adapter in {adapter.folder} was trained on {adapter.base}, not on {model}; serve it on its own base"
        )


def weights_digest(model: str) -> str | None:
    """12 hex digits of a model's weights; None if they are not on this machine.

    It covers the size and slices of every weight file, since seven billion weights take long to read.
    """
    folder = model_folder(model)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(_slices(file))
    return digest.hexdigest()[:12]


def model_folder(model: str) -> Path | None:
    """The folder of a model, or its folder in the hub's cache; None if it is not on this machine."""
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    from huggingface_hub import snapshot_download

    with suppress(Exception):  # unknown name, not downloaded yet: loading the model reports which
        return Path(snapshot_download(model, local_files_only=True))
    return None


def vllm_arguments(adapter: Adapter, name: str) -> tuple[str, ...]:
    """Arguments of a vLLM server that serves an adapter with its base; ``name`` is the model name in requests.

    Raises:
        InvalidSetting: an adapter of a form that vLLM does not serve.
    """
    if reasons := _unsupported_by_vllm(adapter):
        raise InvalidSetting(f"vLLM does not serve the adapter in {adapter.folder}: {reasons}; use serve --local")
    module = json.dumps({"name": name, "path": str(adapter.folder.resolve())})
    rank = next(rank for rank in _VLLM_RANKS if rank >= adapter.rank)
    return ("--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", module)


def _unsupported_by_vllm(adapter: Adapter) -> str:
    config = adapter.config
    reasons = {
        "it is a DoRA": config.get("use_dora"),
        "it replaces whole layers (modules_to_save)": config.get("modules_to_save"),
        "it trains biases": config.get("bias", "none") != "none",
        f"its rank is {adapter.rank}": adapter.rank > _VLLM_RANKS[-1],
    }
    return " and ".join(words for words, applies in reasons.items() if applies)


def _same_name(one: str, other: str) -> bool:
    """Whether two folders or hub names may be one model; folders are often named by the last part of a hub name."""
    return one == other or Path(one).expanduser().resolve().name == Path(other).expanduser().resolve().name


def _slices(file: Path) -> bytes:
    size = file.stat().st_size
    digest = hashlib.sha256(f"{file.name} {size}".encode())
    with file.open("rb") as opened:
        for place in range(_SLICES):
            opened.seek(place * max(0, size - _SLICE_BYTES) // (_SLICES - 1))
            digest.update(opened.read(_SLICE_BYTES))
    return digest.digest()
