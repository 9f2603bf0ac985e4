"""A LoRA adapter of ``peft`` as the GGUF file that llama.cpp loads beside a model: ``llama-server --lora FILE``.

Both compute W x + s B A x. The scale s of peft is alpha / rank (with rsLoRA alpha / √rank), that of llama.cpp always
alpha / rank, with the rank of the matrices. Format: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.backends.gguf_file import header, why_not_a_model, write
from llm.backends.lora_adapter import WEIGHTS, Adapter, model_folder
from prompts.errors import InvalidSetting
from prompts.files import digest_of, read_json, replacing

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

_VERSION = 1  # of what ``_matrices`` makes; another one makes files again
_INSTEAD = "use serve --local, or merge it into its base (merge_and_unload of peft) and convert the result to GGUF"
_MATRIX = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.([\w.]+)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class Architecture:
    """An architecture of llama.cpp."""

    model_types: tuple[str, ...]  # ``model_type`` of the models of transformers that are converted to it
    interleaved: bool = False  # rotary pairs are neighbouring rows of q and k; transformers has them half a head apart


@dataclass(frozen=True)
class GGUFModel:
    """Sizes of a model as its GGUF file states them."""

    file: Path
    architecture: str
    layers: int
    hidden: int
    mlp: int
    heads: int
    key_heads: int
    key: int  # dimension of a head's queries and keys
    value: int  # dimension of a head's values

    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Rows and columns of the linear layers, by their names in GGUF."""
        return {
            "attn_q": (self.heads * self.key, self.hidden),
            "attn_k": (self.key_heads * self.key, self.hidden),
            "attn_v": (self.key_heads * self.value, self.hidden),
            "attn_output": (self.hidden, self.heads * self.value),
            "ffn_gate": (self.mlp, self.hidden),
            "ffn_up": (self.mlp, self.hidden),
            "ffn_down": (self.hidden, self.mlp),
        }


def gguf_adapter(adapter: Adapter, file: Path, folder: Path) -> Path:
    """The adapter as a GGUF file for the model in another GGUF file; made once, in ``folder``.

    The matrices keep their values, in float32. The weights of the two models are not compared: those of a GGUF file
    are rounded. Architecture, number of layers and sizes are.

    Raises:
        InvalidSetting: the file is no model, a model that the adapter was not trained on, or of an architecture that
            is not supported; or the adapter is of a form that llama.cpp does not serve.
        OSError: the file cannot be written.
    """
    model = gguf_model(file)
    if reasons := _unsupported(adapter):
        raise InvalidSetting(f"llama.cpp does not serve the adapter in {adapter.folder}: {reasons}; {_INSTEAD}")
    _check_architecture(adapter, model)
    values: dict[str, str | float] = {
        "general.architecture": model.architecture,
        "general.type": "adapter",
        "general.name": adapter.folder.resolve().name,
        "adapter.type": "lora",
        "adapter.lora.alpha": _alpha(adapter),
    }
    out = folder / f"{values['general.name']}-{_digest(adapter, model, values)}.gguf"
    if not out.is_file():
        matrices = _matrices(adapter, model)
        with replacing(out) as new:
            write(new, values, matrices)
    return out


def gguf_model(file: Path) -> GGUFModel:
    """Read the sizes of a model from the header of its GGUF file.

    Raises:
        InvalidSetting: the file is no model, or of an architecture that is not supported.
    """
    if reason := why_not_a_model(file):
        raise InvalidSetting(reason)
    values = header(file)
    architecture = str(values.get("general.architecture", ""))
    if architecture not in ARCHITECTURES:
        raise InvalidSetting(
            f"{file} is of the architecture {architecture}, for which adapters are not converted (only for "
            f"{', '.join(ARCHITECTURES)}); {_INSTEAD}"
        )
    of = _Sizes(file, values, architecture)
    hidden, heads = of("embedding_length"), of("attention.head_count")
    return GGUFModel(
        file, architecture, of("block_count"), hidden, of("feed_forward_length"), heads,
        of("attention.head_count_kv", heads), of("attention.key_length", hidden // heads),
        of("attention.value_length", hidden // heads),
    )  # fmt: skip


def base_type(adapter: Adapter) -> str:
    """The base model's ``model_type`` in transformers; empty where its folder is not on this machine."""
    folder = model_folder(adapter.base)
    if folder is None or not (folder / "config.json").is_file():
        return ""
    return str(read_json(folder / "config.json", InvalidSetting).get("model_type", ""))


@dataclass(frozen=True)
class _Sizes:
    """The whole numbers of a header."""

    file: Path
    values: Mapping[str, object]
    architecture: str

    def __call__(self, name: str, default: int | None = None) -> int:
        value = self.values.get(f"{self.architecture}.{name}", default)
        if not isinstance(value, int) or value < 1:
            raise InvalidSetting(
                f"{self.file} does not state {self.architecture}.{name} as one number, so an adapter cannot be "
                f"checked; {_INSTEAD}"
            )
        return value


def _unsupported(adapter: Adapter) -> str:
    """Why llama.cpp cannot compute an adapter; empty if nothing speaks against it."""
    config = adapter.config
    reasons = {
        "it is a DoRA": config.get("use_dora"),
        "it replaces whole layers (modules_to_save)": config.get("modules_to_save"),
        "it trains biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "its layers differ in rank or alpha (rank_pattern, alpha_pattern)": config.get("rank_pattern")
        or config.get("alpha_pattern"),
        "it trains single tokens (trainable_token_indices)": config.get("trainable_token_indices"),
        "it repeats layers (layer_replication)": config.get("layer_replication"),
        f"its lora_alpha is {config.get('lora_alpha')!r}, not a number above 0": not _is_positive(
            config.get("lora_alpha")
        ),
    }
    return " and ".join(words for words, applies in reasons.items() if applies)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def _alpha(adapter: Adapter) -> float:
    """The alpha with which llama.cpp's scale is that of peft."""
    alpha = float(adapter.config["lora_alpha"])
    return alpha * math.sqrt(adapter.rank) if adapter.config.get("use_rslora") else alpha


def _check_architecture(adapter: Adapter, model: GGUFModel) -> None:
    found = base_type(adapter)
    if found and found not in ARCHITECTURES[model.architecture].model_types:
        raise InvalidSetting(
            f"the adapter in {adapter.folder} was trained on {adapter.base}, a {found}, and {model.file} is a "
            f"{model.architecture}; serve it on its own base"
        )


def _digest(adapter: Adapter, model: GGUFModel, values: Mapping[str, str | float]) -> str:
    """12 hex digits of all that determines the file."""
    sizes = {name: value for name, value in asdict(model).items() if name != "file"}
    weights = digest_of(adapter.folder / WEIGHTS)
    layers = adapter.config.get("layers_to_transform")
    return digest_of(json.dumps([_VERSION, weights, sizes, dict(values), layers]), 12)


def _matrices(adapter: Adapter, model: GGUFModel) -> dict[str, Matrix]:
    """The matrices by their names in GGUF: ``….lora_a`` of shape (rank, columns), ``….lora_b`` of (rows, rank).

    Raises:
        InvalidSetting: a matrix of an unknown layer, without its other half, or of another size than the model's.
    """
    pairs: dict[tuple[int, str], dict[str, Matrix]] = {}
    for name, matrix in _stored(adapter):
        match = _MATRIX.fullmatch(name)
        if match is None or match[2] not in _LAYERS:
            raise InvalidSetting(
                f"llama.cpp does not serve the adapter in {adapter.folder}: {name} changes another part than the "
                f"linear layers {', '.join(_LAYERS)}; {_INSTEAD}"
            )
        pairs.setdefault((int(match[1]), _LAYERS[match[2]]), {})[match[3]] = matrix
    _check_sizes(adapter, model, pairs)
    matrices = {}
    for (number, layer), pair in sorted(pairs.items()):
        matrices[f"blk.{number}.{layer}.weight.lora_a"] = pair["A"]
        matrices[f"blk.{number}.{layer}.weight.lora_b"] = _ordered(pair["B"], layer, model)
    return matrices


def _stored(adapter: Adapter) -> Iterator[tuple[str, Matrix]]:
    """The names in peft and the matrices of an adapter's file."""
    import numpy as np
    from safetensors import SafetensorError, deserialize

    file = adapter.folder / WEIGHTS
    try:
        entries = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InvalidSetting(f"{file} is damaged ({error}); train the adapter again, or copy it again") from None
    for name, entry in entries:
        data, kind = entry["data"], entry["dtype"]
        if kind not in ("F32", "F16", "BF16"):
            raise InvalidSetting(f"{name} in {file} has numbers of the type {kind}; F32, F16 and BF16 are converted")
        if kind == "BF16":  # the upper half of a float32; numpy has no such type
            values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(data, "<f4" if kind == "F32" else "<f2").astype("<f4")
        yield name, values.reshape(entry["shape"])


def _check_sizes(adapter: Adapter, model: GGUFModel, pairs: Mapping[tuple[int, str], Mapping[str, Matrix]]) -> None:
    """Compare layers and sizes of an adapter with those of a model."""
    if not pairs:
        raise InvalidSetting(f"the adapter in {adapter.folder} has no matrices; train it again")
    layers = 1 + max(number for number, _ in pairs)
    if layers > model.layers or (layers < model.layers and adapter.config.get("layers_to_transform") is None):
        raise _another_base(adapter, model, f"{layers} layers", str(model.layers))
    for (number, layer), pair in sorted(pairs.items()):
        where = f"{layer} of layer {number}"
        if pair.keys() != {"A", "B"} or pair["A"].shape[0] != adapter.rank or pair["B"].shape[1:] != (adapter.rank,):
            raise InvalidSetting(
                f"{adapter.folder / WEIGHTS} lacks a matrix of rank {adapter.rank} for {where}; train the adapter again"
            )
        sizes, expected = (pair["B"].shape[0], *pair["A"].shape[1:]), model.sizes()[layer]
        hidden = sizes[0 if layer in ("attn_output", "ffn_down") else 1]
        if hidden != model.hidden:
            raise _another_base(adapter, model, f"hidden size {hidden}", str(model.hidden))
        if sizes != expected:
            raise _another_base(adapter, model, f"{_product(sizes)} weights in {where}", _product(expected))


def _another_base(adapter: Adapter, model: GGUFModel, found: str, expected: str) -> InvalidSetting:
    return InvalidSetting(
        f"the adapter in {adapter.folder} was trained on {adapter.base}, a model with {found}, and {model.file} has "
        f"{expected}; serve it on the GGUF file of its own base"
    )


def _product(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _ordered(matrix: Matrix, layer: str, model: GGUFModel) -> Matrix:
    """Rows of B in the order of the model's rows: of q and k, as its rotary embedding pairs them."""
    heads = {"attn_q": model.heads, "attn_k": model.key_heads}.get(layer)
    if heads is None or not ARCHITECTURES[model.architecture].interleaved:
        return matrix
    halves = matrix.reshape(heads, 2, model.key // 2, -1)  # row i of a head is paired with row i + half a head
    return halves.swapaxes(1, 2).reshape(matrix.shape)


_LAYERS: Mapping[str, str] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of linear layers in transformers and in GGUF."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(("llama", "mistral"), interleaved=True),
    "qwen2": Architecture(("qwen2",)),
    "qwen3": Architecture(("qwen3",)),
}
"""Architectures of llama.cpp for which adapters are converted."""
