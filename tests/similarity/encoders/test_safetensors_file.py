"""A damaged file of weights is an error that says which file, and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from similarity.encoders.openvino_bert import tensors_of
from similarity.errors import InvalidEncoder


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02\0\0\0\0\0\0\0", b"\x02\0\0\0\0\0\0\0[]", b"\xff\xff\xff\xff\xff\xff\xff\xff{}"],
    ids=["empty", "no header", "a list", "a length beyond the end"],
)
def test_a_file_of_another_kind_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InvalidEncoder, match=r"a\.safetensors is no readable safetensors file: .*; install the model"):
        tensors_of(tmp_path / "a.safetensors")


def test_a_file_that_is_cut_short_or_has_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(100, np.float32)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InvalidEncoder, match=r"a\.safetensors is no readable"):
        tensors_of(path)
    path.write_bytes(whole.replace(b'"F32"', b'"BF1"'))
    with pytest.raises(InvalidEncoder, match=r"a\.safetensors is no readable"):
        tensors_of(path)
