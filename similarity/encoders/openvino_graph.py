"""BERT as an OpenVINO graph, built from its weights alone; neither torch nor transformers is imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROJECTIONS = ("query", "key", "value")


def openvino() -> Any:
    """Return the library. Its telemetry would report every import to a server; it works without."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino as library

    return library


def capabilities() -> list[str]:
    """Return the number formats that OpenVINO computes in on this processor, whatever the environment forbids."""
    found: list[str] = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


class _GraphBuilder:
    """Writes BERT's parts as nodes of a graph, by the names of their weights.

    Args:
        weights: all of the model's, by name.
        heads: of attention.
        epsilon: of the layer norms.
        eight_bits: whether matrices are rounded to eight bits, each row by a scale of its own.
    """

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], heads: int, epsilon: float, eight_bits: bool
    ) -> None:
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
        return self.ops.constant(self._weights[name])


def _with_joined_projections(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
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


def bert_graph(config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]], eight_bits: bool) -> Any:
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
