"""Prints what the ``gguf`` library reads of an adapter's file: its values, and the tensors as nested lists.

Run by the Python of llama.cpp's environment, which has ``gguf``: ``python tests/engines/adapter_tensors.py FILE.gguf``.
"""

from __future__ import annotations

import json
import sys

import gguf  # type: ignore[import-not-found]  # lives in var/llama only


def read(file: str) -> dict[str, object]:
    """The values and tensors of a file."""
    reader = gguf.GGUFReader(file)
    values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    kinds = {str(tensor.tensor_type.name) for tensor in reader.tensors}
    tensors = {tensor.name: tensor.data.tolist() for tensor in reader.tensors}
    return {"values": values, "types": sorted(kinds), "tensors": tensors}


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
