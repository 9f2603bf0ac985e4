"""Writes a Qwen2 of a GGUF file as a folder for ``from_pretrained``: bfloat16 weights, configuration, tokenizer.

transformers keeps the weights of a GGUF file packed and cannot save them. Here every weight has the value that
llama.cpp computes with, rounded to bfloat16.

Run by the Python of llama.cpp's environment, which has ``gguf``: ``python tests/engines/gguf_safetensors.py
FILE.gguf FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf  # type: ignore[import-not-found]  # lives in var/llama only
import numpy as np

_OUTSIDE_BLOCKS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    **{f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"},
    **{f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_CONTROL = (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)


def write(file: Path, folder: Path) -> None:
    """Write the model to an existing folder."""
    reader = gguf.GGUFReader(file)
    values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    if values["general.architecture"] != "qwen2":
        raise SystemExit(f"{file.name} is a {values['general.architecture']}; only qwen2 can be converted")
    names = {tensor.name for tensor in reader.tensors}
    _write_json(folder / "config.json", _config(values, tied="output.weight" not in names))
    _write_tokenizer(folder, values)
    _write_weights(folder / "model.safetensors", reader.tensors)


def _config(values: Mapping[str, Any], tied: bool) -> Mapping[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "hidden_size": values["qwen2.embedding_length"],
        "intermediate_size": values["qwen2.feed_forward_length"],
        "num_hidden_layers": values["qwen2.block_count"],
        "num_attention_heads": values["qwen2.attention.head_count"],
        "num_key_value_heads": values["qwen2.attention.head_count_kv"],
        "rms_norm_eps": values["qwen2.attention.layer_norm_rms_epsilon"],
        "rope_theta": values["qwen2.rope.freq_base"],
        "max_position_embeddings": values["qwen2.context_length"],
        "vocab_size": len(values["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
        "pad_token_id": values["tokenizer.ggml.padding_token_id"],
    }


def _write_tokenizer(folder: Path, values: Mapping[str, Any]) -> None:
    """The files of a ``Qwen2Tokenizer``: words of the vocabulary, merges, control tokens and chat template."""
    tokens, types = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    numbered = list(zip(range(len(tokens)), tokens, types, strict=True))
    words = {token: number for number, token, kind in numbered if kind == gguf.TokenType.NORMAL}
    _write_json(folder / "vocab.json", words)
    merges = "".join(f"{merge}\n" for merge in values["tokenizer.ggml.merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    tokenizer = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": tokens[values["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[values["tokenizer.ggml.padding_token_id"]],
        "added_tokens_decoder": {
            str(number): {
                "content": token,
                "special": kind == gguf.TokenType.CONTROL,
                **dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False),
            }
            for number, token, kind in numbered
            if kind in _CONTROL
        },
        "chat_template": values["tokenizer.chat_template"],
        "model_max_length": values["qwen2.context_length"],
    }
    _write_json(folder / "tokenizer_config.json", tokenizer)


def _write_weights(out: Path, tensors: list[Any]) -> None:
    """Write a safetensors file: length of the header, header, and the tensors one after another."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        shape = [int(size) for size in reversed(tensor.shape)]  # GGUF has the fastest dimension first
        start, end = end, end + 2 * int(tensor.n_elements)
        header[_name(tensor.name)] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with out.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for tensor in tensors:  # one at a time: the whole in float32 takes twice the memory of the file
            file.write(_bfloat16(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).tobytes())


def _name(name: str) -> str:
    """The name of a tensor in transformers."""
    if name in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[name]
    _, block, part, kind = name.split(".")
    return f"model.layers.{block}.{_IN_BLOCK[part]}.{kind}"


def _bfloat16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The upper halves of the float32 numbers, rounded to the nearest, ties to even; numpy has no bfloat16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
