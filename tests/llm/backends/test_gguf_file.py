"""Files that are no model to classify with are found by their header."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.backends.gguf_file import why_not_a_model
from tests.support.gguf_header import write_gguf


def test_an_ordinary_model_has_no_fault(tmp_path: Path) -> None:
    assert why_not_a_model(write_gguf(tmp_path / "m.gguf")) == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"general__architecture": "nomic-bert"}, "is an embedding model (nomic-bert) and generates no text"),
        ({"qwen2__pooling_type": 3}, "is an embedding model (qwen2)"),
        ({"general__architecture": "clip"}, "is the vision part of a model"),
        ({"general__type": "mmproj"}, "is the vision part of a model"),
        ({"general__type": "adapter"}, "is of type adapter, no whole model"),
        ({"split__no": 1}, "is a later part of a split model"),
    ],
)
def test_a_model_for_something_else_is_named(tmp_path: Path, values: dict[str, str | int], said: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", **values)
    assert why_not_a_model(path).startswith(f"{path} {said}")


@pytest.mark.parametrize("values", [{"qwen2__pooling_type": 0}, {"split__no": 0}, {"general__type": ""}])
def test_a_model_with_unusual_values_has_no_fault(tmp_path: Path, values: dict[str, str | int]) -> None:
    assert why_not_a_model(write_gguf(tmp_path / "m.gguf", **values)) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "is no GGUF file but a pointer of Git LFS"),
        (b"<!doctype html>", "is no GGUF file but a web page"),
        (b"PK\x03\x04", "is no GGUF file but a zip archive"),
        (b"\x08\x00\x00\x00", "is no GGUF file: it begins with b"),
        (b"GGUF\x03\x00", "is truncated: it ends after 6 bytes"),
        (
            b"GGUF" + b"\x03\0\0\0" + b"\0" * 8 + b"\x01" + b"\0" * 7 + b"\xff" * 8,
            "cannot be read: its header has a string",
        ),
    ],
    ids=["empty", "lfs", "html", "zip", "other", "truncated", "damaged"],
)
def test_a_file_that_is_no_gguf_is_named_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert why_not_a_model(path).startswith(f"{path} {said}")


def test_every_shorter_file_is_truncated(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    end = whole.index(b"tokenizer")  # the rest is not read
    for length in range(24, end, 7):
        (tmp_path / "part.gguf").write_bytes(whole[:length])
        assert "is truncated" in why_not_a_model(tmp_path / "part.gguf"), length


def test_a_missing_file_and_a_folder_name_a_model_beside_them(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "coder-0.5b.gguf")
    assert why_not_a_model(tmp_path / "coder-05b.gguf") == (
        f"there is no file {tmp_path / 'coder-05b.gguf'} (did you mean {path}?)"
    )
    assert why_not_a_model(tmp_path) == f"{tmp_path} is a folder; give a GGUF file (did you mean {path}?)"
    assert why_not_a_model(tmp_path / "nowhere" / "x.gguf").endswith("nowhere/x.gguf")
