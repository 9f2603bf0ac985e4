"""A LoRA adapter on the disk: on which model it stands, and whether a model is that one.

An adapter on another base than its own loads without a word where the shapes are the same, and answers worse than
either; so whoever serves one asks here first.
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
from prompts.files import digest_of

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
_SLICES, _SLICE_BYTES = 64, 4_096
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what its --max-lora-rank takes


@dataclass(frozen=True)
class Adapter:
    """An adapter as ``peft`` writes it.

    Attributes:
        folder: where it is.
        base: folder or name of the model that it was trained on, as the training was given it.
        rank: the highest of its matrices.
        digest: 8 hex digits of its weights.
        config: its ``adapter_config.json``.
        made: the manifest of its training, where it was trained here.
    """

    folder: Path
    base: str
    rank: int
    digest: str
    config: Mapping[str, Any]
    made: Mapping[str, Any]

    def name_on(self, base: str) -> str:
        """Who answers where it stands on a model of that name."""
        return f"{base}+{self.folder.resolve().name}@{self.digest}"

    @property
    def purpose(self) -> str:
        """What it was trained to answer, in words; empty where nobody wrote it down."""
        if not (taxonomy := self.made.get("taxonomy")):
            return ""
        prompts = ", ".join(self.made.get("prompts", ()))
        return f"{taxonomy['name']}@{taxonomy['digest']}, read as {self.made.get('strategy')}, under {prompts}"


def load_adapter(folder: Path) -> Adapter:
    """The adapter of a folder; its weights are not loaded.

    Raises:
        InvalidSetting: the folder holds none, or one that is no LoRA adapter.
    """
    if not (folder / CONFIG).is_file():
        raise InvalidSetting(f"{folder} holds no LoRA adapter (no {CONFIG}); make one with `main.py train lora`")
    if not (folder / WEIGHTS).is_file():  # adapter_model.bin is a pickle, which runs whatever its writer put into it
        raise InvalidSetting(f"{folder} holds an adapter without weights (no {WEIGHTS}); train it again")
    config = _json(folder / CONFIG)
    try:
        ranks = [int(config["r"]), *(config.get("rank_pattern") or {}).values()]
        base = str(config["base_model_name_or_path"])
    except (KeyError, TypeError, ValueError):
        raise InvalidSetting(f"{folder / CONFIG} is not that of a LoRA adapter; train it again") from None
    if config.get("peft_type") != "LORA":
        raise InvalidSetting(f"{folder} holds an adapter of another kind ({config.get('peft_type')}); LoRA is served")
    made = _json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    return Adapter(folder, base, max(ranks), digest_of(folder / WEIGHTS, 8), config, made)


def check_base(adapter: Adapter, model: str) -> None:
    """Let an adapter stand on its own base only.

    The weights are compared where the manifest tells those of the training and the model is on this machine; else the
    names are.

    Args:
        adapter: what is to be served.
        model: folder of a model, or its name on the hub.

    Raises:
        InvalidSetting: another model.
    """
    known, weights = (adapter.made.get("base") or {}).get("weights"), weights_digest(model)
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
    """12 hex digits of a model's weights and shape; None where they are not on this machine.

    Of every file of weights the size, the beginning and slices from all over are read: another model or a further
    training changes them all, and seven billion weights need not be read to see that.
    """
    folder = model_folder(model)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if folder is None or not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        digest.update(_slices(file))
    return digest.hexdigest()[:12]


def model_folder(model: str) -> Path | None:
    """The folder of a model: itself, or where the hub's cache keeps it; None where it is not on this machine."""
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    from huggingface_hub import snapshot_download

    with suppress(Exception):  # no such name, not fetched yet: whoever loads the model tells which
        return Path(snapshot_download(model, local_files_only=True))
    return None


def vllm_arguments(adapter: Adapter, name: str) -> tuple[str, ...]:
    """How a vLLM server is told to serve an adapter beside its base.

    Args:
        adapter: what to serve.
        name: under which requests ask for it.

    Raises:
        InvalidSetting: an adapter of a form that vLLM does not serve.
    """
    if strange := _beyond_vllm(adapter):
        raise InvalidSetting(f"vLLM does not serve the adapter in {adapter.folder}: {strange}; use serve --local")
    module = json.dumps({"name": name, "path": str(adapter.folder.resolve())})
    rank = next(rank for rank in _VLLM_RANKS if rank >= adapter.rank)
    return ("--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", module)


def _beyond_vllm(adapter: Adapter) -> str:
    config = adapter.config
    strange = {
        "it is a DoRA": config.get("use_dora"),
        "it replaces whole layers (modules_to_save)": config.get("modules_to_save"),
        "it trains biases": config.get("bias", "none") != "none",
        f"its rank is {adapter.rank}": adapter.rank > _VLLM_RANKS[-1],
    }
    return " and ".join(words for words, true in strange.items() if true)


def _same_name(one: str, other: str) -> bool:
    """Whether two folders or hub names may be one model; a folder often carries the last part of the hub's name."""
    return one == other or Path(one).expanduser().resolve().name == Path(other).expanduser().resolve().name


def _slices(file: Path) -> bytes:
    size = file.stat().st_size
    digest = hashlib.sha256(f"{file.name} {size}".encode())
    with file.open("rb") as held:
        for place in range(_SLICES):
            held.seek(place * max(0, size - _SLICE_BYTES) // (_SLICES - 1))
            digest.update(held.read(_SLICE_BYTES))
    return digest.digest()


def _json(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{path} cannot be read ({error}); train it again") from None
    if not isinstance(held, dict):
        raise InvalidSetting(f"{path} is not a JSON object; train it again")
    return held
