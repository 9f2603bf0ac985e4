"""What single words tell of labels."""

import numpy as np
import pytest

from llm.embedded.weights import WordFeatures, counted, first_quartile, no_words
from similarity.encoders.tokens import tokenizer


def piece(word: str) -> int:
    found: int | None = tokenizer().token_to_id(word)
    assert found is not None
    return found


@pytest.fixture
def words() -> WordFeatures:
    """Two labels: one of sheriffs, one of robots; ``the`` is in every text and worth a tenth of a rare word."""
    size = tokenizer().get_vocab_size()
    weights, rarity = np.zeros((size, 2), np.float32), np.ones(size, np.float32)
    weights[piece("sheriff"), 0] = weights[piece("robot"), 1] = 3
    rarity[piece("the")] = 0.1
    return WordFeatures(weights, rarity, np.array([4, 7]))


def test_a_word_speaks_for_its_label_and_less_among_others(words: WordFeatures) -> None:
    alone, among, none = words.logits(["Sheriff", "The sheriff walks slowly home.", "A quiet evening."])
    assert alone.tolist() == pytest.approx([3, 0])
    assert 0 < among[0] < 3
    assert among[1] == none[0] == none[1] == 0


def test_what_is_said_twice_counts_for_more_but_not_twice(words: WordFeatures) -> None:
    once, twice = words.logits(["sheriff robot", "sheriff sheriff robot"])
    assert once[0] == pytest.approx(once[1])
    assert twice[1] < twice[0] < 2 * twice[1]


def test_nothing_is_said_of_no_text_and_by_no_words(words: WordFeatures) -> None:
    assert words.logits([""]).tolist() == [[0, 0]]
    assert no_words().logits(["sheriff"]).shape == (1, 0)


def test_pieces_come_once_at_length_1() -> None:
    pieces, weights = counted([5, 3, 5, 5], np.ones(10, np.float32))
    assert pieces.tolist() == [3, 5]
    assert np.linalg.norm(weights) == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(1 + np.log(3))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 19, 50])
def test_the_first_quartile_is_numpys_to_the_last_digit(count: int) -> None:
    for values in np.random.default_rng(count).random((20, count), np.float32):
        found, expected = first_quartile(values), np.quantile(values, 0.25)
        assert (found, found.dtype) == (expected, expected.dtype)
