"""Vectors of labels outlive the process; texts to label leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prompts.installation import user_cache
from similarity.encoders import minilm, stored_vectors
from similarity.encoders.minilm import MiniLM
from similarity.encoders.stored_vectors import StoredVectors, label_encoder
from similarity.encoders.tokens import cut

LABELS = ["fairy tale", "news", "law: courts and contracts"]


@pytest.fixture(scope="module")
def expected() -> Any:
    return MiniLM().encode(LABELS)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails where it is loaded."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(minilm, "Bert", refuse)


def test_a_second_process_reads_the_same_vectors_and_loads_no_model(
    expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert np.array_equal(StoredVectors(tmp_path).encode(LABELS), expected)
    monkeypatch.setattr(minilm, "Bert", None)
    assert np.array_equal(StoredVectors(tmp_path).encode(LABELS), expected)


@pytest.mark.usefixtures("no_model")
def test_other_labels_another_order_and_another_processor_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(texts: list[str]) -> bool:
        encoder = StoredVectors(tmp_path)
        np.save(tmp_path / f"{encoder._digest(LABELS)}.npy", np.ones((3, 384), np.float32))
        try:
            return bool(encoder.encode(texts).all())
        except AssertionError:
            return False

    assert written(LABELS)
    assert not written(LABELS[::-1])
    assert not written(LABELS[:2])
    for name, value in (("number_format", lambda: "other"), ("cores", lambda: 77), ("cpu_instructions", frozenset)):
        before = StoredVectors(tmp_path)._digest(LABELS)
        with monkeypatch.context() as patched:
            patched.setattr(stored_vectors, name, value)
            assert StoredVectors(tmp_path)._digest(LABELS) != before, name


def test_texts_to_label_are_not_stored(tmp_path: Path) -> None:
    StoredVectors(tmp_path).encode(cut(["A smith forges a sword."]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no numpy", b"short"], ids=["empty", "other", "another shape"])
def test_a_damaged_file_is_replaced(content: bytes, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / f"{StoredVectors(tmp_path)._digest(LABELS)}.npy"
    path.write_bytes(content)
    if content == b"short":
        np.save(path, expected[:1])
    assert np.array_equal(StoredVectors(tmp_path).encode(LABELS), expected)
    assert np.array_equal(np.load(path), expected)


def test_a_folder_that_cannot_be_written_costs_no_answer(expected: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert np.array_equal(StoredVectors(tmp_path / "file" / "labels").encode(LABELS), expected)


def test_files_are_of_the_user_alone_and_the_least_used_are_removed(
    expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "labels"
    monkeypatch.setattr(stored_vectors, "_MAX_BYTES", 2 * expected.nbytes + 300)
    encoder = StoredVectors(folder)
    encoder.encode(LABELS)
    (first,) = folder.glob("*.npy")
    assert (first.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    encoder.encode(LABELS[::-1])
    second = next(path for path in folder.glob("*.npy") if path != first)
    for path, age in ((first, 50), (second, 100)):
        os.utime(path, (age, age))
    encoder.encode(LABELS)  # the first is used
    encoder.encode([*LABELS[:2], "sports"])
    assert first.exists()
    assert not second.exists()
    assert len(list(folder.glob("*.npy"))) == 2


def test_the_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "marquee"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() in (tmp_path / ".cache" / "marquee", tmp_path / "Library" / "Caches" / "marquee")


def test_a_user_without_a_home_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert type(label_encoder()) is MiniLM
