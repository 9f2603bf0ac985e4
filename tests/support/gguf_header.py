"""GGUF files without tensors: a header with the values that a test needs."""

from __future__ import annotations

import struct
from pathlib import Path

MODEL: dict[str, str | int | list[str]] = {
    "general.architecture": "qwen2",
    "general.type": "model",
    "general.tags": ["chat", "code"],
    "qwen2.context_length": 32_768,
    "tokenizer.ggml.model": "gpt2",
}
"""The values of an ordinary language model."""


def write_gguf(path: Path, **values: str | int | list[str]) -> Path:
    """Write a header; values that are given replace those of ``MODEL``, with ``__`` for a dot in their names."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    merged = {name: value for name, value in {**named, **MODEL, **named}.items() if value != ""}
    entries = b"".join(_string(name) + _entry(value) for name, value in merged.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(merged)) + entries)
    return path


def _entry(value: str | int | list[str]) -> bytes:
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_string(item) for item in value)
    return struct.pack("<I", 8) + _string(value) if isinstance(value, str) else struct.pack("<II", 4, value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()
