"""A BERT's vectors by OpenVINO: its graph, built from its weights alone, and its batches. No torch is imported."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from similarity.encoders.precision import gains_from_eight_bits, openvino, openvino_format
from similarity.encoders.tokens import ENDS, cut, ends
from similarity.errors import InvalidEncoder
from similarity.native import cores, one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from similarity.encoders.tokens import Vectors

    Tokens = list[int]
    Weights = Mapping[str, NDArray[np.float32]]

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
        """The tokens of each text in windows; see ``Runtime.windows``."""
        size = self._window
        pieces = [text.pieces for text in cut(texts)]
        return [[part[at : at + size] for at in range(0, len(part), size)] or [[]] for part in pieces]

    def vectors(self, windows: Sequence[Tokens]) -> Vectors:
        """Vectors of length 1, shape (windows, dimension), in their order; callers at once share the cores."""
        found = np.empty((len(windows), self.dimension), np.float32)
        lengths = [_rounded(len(window)) for window in windows]

        def compute(rows: list[int], requests: _Requests) -> None:
            found[rows] = requests.infer(self._padded([windows[row] for row in rows]))

        with self._counted() as callers:
            few = callers == 1 and len(windows) <= BATCH
            if few or callers >= cores():  # each caller has a core: no batch changes threads
                for rows in batched(lengths, _MOST):
                    compute(rows, self._together if few else self._apart)
            else:
                share = sum(lengths) // (_TURNS * cores())
                batches = batched(lengths, min(_MOST, max(_LEAST, share)))
                list(self._threads.map(lambda rows: compute(rows, self._apart), batches))
        return found

    @contextmanager
    def _counted(self) -> Iterator[int]:
        """Count a caller; yields how many there are now."""
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


def tensors_of(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file by name.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidEncoder: the file is damaged, or has numbers that numpy lacks, such as bfloat16.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, KeyError, TypeError) as error:
        raise InvalidEncoder(f"{path} is no readable safetensors file: {error}; install the model again") from None


def _weights(folder: Path, changes: Mapping[str, NDArray[Any]]) -> Weights:
    stored = tensors_of(folder / "model.safetensors")
    weights = {name: one.astype(np.float32, copy=False) for name, one in stored.items() if one.dtype.kind == "f"}
    with one_thread():  # changes may be products of matrices, computed here
        added = ((name, change.astype(np.float32, copy=False)) for name, change in changes.items())
        return weights | {name: weights[name] + change for name, change in added}


class _Requests:
    """A compiled graph and so many requests to it side by side, which share all cores."""

    def __init__(self, graph: Any, streams: int) -> None:
        properties = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
            **openvino_format(),
        }
        compiled = openvino().Core().compile_model(graph, "CPU", properties)
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
    """Batches of rows by length, longest first, with at most so many tokens including padding, at the lowest cost."""
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


# --- the graph ---

_PROJECTIONS = ("query", "key", "value")


class _GraphBuilder:
    """Writes BERT's parts as nodes of a graph, by the names of their weights.

    With ``eight_bits``, matrices are rounded to eight bits, each row by a scale of its own.
    """

    def __init__(self, weights: Weights, heads: int, epsilon: float, eight_bits: bool) -> None:
        self.ops = openvino().opset13
        self._weights, self._heads, self._epsilon = weights, heads, epsilon
        self._matrix = self._eight_bits if eight_bits else self._constant

    def embedded(self, tokens: Any) -> Any:
        """Words, places and the first segment; shape (texts, tokens, width)."""
        ops = self.ops
        words = ops.gather(self._constant("embeddings.word_embeddings.weight"), tokens, 0)
        length = ops.gather(ops.shape_of(tokens, "i32"), np.int32(1), np.int32(0))
        numbers = ops.range(np.int32(0), length, np.int32(1), "i32")
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        places = ops.constant(self._weights["embeddings.position_embeddings.weight"] + segment)
        return self._norm("embeddings.LayerNorm", ops.add(words, ops.gather(places, numbers, 0)))

    def layer(self, name: str, before: Any, mask: Any) -> Any:
        """Attention and the feed-forward part, each added to what came and normed."""
        ops = self.ops
        projected = ops.split(self._linear(f"{name}.attention.self", before), np.int64(2), len(_PROJECTIONS))
        heads = ops.scaled_dot_product_attention(*(self._split(one) for one in projected.outputs()), mask)
        joined = ops.reshape(ops.transpose(heads, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)
        attended = self._add(f"{name}.attention.output", joined, before)
        hidden = ops.gelu(self._linear(f"{name}.intermediate.dense", attended), "erf")
        return self._add(f"{name}.output", hidden, attended)

    def _add(self, name: str, given: Any, before: Any) -> Any:
        return self._norm(f"{name}.LayerNorm", self.ops.add(self._linear(f"{name}.dense", given), before))

    def _split(self, given: Any) -> Any:
        """Apart by heads, shape (texts, heads, tokens, width of a head)."""
        ops = self.ops
        return ops.transpose(ops.reshape(given, [0, 0, self._heads, -1], special_zero=True), [0, 2, 1, 3])

    def _linear(self, name: str, given: Any) -> Any:
        product = self.ops.matmul(given, self._matrix(f"{name}.weight"), False, True)
        return self.ops.add(product, self._constant(f"{name}.bias"))

    def _norm(self, name: str, given: Any) -> Any:
        normal = self.ops.mvn(given, [-1], True, self._epsilon, "inside_sqrt")
        scaled = self.ops.multiply(normal, self._constant(f"{name}.weight"))
        return self.ops.add(scaled, self._constant(f"{name}.bias"))

    def _eight_bits(self, name: str) -> Any:
        weights = self._weights[name]
        scales = np.abs(weights).max(axis=1, keepdims=True) / 127
        rounded = self.ops.constant(np.round(weights / scales).astype(np.int8))
        return self.ops.multiply(self.ops.convert(rounded, "f32"), self.ops.constant(scales))

    def _constant(self, name: str) -> Any:
        # The graph keeps the array. A copy would take 90 MB more and 0.06 s.
        return self.ops.constant(self._weights[name], shared_memory=True)


def _with_joined_projections(weights: Weights) -> Weights:
    """The weights, with each layer's three attention projections also as one matrix.

    One product replaces three, and the input is quantised once.
    """
    found = dict(weights)
    for name in weights:
        layer, first, part = name.rpartition(f"attention.self.{_PROJECTIONS[0]}.")
        if first:
            parts = [weights[f"{layer}attention.self.{one}.{part}"] for one in _PROJECTIONS]
            found[f"{layer}attention.self.{part}"] = np.concatenate(parts)
    return found


def bert_graph(config: Mapping[str, Any], weights: Weights, eight_bits: bool) -> Any:
    """Tokens and mask, both int32 of shape (texts, tokens), to unit vectors, float32 of shape (texts, width)."""
    layers = _GraphBuilder(
        _with_joined_projections(weights), config["num_attention_heads"], config["layer_norm_eps"], eight_bits
    )
    ops = layers.ops
    tokens, mask = (ops.parameter([-1, -1], np.int32, name=name) for name in ("tokens", "mask"))
    given = ops.convert(mask, "f32")
    away = ops.unsqueeze(ops.multiply(ops.subtract(given, np.float32(1)), np.float32(1e4)), [1, 2])
    state = layers.embedded(tokens)
    for number in range(config["num_hidden_layers"]):
        state = layers.layer(f"encoder.layer.{number}", state, away)
    total = ops.reduce_sum(ops.multiply(state, ops.unsqueeze(given, [2])), [1])
    unit = ops.normalize_l2(total, [1], 1e-12, "add")
    for node, name in ((tokens, "tokens"), (mask, "mask")):
        node.output(0).get_tensor().set_names({name})
    return openvino().Model([unit], [tokens, mask], "bert")
