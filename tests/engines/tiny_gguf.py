"""Writes the tiny Qwen2 of ``tests/support/tiny_qwen2.py``, or a Qwen3 or Llama of its form, as a GGUF file.

Run by the Python of llama.cpp's environment, which has ``gguf``: ``python tests/engines/tiny_gguf.py FOLDER OUT.gguf``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf  # type: ignore[import-not-found]  # lives in var/llama only
import numpy as np


def write(folder: Path, out: Path) -> Path:
    """Write a folder of ``tests.support.tiny_qwen2.build`` as one file: weights, tokenizer and chat template.

    Args:
        folder: model folder in the format of ``from_pretrained``.
        out: the file; overwritten.
    """
    config = _json(folder / "config.json")
    architecture = gguf.MODEL_ARCH[config["model_type"].upper()]
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[architecture])
    _add_shape(writer, config)
    _add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for name, tensor in _tensors(folder / "model.safetensors"):
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        heads = _paired_heads(config, name)
        writer.add_tensor(written, _neighbours(tensor, heads) if heads else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _paired_heads(config: Mapping[str, Any], name: str) -> int:
    """The number of heads in a tensor of which llama.cpp wants the rows of a rotary pair as neighbours; 0 without."""
    if config["model_type"] != "llama":
        return 0
    kinds = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    return next((int(config[key]) for kind, key in kinds.items() if kind in name), 0)


def _neighbours(rows: np.ndarray[Any, np.dtype[np.float32]], heads: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows of q or k so that those half a head apart follow each other."""
    size = len(rows) // heads
    order = [
        head * size + half * size // 2 + row for head in range(heads) for row in range(size // 2) for half in (0, 1)
    ]
    return rows[order]


def _add_shape(writer: Any, config: Mapping[str, Any]) -> None:
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    writer.add_value_length(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])


def _add_tokenizer(writer: Any, folder: Path) -> None:
    tokenizer = _json(folder / "tokenizer.json")
    control = {token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"].items(), key=lambda token: int(token[1]))
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name of byte-level BPE
    writer.add_tokenizer_pre("gpt-2")  # the regex of transformers' ByteLevel; "qwen2" splits words differently
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if number in control else gguf.TokenType.NORMAL for _, number in tokens]
    )
    # Merges, the ids of the control tokens and the chat template.
    gguf.SpecialVocab(folder, load_merges=True, n_vocab=len(tokens)).add_to_gguf(writer, quiet=True)
    writer.add_add_bos_token(False)


def _tensors(file: Path) -> Iterator[tuple[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Yield the tensors of a safetensors file, converted from bfloat16, which numpy lacks."""
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:start])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        assert entry["dtype"] == "BF16", entry
        first, last = entry["data_offsets"]
        halves = np.frombuffer(data[start + first : start + last], np.uint16)
        yield name, (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
