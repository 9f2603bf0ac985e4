"""Adapters as files of llama.cpp: the matrices keep their values, and what it cannot compute is refused by name.

``tests/engines/test_gguf_adapter.py`` has the same with a real llama.cpp.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from llm.backends.gguf_adapter import gguf_adapter
from llm.backends.gguf_file import header
from llm.backends.lora_adapter import CONFIG, WEIGHTS, load_adapter
from prompts.errors import InvalidSetting
from tests.support.gguf_header import write_gguf

Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]
RANK, HIDDEN, MLP, HEADS, KEY_HEADS, LAYERS = 3, 16, 24, 4, 2, 2
HEAD = HIDDEN // HEADS
SIZES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEY_HEADS * HEAD, HIDDEN),
    "mlp.down_proj": (HIDDEN, MLP),
}
OURS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "mlp.down_proj": "ffn_down"}


def model(folder: Path, architecture: str = "qwen2", **values: str | int) -> Path:
    """The header of a model with the sizes above; ``values`` replace them."""
    shape: dict[str, str | int] = {
        "block_count": LAYERS,
        "embedding_length": HIDDEN,
        "feed_forward_length": MLP,
        "attention__head_count": HEADS,
        "attention__head_count_kv": KEY_HEADS,
        **values,
    }
    named = {f"{architecture}__{name}": value for name, value in shape.items()}
    return write_gguf(folder / "model.gguf", general__architecture=architecture, **named)


def matrix_name(layer: int, part: str, half: str) -> str:
    return f"base_model.model.model.layers.{layer}.{part}.lora_{half}.weight"


def matrices(sizes: Mapping[str, tuple[int, int]] = SIZES, layers: int = LAYERS) -> Tensors:
    random = np.random.default_rng(0)
    made = {}
    for layer in range(layers):
        for part, (rows, columns) in sizes.items():
            made[matrix_name(layer, part, "A")] = random.normal(size=(RANK, columns)).astype(np.float32)
            made[matrix_name(layer, part, "B")] = random.normal(size=(rows, RANK)).astype(np.float32)
    return made


def adapter(folder: Path, tensors: Tensors | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "base_model_name_or_path": "org/base", **config}
    (folder / CONFIG).write_text(json.dumps(settings))
    save_file(tensors or matrices(), folder / WEIGHTS)
    return folder


def convert(folder: Path, file: Path, out: Path) -> Path:
    return gguf_adapter(load_adapter(folder), file, out)


def refusal(folder: Path, file: Path) -> str:
    with pytest.raises(InvalidSetting) as raised:
        convert(folder, file, folder / "out")
    assert not (folder / "out").exists()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def tensors_of(file: Path) -> Tensors:
    """The float32 tensors of a GGUF file, read by its specification."""
    data = file.read_bytes()
    place = 24

    def take(form: str) -> Any:
        nonlocal place
        place += struct.calcsize(form)
        return struct.unpack_from(form, data, place - struct.calcsize(form))

    def text() -> str:
        (length,) = take("<Q")
        return bytes(take(f"<{length}s")[0]).decode()

    tensors, values = struct.unpack_from("<QQ", data, 8)
    for _ in range(values):
        text()
        (kind,) = take("<I")
        text() if kind == 8 else take("<f")
    infos = []
    for _ in range(tensors):
        name = text()
        (dimensions,) = take("<I")
        infos.append((name, take(f"<{dimensions}Q")[::-1], *take("<IQ")))
    assert {kind for _, _, kind, _ in infos} == {0}, "float32"
    assert all(offset % 32 == 0 for *_, offset in infos)
    start = -(-place // 32) * 32
    return {
        name: np.frombuffer(data, "<f4", math.prod(shape), start + offset).reshape(shape)
        for name, shape, _, offset in infos
    }


def test_the_matrices_keep_their_values_and_shapes(tmp_path: Path) -> None:
    out = convert(adapter(tmp_path / "films"), model(tmp_path), tmp_path / "out")
    assert header(out) == {
        "general.architecture": "qwen2",
        "general.type": "adapter",
        "general.name": "films",
        "adapter.type": "lora",
        "adapter.lora.alpha": 6.0,
    }
    found = tensors_of(out)
    assert len(found) == len(matrices())
    for layer in range(LAYERS):
        for part, ours in OURS.items():
            for half in "AB":
                expected = matrices()[matrix_name(layer, part, half)]
                np.testing.assert_array_equal(found[f"blk.{layer}.{ours}.weight.lora_{half.lower()}"], expected)


def test_half_precision_becomes_the_same_numbers(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    for dtype in (torch.bfloat16, torch.float16):
        folder = adapter(tmp_path / str(dtype))
        rounded = {name: torch.from_numpy(tensor).to(dtype) for name, tensor in matrices().items()}
        save_torch(rounded, folder / WEIGHTS)
        found = tensors_of(convert(folder, model(tmp_path), tmp_path / "out"))
        expected = rounded[matrix_name(1, "mlp.down_proj", "B")].float().numpy()
        np.testing.assert_array_equal(found["blk.1.ffn_down.weight.lora_b"], expected)


def test_rows_of_q_and_k_are_paired_as_llama_cpp_pairs_them_in_a_llama(tmp_path: Path) -> None:
    found = tensors_of(convert(adapter(tmp_path / "films"), model(tmp_path, "llama"), tmp_path / "out"))
    for part, heads in (("self_attn.q_proj", HEADS), ("self_attn.k_proj", KEY_HEADS)):
        theirs, ours = matrices()[matrix_name(0, part, "B")], found[f"blk.0.{OURS[part]}.weight.lora_b"]
        for head in range(heads):
            for pair in range(HEAD // 2):
                first, second = head * HEAD + pair, head * HEAD + HEAD // 2 + pair
                np.testing.assert_array_equal(ours[head * HEAD + 2 * pair], theirs[first])
                np.testing.assert_array_equal(ours[head * HEAD + 2 * pair + 1], theirs[second])
        np.testing.assert_array_equal(found[f"blk.0.{OURS[part]}.weight.lora_a"], matrices()[matrix_name(0, part, "A")])
    down = matrices()[matrix_name(0, "mlp.down_proj", "B")]
    np.testing.assert_array_equal(found["blk.0.ffn_down.weight.lora_b"], down)


def test_the_scale_of_rslora_is_that_of_peft(tmp_path: Path) -> None:
    alpha = header(convert(adapter(tmp_path / "films", use_rslora=True), model(tmp_path), tmp_path / "out"))[
        "adapter.lora.alpha"
    ]
    assert isinstance(alpha, float)
    assert alpha / RANK == pytest.approx(6 / math.sqrt(RANK))


def test_a_file_is_made_once_for_each_content(tmp_path: Path) -> None:
    folder, out = adapter(tmp_path / "films"), tmp_path / "out"
    first = convert(folder, model(tmp_path), out)
    made = first.stat().st_mtime_ns
    assert convert(folder, model(tmp_path), out) == first
    assert first.stat().st_mtime_ns == made
    names = {
        first,
        convert(folder, model(tmp_path, "llama"), out),
        convert(adapter(folder, lora_alpha=7), model(tmp_path), out),
        convert(adapter(folder, {name: 2 * tensor for name, tensor in matrices().items()}), model(tmp_path), out),
    }
    assert len(names) == 4
    assert set(out.iterdir()) == names, "no temporary files"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "it is a DoRA"),
        ({"modules_to_save": ["lm_head"]}, "it replaces whole layers"),
        ({"bias": "all"}, "it trains biases"),
        ({"lora_bias": True}, "it trains biases"),
        ({"rank_pattern": {"q_proj": 3}}, "its layers differ in rank or alpha"),
        ({"alpha_pattern": {"q_proj": 3}}, "its layers differ in rank or alpha"),
        ({"trainable_token_indices": [1]}, "it trains single tokens"),
        ({"layer_replication": [[0, 2]]}, "it repeats layers"),
        ({"lora_alpha": None}, "its lora_alpha is None, not a number above 0"),
        ({"lora_alpha": 0}, "its lora_alpha is 0, not a number above 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_form_is_refused_with_what_to_do(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    found = refusal(adapter(tmp_path / "films", **config), model(tmp_path))
    assert found.startswith(f"llama.cpp does not serve the adapter in {tmp_path / 'films'}: {said}")
    assert "use serve --local, or merge it into its base" in found


@pytest.mark.parametrize(
    "part",
    [
        "model.embed_tokens.lora_embedding_A",
        "lm_head.lora_A.weight",
        "model.layers.0.mlp.experts.3.up_proj.lora_A.weight",
    ],
    ids=["embedding", "output", "expert"],
)
def test_a_matrix_of_another_part_is_named(tmp_path: Path, part: str) -> None:
    tensors = matrices() | {f"base_model.model.{part}": np.zeros((RANK, HIDDEN), np.float32)}
    assert f"base_model.model.{part} changes another part" in refusal(
        adapter(tmp_path / "films", tensors), model(tmp_path)
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"block_count": 3}, "a model with 2 layers, and {file} has 3"),
        ({"block_count": 1}, "a model with 2 layers, and {file} has 1"),
        ({"embedding_length": 32}, "a model with hidden size 16, and {file} has 32"),
        ({"feed_forward_length": 20}, "a model with 16 x 24 weights in ffn_down of layer 0, and {file} has 16 x 20"),
        ({"attention__head_count_kv": 4}, "a model with 8 x 16 weights in attn_k of layer 0, and {file} has 16 x 16"),
    ],
    ids=["more layers", "fewer layers", "hidden size", "mlp", "heads"],
)
def test_a_model_of_other_sizes_is_refused_with_both(tmp_path: Path, values: dict[str, int], said: str) -> None:
    file = model(tmp_path, "qwen2", **values)
    found = refusal(adapter(tmp_path / "films"), file)
    assert f"was trained on org/base, {said.format(file=file)}; serve it on the GGUF file of its own base" in found


def test_an_adapter_for_some_layers_is_no_adapter_of_a_smaller_model(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "films", matrices(layers=1), layers_to_transform=[0])
    assert convert(folder, model(tmp_path), tmp_path / "out").is_file()


def test_a_base_of_another_architecture_is_refused_with_both(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    folder = adapter(tmp_path / "films", base_model_name_or_path=str(base))
    for kind, architecture in (("llama", "qwen2"), ("qwen2", "llama"), ("qwen3", "qwen2")):
        (base / "config.json").write_text(json.dumps({"model_type": kind}))
        said = f"was trained on {base}, a {kind}, and {tmp_path / 'model.gguf'} is a {architecture}"
        assert said in refusal(folder, model(tmp_path, architecture))
    (base / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    assert convert(folder, model(tmp_path, "llama"), tmp_path / "out").is_file()


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    found = refusal(adapter(tmp_path / "films"), model(tmp_path, "gemma3"))
    assert "is of the architecture gemma3, for which adapters are not converted (only for llama, qwen2, qwen3)" in found


def test_a_header_without_a_size_and_a_file_that_is_no_model_are_named(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "films")
    assert "does not state qwen2.block_count as one number" in refusal(folder, model(tmp_path, block_count=""))
    assert "there is no file" in refusal(folder, tmp_path / "missing.gguf")


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder, file = adapter(tmp_path / "films"), model(tmp_path)
    name = matrix_name(1, "mlp.down_proj", "B")
    adapter(folder, {key: tensor for key, tensor in matrices().items() if key != name})
    assert "lacks a matrix of rank 3 for ffn_down of layer 1; train the adapter again" in refusal(folder, file)
    adapter(folder, matrices() | {name: np.zeros((HIDDEN, RANK + 1), np.float32)})
    assert "lacks a matrix of rank 3 for ffn_down of layer 1" in refusal(folder, file)
    adapter(folder, matrices() | {name: np.zeros((HIDDEN, RANK), np.int8)})
    assert f"{name} in {folder / WEIGHTS} has numbers of the type I8" in refusal(folder, file)
    (folder / WEIGHTS).write_bytes(b"\0" * 40)
    assert f"{folder / WEIGHTS} is damaged" in refusal(folder, file)
