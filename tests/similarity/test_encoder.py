"""The encoder: unit vectors of the real MiniLM, from files that the requirements installed."""

import threading

import numpy as np
import pytest

from similarity.encoder import MiniLM


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


def test_vectors_have_length_one_and_the_shape_promised(encoder: MiniLM) -> None:
    vectors = encoder.encode(["one", "two words", ""])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_no_texts_give_no_vectors(encoder: MiniLM) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_meaning_is_nearer_than_wording(encoder: MiniLM) -> None:
    asked, same, other = encoder.encode(
        ["A detective hunts a murderer.", "A police officer looks for a killer.", "A detective novel costs ten euros."]
    )
    assert asked @ same > asked @ other


def test_threads_may_share_it(encoder: MiniLM) -> None:
    texts = [f"text number {number}" for number in range(12)]
    expected = encoder.encode(texts)
    found: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: encoder.encode([texts[n]])[0]})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.stack([found[n] for n in range(12)]) == pytest.approx(expected, abs=0.01)
