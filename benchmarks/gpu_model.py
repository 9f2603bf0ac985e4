"""Qwen2 of random weights in this process: what the device can do at its shapes, and how fast it labels."""

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
    """What is computed.

    Attributes:
        static: tokens that all documents share.
        own: tokens of each document.
        written: tokens of a list.
        documents: how many.
        batch: how many at once.
        rounds: how often each figure is taken; the median counts.
    """

    static: int
    own: int
    written: int
    documents: int
    batch: int
    rounds: int


@dataclass(frozen=True)
class Ceilings:
    """What was measured of the device.

    Attributes:
        tflops: of the model's matrix products, in 10^12 operations a second, each weighed by its share of the work.
        gigabytes: moved by a copy on the device, read and written, in 10^9 bytes a second.
    """

    tflops: float
    gigabytes: float


def config(shape: dict[str, int]) -> Any:
    """A configuration of Qwen2."""
    fields: dict[str, Any] = {**shape, "tie_word_embeddings": False}
    return Qwen2Config(**fields)


def random_model(shape: dict[str, int], device: str) -> Any:
    """Qwen2 of random weights, made on the device: its speed is that of true weights, its answers are noise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model: Any = Qwen2ForCausalLM(config(shape))
            return model.eval()
    finally:
        torch.set_default_dtype(before)


# --- ceilings ---


def ceilings(shape: dict[str, int], device: str, load: Load, fp8: bool = False) -> Ceilings:
    """Measure the device at the model's shapes, with a batch's tokens as rows."""
    rows = load.batch * (load.static + load.own)
    seconds = operations = 0.0
    for inner, outer in layer_shapes(shape):
        seconds += _seconds(_product(rows, inner, outer, device, fp8), device, load.rounds)
        operations += 2.0 * rows * inner * outer
    return Ceilings(operations / seconds / 1e12, _copied(device, load.rounds))


def layer_shapes(shape: dict[str, int]) -> list[tuple[int, int]]:
    """Inner and outer size of the matrix products of one layer."""
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
    """Product of two fp8 matrices, the second of them standing on its side."""
    return torch._scaled_mm(left, right.t(), scale_a=left_scale, scale_b=right_scale, out_dtype=torch.bfloat16)


def _copied(device: str, rounds: int) -> float:
    source = torch.ones(_COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2.0 * len(source) / _seconds(partial(target.copy_, source), device, rounds) / 1e9


def _seconds(work: Callable[[], Any], device: str, rounds: int) -> float:
    """Seconds of a piece of work, median of the rounds, each of ten repeats after two for warming up."""
    work(), work()
    taken = []
    for _ in range(rounds):
        start = _now(device)
        for _ in range(10):
            work()
        taken.append((_now(device) - start) / 10)
    return median(taken)


def _now(device: str) -> float:
    """The time at which the device has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# --- fp8 ---


class Fp8Linear(nn.Module):
    """A linear layer whose product is taken in fp8; one scale for all weights, one for each batch of inputs."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.scale = _scale(plain.weight)
        self.weight = (plain.weight / self.scale).to(FP8)
        self.bias = plain.bias

    def forward(self, given: Tensor) -> Tensor:
        """The same as of the plain layer, but for rounding."""
        rows = given.reshape(-1, given.shape[-1])
        scale = _scale(rows)
        found = _scaled((rows / scale).to(FP8), self.weight, scale, self.scale)
        found = found if self.bias is None else found + self.bias
        return found.reshape(*given.shape[:-1], -1)


def _scale(values: Tensor) -> Tensor:
    return (values.detach().abs().amax().float() / _FP8_MOST).clamp(min=1e-12)


@torch.no_grad()
def in_fp8(model: Any) -> Any:
    """The model with the products of its layers in fp8; the last one, onto the vocabulary, stays as it is."""
    for layer, part in product(model.model.layers, ("self_attn", "mlp")):
        owner = getattr(layer, part)
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.Linear):
                setattr(owner, name, Fp8Linear(child))
    return model


# --- labelling ---


class Labelling:
    """Computes what the strategies ask for, on random tokens, without constraint: its masks cost next to nothing.

    Args:
        model: as ``random_model`` makes it.
        device: where it is.
        load: what is computed.
    """

    def __init__(self, model: Any, device: str, load: Load) -> None:
        self._model, self._device, self._load = model, device, load

    @torch.inference_mode()
    def rate(self, strategy: str, warm: bool) -> float:
        """Documents a second; median of the rounds after one for warming up.

        Args:
            strategy: ``label_tokens`` computes one token, ``json_list`` as many as the load says, one after the other.
            warm: whether the keys of the static part are there already.
        """
        tokens = 1 if strategy == "label_tokens" else self._load.written
        beginning = self._beginning() if warm else None
        self._pass(next(self._batches()), beginning, tokens)
        taken = []
        for _ in range(self._load.rounds):
            start = _now(self._device)
            for batch in self._batches():
                self._pass(batch, beginning, tokens)
            taken.append(_now(self._device) - start)
        return self._load.documents / median(taken)

    def _pass(self, batch: Tensor, beginning: Any, tokens: int) -> None:
        cache = DynamicCache()
        if beginning is not None:
            self._lend(beginning, cache, len(batch))
            batch = batch[:, self._load.static :]
        for _ in range(tokens):
            told = self._model(batch, past_key_values=cache, use_cache=True, logits_to_keep=1)
            batch = told.logits.argmax(dim=-1)

    def _beginning(self) -> Any:
        static = next(self._batches())[:1, : self._load.static]
        return self._model(static, past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1).past_key_values

    def _lend(self, beginning: Any, cache: Any, rows: int) -> None:
        """Give a cache the keys of the static part, once for all rows: attention copies them as it goes."""
        for place, layer in enumerate(beginning.layers):
            cache.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), place)

    def _batches(self) -> Iterator[Tensor]:
        size = self._load.static + self._load.own
        for start in range(0, self._load.documents, self._load.batch):
            rows = min(self._load.batch, self._load.documents - start)
            yield torch.randint(0, self._model.config.vocab_size, (rows, size), device=self._device)


# --- roofline ---


@dataclass(frozen=True)
class Roofline:
    """The most documents a second that the measured ceilings allow.

    Attributes:
        found: the ceilings.
        body: parameters that work on every token.
        head: parameters that work on every written token.
        batch: documents that share one strategy of the weights.
        weight_bytes: of one parameter of the body.
    """

    found: Ceilings
    body: float
    head: float
    batch: int
    weight_bytes: int = 2

    def rate(self, strategy: str, warm: bool, load: Load) -> float:
        """Estimated texts per second.

        Each parameter costs 2 operations per token; the weights are read once per token that a batch generates after
        its first. Attention is small at this length and is left out.
        """
        tokens = load.own if warm else load.own + load.static
        first = 2 * (self.body * tokens + self.head) / (self.found.tflops * 1e12)
        return 1 / (first if strategy == "label_tokens" else first + (load.written - 1) * self._step())

    def _step(self) -> float:
        computed = 2 * (self.body + self.head) / (self.found.tflops * 1e12)
        read = (self.body * self.weight_bytes + self.head * 2) / (self.found.gigabytes * 1e9) / self.batch
        return max(computed, read)


def roofline(shape: dict[str, int], found: Ceilings, batch: int, weight_bytes: int = 2) -> Roofline:
    """The roofline of an architecture."""
    layer = sum(inner * outer for inner, outer in layer_shapes(shape))
    head = shape["hidden_size"] * shape["vocab_size"]
    return Roofline(found, float(layer * shape["num_hidden_layers"]), float(head), batch, weight_bytes)
