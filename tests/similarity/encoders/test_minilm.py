"""The encoder: unit vectors of the real MiniLM, from files that the requirements installed."""

import os
import subprocess
import sys
import threading
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from similarity.encoders.minilm import MiniLM, SentenceEncoder, Torch, encoder_of
from similarity.encoders.openvino_bert import APIECE, BATCH, batched
from similarity.encoders.tokens import cut, encoded, tokenizer, weights_folder
from similarity.errors import InvalidEncoder


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


@pytest.mark.parametrize("cores", ["1", "2", "3"])
def test_any_number_of_cores_makes_the_same_vectors(
    cores: str, encoder: MiniLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'word ' * (number * 7 % 40)}number {number}" for number in range(80)]
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    assert (MiniLM().encode(texts) * encoder.encode(texts)).sum(axis=1).min() > 0.999


def test_openvino_and_torch_make_the_same_vectors() -> None:
    texts = ["A short text.", "", "word " * 700, "Zwei Flüchtlinge überqueren die Grenze — 雪."]
    ours, theirs = MiniLM().encode(texts), SentenceEncoder(weights_folder()).encode(texts)
    assert (ours * theirs).sum(axis=1).min() > 0.999


def test_eight_bits_make_nearly_the_same_vectors() -> None:
    texts = ["A short text.", "", "word " * 700, "Zwei Flüchtlinge überqueren die Grenze — 雪."]
    whole, eight = MiniLM().encode(texts), MiniLM(eight_bits=True).encode(texts)
    assert (whole * eight).sum(axis=1).min() > 0.99


def test_a_model_tuned_further_is_computed_with_its_changes() -> None:
    change = np.linspace(-0.5, 0.5, 384, dtype=np.float32)
    name = "encoder.layer.5.output.dense.bias"
    plain, ours = MiniLM().encode(["a plot"]), MiniLM({name: change}).encode(["a plot"])
    theirs = encoded(Torch(weights_folder(), {name: change}), ["a plot"], 384)
    assert (plain * ours).sum() < 0.999 < (ours * theirs).sum()


def test_a_vector_does_not_hang_on_the_company_of_its_text(encoder: MiniLM) -> None:
    texts = [f"{'word ' * length}number {length}" for length in range(1, 60)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert (together * alone).sum(axis=1).min() > 0.999


def test_the_first_vector_loads_no_torch_and_asks_no_stranger() -> None:
    code = """
import sys
sys.addaudithook(lambda event, told: event.startswith("socket.") and sys.exit(f"{event} {told}"))
from similarity.encoders.minilm import MiniLM
assert MiniLM().encode(["a plot"]).shape == (1, 384)
assert not {"torch", "transformers"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"CI": ""})
    assert done.returncode == 0, done.stderr


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidEncoder, match="no encoder can be loaded"):
        encoder_of(str(tmp_path)).encode(["a plot"])


def test_any_model_of_sentence_transformers_can_be_named() -> None:
    found = encoder_of(weights_folder())
    assert (found.name, found.dimension) == (weights_folder(), 384)
    assert isinstance(encoder_of(), MiniLM)


# --- word pieces ---


def test_a_text_is_cut_once_and_stays_the_text_that_it_is(encoder: MiniLM, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["A sheriff rides into town.", "", "Zwölf Roboter"]
    read = cut(texts)
    assert read == texts
    assert [tokenizer().decode(one.pieces) for one in read] == ["a sheriff rides into town.", "", "zwolf roboter"]
    before = encoder.encode(texts)
    monkeypatch.setattr("similarity.encoders.tokens.tokenizer", lambda: pytest.fail("cut again"))
    assert encoder.encode(read) == pytest.approx(before)


# --- batches of the OpenVINO graph ---


def cost(lengths: list[int], batches: list[list[int]]) -> int:
    return sum(max(lengths[row] for row in batch) * len(batch) + APIECE for batch in batches)


@given(st.lists(st.integers(2, 256), max_size=60), st.integers(160, 512))
def test_batches_hold_every_text_once_and_are_not_too_large(lengths: list[int], most: int) -> None:
    batches = batched(lengths, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= most
        assert len(batch) <= BATCH


@given(st.lists(st.integers(2, 256), min_size=1, max_size=9), st.integers(160, 512))
def test_no_other_batches_of_neighbours_in_length_cost_less(lengths: list[int], most: int) -> None:
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    costs = []
    for places in product([False, True], repeat=len(rows) - 1):  # whether a batch ends after each row
        ends = [0, *(at + 1 for at, there in enumerate(places) if there), len(rows)]
        batches = [rows[start:end] for start, end in pairwise(ends)]
        small = (len(one) == 1 or (len(one) <= BATCH and len(one) * lengths[one[0]] <= most) for one in batches)
        if all(small):
            costs.append(cost(lengths, batches))
    assert cost(lengths, batched(lengths, most)) == min(costs)


def test_texts_of_one_length_fill_their_batches() -> None:
    assert [len(batch) for batch in batched([20] * 20, 512)] == [8, 8, 4]
    assert [len(batch) for batch in batched([256] * 4, 512)] == [2, 2]
