"""Any model that sentence-transformers can read, on a GPU or a processor."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from similarity.encoders.precision import torch_dtype
from similarity.encoders.tokens import encoded
from similarity.errors import InvalidEncoder
from similarity.native import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.tokens import Vectors

_BATCH = 32


class Torch:
    """A model of sentence-transformers, in bfloat16 where the machine multiplies in it.

    Args:
        model: folder or hub name.
        changes: what is added to the weights of its first part, by their names.

    Raises:
        InvalidEncoder: sentence-transformers reads no model from there.
    """

    def __init__(self, model: str, changes: Mapping[str, NDArray[Any]]) -> None:
        self._model = _loaded(model)
        if changes:
            changed(self._model[0].auto_model, changes)
        self._model.to(torch_dtype(self._model.device.type))
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self._model.get_embedding_dimension())

    def windows(self, texts: Sequence[str]) -> list[list[str]]:
        """Each text in pieces that the model can read whole; one at least."""
        most = int(self._model.max_seq_length or 512) - 2  # less the marks at a text's ends
        return [self._pieces(text, most) for text in texts]

    def vectors(self, windows: Sequence[str]) -> Vectors:
        """Vectors of length 1, shape (windows, dimension), in their order."""
        with self._lock:  # one batch at a time: two would only share the same cores
            found = self._model.encode(
                list(windows), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(found, np.float32)

    def _pieces(self, text: str, most: int) -> list[str]:
        if len(text) <= most:  # a token is one character at least
            return [text]
        spans = self._model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = spans["offset_mapping"]
        starts = range(0, len(spans), most)
        return [text[spans[at][0] : spans[min(at + most, len(spans)) - 1][1]] for at in starts] or [text]


class SentenceEncoder:
    """An encoder from a folder or a name on the hub. Loaded at first use, once; may be shared by threads.

    Args:
        model: folder or hub name; under it the vectors go, so that an index knows its encoder.
    """

    def __init__(self, model: str) -> None:
        self.name = model
        self._lock = threading.Lock()

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self._runtime.dimension

    @native
    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, dimension), in the order of the texts.

        Raises:
            InvalidEncoder: sentence-transformers reads no model from the folder or name.
        """
        with self._lock:
            runtime = self._runtime  # loaded once, by the first thread
        return encoded(runtime, texts, runtime.dimension)

    @cached_property
    def _runtime(self) -> Torch:
        return Torch(self.name, {})


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
