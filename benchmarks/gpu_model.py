"""Qwen2 with random weights in this process: the limits of the device at its shapes, and its labelling speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

FP8 = torch.float8_e4m3fn
_FP8_MOST = torch.finfo(FP8).max
_COPY_BYTES = {"cuda": 2**30, "cpu": 2**24}


@dataclass(frozen=True)
class Load:
    """Size of the measurement.

    Attributes:
        static: tokens that all texts share.
        own: own tokens of each text.
        written: generated tokens of a ``json_list`` answer.
        documents: texts per round.
    """

    static: int
    own: int
    written: int
    documents: int
    batch: int
    rounds: int


@dataclass(frozen=True)
class Ceilings:
    """Measured limits of the device.

    Attributes:
        tflops: rate of the model's matrix products, in 10^12 operations per second, weighted by their work.
        gigabytes: rate of a copy on the device, read and written, in 10^9 bytes per second.
    """

    tflops: float
    gigabytes: float


def config(shape: dict[str, int]) -> Any:
    """Return a configuration of Qwen2."""
    fields: dict[str, Any] = {**shape, "tie_word_embeddings": False}
    return Qwen2Config(**fields)


def random_model(shape: dict[str, int], device: str) -> Any:
    """Return Qwen2 with random weights on the device: the speed of real weights, noise as answers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model: Any = Qwen2ForCausalLM(config(shape))
            return model.eval()
    finally:
        torch.set_default_dtype(before)


# --- limits of the device ---


def ceilings(shape: dict[str, int], device: str, load: Load, fp8: bool = False) -> Ceilings:
    """Measure the device at the model's shapes; the rows are the tokens of a batch."""
    rows = load.batch * (load.static + load.own)
    seconds = operations = 0.0
    for inner, outer in layer_shapes(shape):
        seconds += _seconds(_product(rows, inner, outer, device, fp8), device, load.rounds)
        operations += 2.0 * rows * inner * outer
    return Ceilings(operations / seconds / 1e12, _copied(device, load.rounds))


def layer_shapes(shape: dict[str, int]) -> list[tuple[int, int]]:
    """Return the inner and outer size of each matrix product of one layer."""
    hidden, middle = shape["hidden_size"], shape["intermediate_size"]
    keys = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    return [(hidden, hidden + 2 * keys), (hidden, hidden), (hidden, 2 * middle), (middle, hidden)]


def _product(rows: int, inner: int, outer: int, device: str, fp8: bool) -> Callable[[], Any]:
    left = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    right = torch.randn(outer, inner, device=device, dtype=torch.bfloat16)
    if not fp8:
        return partial(nn.functional.linear, left, right)
    one = torch.ones((), device=device)
    return partial(_scaled, left.to(FP8), right.to(FP8), one, one)


def _scaled(left: Tensor, right: Tensor, left_scale: Tensor, right_scale: Tensor) -> Tensor:
    """Return the product of an fp8 matrix with the transpose of a second one."""
    return torch._scaled_mm(left, right.t(), scale_a=left_scale, scale_b=right_scale, out_dtype=torch.bfloat16)


def _copied(device: str, rounds: int) -> float:
    source = torch.ones(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2.0 * len(source) / _seconds(partial(target.copy_, source), device, rounds) / 1e9


def _seconds(work: Callable[[], Any], device: str, rounds: int) -> float:
    """Return the seconds of a call: median of the rounds of ten calls, after two calls to warm up."""
    work(), work()
    seconds = []
    for _ in range(rounds):
        start = _now(device)
        for _ in range(10):
            work()
        seconds.append((_now(device) - start) / 10)
    return median(seconds)


def _now(device: str) -> float:
    """Return the time after the device has completed all submitted work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# --- fp8 ---


class Fp8Linear(nn.Module):
    """A linear layer with an fp8 product; one scale for all weights, one for each batch of inputs."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.scale = _scale(plain.weight)
        self.weight = (plain.weight / self.scale).to(FP8)
        self.bias = plain.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output of the plain layer, except for rounding."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = _scale(rows)
        outputs = _scaled((rows / scale).to(FP8), self.weight, scale, self.scale)
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs.reshape(*inputs.shape[:-1], -1)


def _scale(values: Tensor) -> Tensor:
    return (values.detach().abs().amax().float() / _FP8_MOST).clamp(min=1e-12)


@torch.no_grad()
def in_fp8(model: Any) -> Any:
    """Return the model with fp8 products in its layers; the output layer is unchanged."""
    for layer, part in product(model.model.layers, ("self_attn", "mlp")):
        owner = getattr(layer, part)
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.Linear):
                setattr(owner, name, Fp8Linear(child))
    return model


# --- labelling ---


class Labelling:
    """The computation of the strategies on random tokens, without constrained decoding, whose masks cost little."""

    def __init__(self, model: Any, device: str, load: Load) -> None:
        self._model, self._device, self._load = model, device, load

    @torch.inference_mode()
    def rate(self, strategy: str, warm: bool) -> float:
        """Return texts per second: median of the rounds, after one batch to warm up.

        Args:
            strategy: ``label_tokens`` generates one token, ``json_list`` ``load.written`` tokens.
            warm: whether the KV cache of the static part exists already.
        """
        tokens = 1 if strategy == "label_tokens" else self._load.written
        prefix = self._prefix() if warm else None
        self._pass(next(self._batches()), prefix, tokens)
        seconds = []
        for _ in range(self._load.rounds):
            start = _now(self._device)
            for batch in self._batches():
                self._pass(batch, prefix, tokens)
            seconds.append(_now(self._device) - start)
        return self._load.documents / median(seconds)

    def _pass(self, batch: Tensor, prefix: Any, tokens: int) -> None:
        cache = DynamicCache()
        if prefix is not None:
            self._share(prefix, cache, len(batch))
            batch = batch[:, self._load.static :]
        for _ in range(tokens):
            output = self._model(batch, past_key_values=cache, use_cache=True, logits_to_keep=1)
            batch = output.logits.argmax(dim=-1)

    def _prefix(self) -> Any:
        static = next(self._batches())[:1, : self._load.static]
        return self._model(static, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1).past_key_values

    def _share(self, prefix: Any, cache: Any, rows: int) -> None:
        """Add the KV cache of the static part as an expanded view: attention copies it per row."""
        for place, layer in enumerate(prefix.layers):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), place)

    def _batches(self) -> Iterator[Tensor]:
        size = self._load.static + self._load.own
        for start in range(0, self._load.documents, self._load.batch):
            rows = min(self._load.batch, self._load.documents - start)
            yield torch.randint(0, self._model.config.vocab_size, (rows, size), device=self._device)


# --- roofline ---


def roofline(
    shape: dict[str, int], limits: Ceilings, load: Load, strategy: str, warm: bool, weight_bytes: int = 2
) -> float:
    """Estimated maximum texts per second under the measured limits of the device.

    Each parameter costs 2 operations per token; the weights are read once per token that a batch generates after its
    first. Attention is small at this length and is left out.

    Args:
        shape: of the architecture.
        limits: of the device.
        load: size of the measurement.
        strategy: ``label_tokens`` or ``json_list``.
        warm: whether the KV cache of the static part exists already.
        weight_bytes: bytes per parameter of the layers; the output layer has 2.
    """
    body = shape["num_hidden_layers"] * sum(inner * outer for inner, outer in layer_shapes(shape))
    head = shape["hidden_size"] * shape["vocab_size"]
    operations, copied = limits.tflops * 1e12, limits.gigabytes * 1e9
    tokens = load.own if warm else load.own + load.static
    first = 2 * (body * tokens + head) / operations
    further = max(2 * (body + head) / operations, (body * weight_bytes + head * 2) / copied / load.batch)
    return 1 / (first if strategy == "label_tokens" else first + (load.written - 1) * further)
