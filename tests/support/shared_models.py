"""MiniLM's compiled graphs and the matcher's weights, read once per process: the tests load them hundreds of times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

from llm.embedded import matcher
from llm.embedded.weights import MatcherWeights, load
from similarity.encoders import minilm
from similarity.encoders.openvino_bert import Bert
from similarity.encoders.precision import gains_from_eight_bits, openvino_format
from similarity.native import cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

Loaded = TypeVar("Loaded")
_MOST = 8  # models; the shipped ones are three graphs and their weights


class SharedModels:
    """What ``Bert`` and ``load`` return, by the files, the changes, the number format and the cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[object, tuple[object, Any]] = OrderedDict()

    def bert(self, folder: Path, window: int, changes: Mapping[str, NDArray[Any]], eight_bits: bool) -> Bert:
        eight = eight_bits and gains_from_eight_bits()
        by = (_state(folder / "model.safetensors"), window, id(changes) if changes else 0, eight)
        key = (*by, cores(), *openvino_format().items())
        # ``changes`` are kept with the model: as long as it is shared, no other changes have their id.
        return self._once(key, changes, lambda: Bert(folder, window, changes, eight_bits))

    def weights(self, path: Path) -> MatcherWeights:
        return self._once(_state(path), path, lambda: load(path))

    def _once(self, key: object, kept: object, loaded: Callable[[], Loaded]) -> Loaded:
        with self._lock:
            if key not in self._found:
                self._found[key] = kept, loaded()
            self._found.move_to_end(key)
            if len(self._found) > _MOST:
                self._found.popitem(last=False)
            return cast("Loaded", self._found[key][1])


def _state(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


@contextmanager
def shared_models() -> Iterator[None]:
    """Share them within the block, unless a test needs its own (``own_models``)."""
    shared = SharedModels()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minilm, "Bert", shared.bert)
        patch.setattr(matcher, "load", shared.weights)
        yield


@contextmanager
def own_models() -> Iterator[None]:
    """Each encoder loads its own model within the block, as in the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minilm, "Bert", Bert)
        patch.setattr(matcher, "load", load)
        yield
