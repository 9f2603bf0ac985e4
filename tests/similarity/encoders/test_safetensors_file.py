"""Tensors are read as views of a safetensors file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from similarity.encoders.openvino_bert import mapped
from similarity.encoders.tokens import weights_folder
from similarity.errors import InvalidEncoder


def test_tensors_are_those_that_the_library_reads() -> None:
    path = Path(weights_folder()) / "model.safetensors"
    found, expected = mapped(path), load_file(path)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], one) and found[name].dtype == one.dtype for name, one in expected.items())


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int8", "uint8"])
def test_types_shapes_and_metadata(dtype: str, tmp_path: Path) -> None:
    given = {
        "matrix": np.arange(6).reshape(2, 3).astype(dtype),
        "number": np.array(7, dtype),
        "none": np.zeros(0, dtype),
    }
    save_file(given, tmp_path / "a.safetensors", metadata={"name": "a"})
    found = mapped(tmp_path / "a.safetensors")
    assert {name: (one.tolist(), one.dtype) for name, one in found.items()} == {
        name: (one.tolist(), one.dtype) for name, one in given.items()
    }


def test_the_file_is_not_changed_through_its_tensors(tmp_path: Path) -> None:
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="read-only"):
        mapped(tmp_path / "a.safetensors")["a"][0] = 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02\0\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0[]", b"\xff\xff\xff\xff\xff\xff\xff\xff{}"],
    ids=["empty", "no header", "a list", "a length beyond the end"],
)
def test_a_file_of_another_kind_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InvalidEncoder, match=r"a\.safetensors is no readable safetensors file: .*; install the model"):
        mapped(tmp_path / "a.safetensors")


def test_a_file_that_is_cut_short_or_has_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(100, np.float32)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InvalidEncoder, match="ends 4 bytes early"):
        mapped(path)
    path.write_bytes(whole.replace(b'"F32"', b'"BF1"'))
    with pytest.raises(InvalidEncoder, match="BF1"):
        mapped(path)
