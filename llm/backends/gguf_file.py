"""GGUF files: what a header says, why a file is no model that can classify, and how an adapter's file is written.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"GGUF"
_STRING, _ARRAY, _FLOAT32 = 8, 9, 6
_ALIGNMENT = 32  # bytes, of every tensor's first one
_FORMATS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_LONGEST = 2**24  # bytes of a string; a chat template has some thousands
# Architectures without a decoder, by their names in llama.cpp.
_ENCODERS = {
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "eurobert",
    "gemma-embedding", "t5encoder",
}  # fmt: skip
# Beginnings of files that are taken for a model by mistake.
_OTHERS: Mapping[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS; run git lfs pull to get the model",
    b"<": "a web page; download the file itself",
    b"PK": "a zip archive or PyTorch's weights; llama.cpp needs GGUF",
    b"GGML": "of llama.cpp's former format; download the model as GGUF",
    b"ggml": "of llama.cpp's former format; download the model as GGUF",
}

Value = str | int | float | bool | None


class _Truncated(Exception):
    """The file ends within its header."""


def why_not_a_model(path: Path) -> str:
    """Why llama.cpp cannot generate text with a file, in one sentence; empty if nothing speaks against it.

    Reads the header only, in milliseconds. A file that ends within its weights is left to llama.cpp.
    """
    if path.is_dir():
        return f"{path} is a folder; give a GGUF file{_did_you_mean(path / 'x.gguf', any_name=True)}"
    try:
        with path.open("rb") as file:
            return _why_not(path, file)
    except FileNotFoundError:
        return f"there is no file {path}{_did_you_mean(path)}"
    except _Truncated:
        return f"{path} is truncated: it ends after {path.stat().st_size:,} bytes; download it again"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def header(path: Path) -> dict[str, Value]:
    """The values of a model's header up to its tokenizer; None for arrays. ``why_not_a_model`` checks the file first.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        return _values(file)


def write(
    path: Path, values: Mapping[str, str | float], tensors: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]
) -> None:
    """Write a GGUF file of version 3.

    Args:
        path: the file; overwritten.
        values: of the header: texts, and numbers as float32.
        tensors: of float32, by their names.

    Raises:
        OSError: the file cannot be written.
    """
    entries = [_as_string(name) + _as_value(value) for name, value in values.items()]
    end = 0
    for name, tensor in tensors.items():
        sizes = tensor.shape[::-1]  # the fastest dimension first
        entries.append(_as_string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, 0, end))  # 0: float32
        end += _aligned(tensor.nbytes)
    head = MAGIC + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(entries)
    with path.open("wb") as file:
        file.write(head.ljust(_aligned(len(head)), b"\0"))
        for tensor in tensors.values():
            data = tensor.astype("<f4").tobytes()
            file.write(data.ljust(_aligned(len(data)), b"\0"))


def _as_value(value: str | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _as_string(value)
    return struct.pack("<If", _FLOAT32, value)


def _as_string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def _why_not(path: Path, file: BinaryIO) -> str:
    start = file.read(32)
    if not start:
        return f"{path} is empty"
    if not start.startswith(MAGIC):
        what = next((words for begin, words in _OTHERS.items() if start.startswith(begin)), "")
        return f"{path} is no GGUF file" + (f" but {what}" if what else f": it begins with {start[:4]!r}")
    file.seek(len(MAGIC))
    values = _values(file)
    architecture = str(values.get("general.architecture", ""))
    kind = values.get("general.type", "model")
    if architecture == "clip" or kind == "mmproj":
        return f"{path} is the vision part of a model; give the file of the language model"
    if kind != "model":
        return f"{path} is of type {kind}, no whole model; give the model's file (--adapter takes an adapter's folder)"
    if architecture in _ENCODERS or values.get(f"{architecture}.pooling_type"):
        return f"{path} is an embedding model ({architecture}) and generates no text; give an instruction-tuned model"
    if values.get("split.no"):
        return f"{path} is a later part of a split model; give the first part, …-00001-of-…"
    return ""


def _values(file: BinaryIO) -> dict[str, Value]:
    """The header's values up to the tokenizer, which has most of the bytes; arrays are skipped.

    Raises:
        _Truncated: the file ends before.
    """
    version, _, count = _unpack(file, "<IQQ")
    values: dict[str, Value] = {}
    for _ in range(int(count) if version in (2, 3) else 0):  # llama.cpp rejects other versions, with a reason
        name = _string(file)
        if name.startswith("tokenizer."):
            break
        values[name] = _value(file, int(_unpack(file, "<I")[0]))
    return values


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        (number,) = _unpack(file, f"<{_format(kind)}")
        return number
    inner, count = _unpack(file, "<IQ")
    if inner in _FORMATS:
        file.seek(struct.calcsize(f"<{_FORMATS[int(inner)]}") * int(count), 1)
        return None
    for _ in range(int(count)):
        _value(file, int(inner))
    return None


def _format(kind: int) -> str:
    if kind not in _FORMATS:
        raise OSError(None, f"its header has a value of the unknown type {kind}")
    return _FORMATS[kind]


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > _LONGEST:
        raise OSError(None, f"its header has a string of {length:,} bytes")
    return _exactly(file, int(length)).decode(errors="replace")


def _unpack(file: BinaryIO, form: str) -> tuple[int | float | bool, ...]:
    return struct.unpack(form, _exactly(file, struct.calcsize(form)))


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise _Truncated
    return data


def _did_you_mean(path: Path, any_name: bool = False) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix == ".gguf")
    except OSError:
        return ""
    close = names[:1] if any_name else get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""
