"""A causal language model of ``transformers``: shared beginnings, next-token probabilities and choices.

This module imports torch and transformers; import it where a model is wanted, not at the top of another module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import Cache, DynamicLayer
from transformers.utils import logging

from llm.backends.backend import Conversation
from prompts.errors import InvalidSetting
from similarity.encoders.precision import CHOICES, default_device, torch_dtype

OutOfMemory = torch.OutOfMemoryError
PART = 2_048  # tokens of one conversation computed at once: the mask grows with the square


@dataclass(frozen=True)
class Beginning:
    """The first tokens of some conversations, and what attention keeps of them.

    Attributes:
        tokens: the tokens.
        layers: keys and values of each layer, of shape (1, heads, tokens, head size).
    """

    tokens: tuple[int, ...] = ()
    layers: tuple[tuple[Tensor, Tensor], ...] = ()

    def cut(self, length: int) -> Beginning:
        """Its first tokens only."""
        if not length:
            return Beginning()
        layers = tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in self.layers)
        return Beginning(self.tokens[:length], layers)


class _Lending(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer that lends what it holds and keeps nothing, so that a batch takes one layer's memory, not all's."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


class CausalLM:
    """A model and its tokenizer. Not for several threads at once.

    Args:
        network: a causal language model.
        tokenizer: its tokenizer, with a chat template.

    Attributes:
        context: tokens that the model takes.
        windowed: whether a layer sees only the last tokens, counted by their places in the cache.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer
        config = network.config.get_text_config()
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        window = not hasattr(config, "layer_types") and getattr(config, "sliding_window", None)
        self.windowed = bool(window) or set(kinds) != {"full_attention"}
        self.context = _context(config)

    @property
    def dtype(self) -> str:
        """Number format of the weights, as torch names it: ``bfloat16``."""
        return str(self.network.dtype).removeprefix("torch.")

    def tokens(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """Each conversation up to where the model's turn begins.

        Raises:
            InvalidSetting: the chat template refuses the messages.
        """
        if not conversations:
            return []
        plain = [[dict(message) for message in conversation] for conversation in conversations]
        try:
            # enable_thinking: a thinking model would open with its thoughts, where labels are to stand.
            tokens: list[list[int]] = self.tokenizer.apply_chat_template(
                plain, add_generation_prompt=True, return_dict=False, enable_thinking=False
            )
        except TemplateError as error:
            name = self.network.config.name_or_path
            raise InvalidSetting(f"the chat template of {name} refuses the messages: {error}") from error
        return tokens

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without any special ones."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        text: str = self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return text

    def code(self, code: str) -> int | None:
        """The token in which a code is taught; None where it is not a single one."""
        ids = self.encode(code)
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id else None

    def begin(self, known: Beginning, tokens: Sequence[int]) -> Beginning:
        """A beginning that goes on from a known one by more tokens."""
        cache = _cache(known, 1, DynamicLayer)
        for start in range(0, len(tokens), PART):
            self._next(cache, [tokens[start : start + PART]])
        layers: Any = cache.layers
        kept = tuple((layer.keys, layer.values) for layer in layers)
        return Beginning(known.tokens + tuple(tokens), kept)

    def next_token_logprobs(
        self, known: Beginning, rests: Sequence[Sequence[int]], codes: Sequence[int]
    ) -> list[list[float]]:
        """Log-probabilities of some tokens, over all tokens, after each of several rests behind one beginning."""
        # Padding stands behind every rest, where causal attention sees it from no real token: no mask is needed.
        scores = self._next(_cache(known, len(rests), _Lending), rests)
        logprobs: list[list[float]] = scores.log_softmax(-1)[:, list(codes)].tolist()
        return logprobs

    def _next(self, cache: Cache, rows: Sequence[Sequence[int]], **places: Tensor | None) -> Tensor:
        """Scores of the token after each row, float32, of shape (rows, taxonomy); the cache grows by the rows."""
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.network.device)
        with torch.inference_mode(), self._last_of([len(row) - 1 for row in rows]):
            said = self.network(input_ids=padded, past_key_values=cache, use_cache=True, **places)
        scores: Tensor = said.logits
        return scores[:, 0].float()

    @contextmanager
    def _last_of(self, places: Sequence[int]) -> Iterator[None]:
        """Show the output layer one position per row: over all of them it would take more memory than the rest.

        ``logits_to_keep`` cannot say this, since it takes the same positions of every row. Whatever the model does to
        its scores behind that layer (soft caps, scaling) still happens.
        """

        def keep(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (given[0][torch.arange(len(places)), list(places)][:, None], *given[1:])

        handle = self.network.get_output_embeddings().register_forward_pre_hook(keep)
        try:
            yield
        finally:
            handle.remove()


class Writing:
    """Conversations of one beginning that are being written on, in a batch.

    Args:
        causal: the model.
        known: their common beginning.
        rows: how many they are.
    """

    def __init__(self, causal: CausalLM, known: Beginning, rows: int) -> None:
        self._causal = causal
        self._cache = _cache(known, rows, DynamicLayer)
        self._lengths = [len(known.tokens)] * rows
        self._real = torch.ones(rows, len(known.tokens), dtype=torch.bool)  # False for padding

    def go_on(self, rows: Sequence[Sequence[int]], allowed: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
        """Add at least one token to every conversation and choose the likeliest of those allowed behind it.

        Returns:
            Each token chosen, and its log-probability among the allowed ones.
        """
        longest = max(map(len, rows))
        added = torch.tensor([[place < len(row) for place in range(longest)] for row in rows])
        self._real = torch.cat([self._real, added], dim=1)
        places = [[length + min(place, len(row) - 1) for place in range(longest)] for length, row in self._ends(rows)]
        device = self._causal.network.device
        mask = None if self._real.all() else self._real.to(device)
        scores = self._causal._next(
            self._cache, rows, attention_mask=mask, position_ids=torch.tensor(places, device=device)
        )
        self._lengths = [length + len(row) for length, row in self._ends(rows)]
        return _likeliest(scores, allowed)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the conversations only."""
        if len(rows) < len(self._lengths):
            chosen = torch.tensor(rows, dtype=torch.long)
            self._cache.batch_select_indices(chosen.to(self._causal.network.device))
            self._real = self._real[chosen]
            self._lengths = [self._lengths[row] for row in rows]

    def _ends(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, Sequence[int]]]:
        return zip(self._lengths, rows, strict=True)


def load(
    model: str, device: str | None, dtype: str = "auto", adapter: Path | None = None, quantised: Any = None
) -> CausalLM:
    """Read a model from a folder or, by its name, from the cache or the hub.

    Args:
        model: folder or name.
        device: ``cuda``, ``cpu`` and the like; by default ``cuda`` where there is one.
        dtype: ``bfloat16``, ``float16`` or ``float32``; ``auto`` takes what ``similarity.encoders.precision`` chooses.
        adapter: folder of a LoRA adapter for it, merged into its weights.
        quantised: configuration under which ``transformers`` reads the weights in fewer bits.

    Raises:
        InvalidSetting: it cannot be loaded, or is of a kind that cannot be used.
    """
    device = device or default_device()
    kind = _dtype(dtype, device)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = _network(model, device, kind, quantised)
    except Exception as error:  # a folder may hold anything, and each reader complains in its own way
        reason = str(error).strip().partition("\n")[0]
        raise InvalidSetting(
            f"the model {model!r} cannot be loaded ({reason}); give a folder of weights, or a name that the cache or "
            "the hub of Hugging Face has"
        ) from error
    if not tokenizer.chat_template:
        raise InvalidSetting(f"the model {model!r} has no chat template; give one tuned for instructions")
    if getattr(network, "_is_stateful", False) or network.get_output_embeddings() is None:
        raise InvalidSetting(f"the model {model!r} is no transformer with plain attention; serve it through vLLM")
    return CausalLM(_merged(network, adapter) if adapter else network, tokenizer)


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "float16":
        return torch.float16
    if name not in CHOICES:
        raise InvalidSetting(f"there is no dtype {name!r}; give one of {', '.join(CHOICES)}, float16")
    return torch_dtype(device, name)


def _network(model: str, device: str, kind: torch.dtype, quantised: Any) -> Any:
    if quantised is not None:  # such weights cannot be moved once they are read
        placed: Any = {"quantization_config": quantised, "device_map": {"": device}}
        quantised_network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=kind, **placed)
        return quantised_network.eval()
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=kind)
    return network.to(device).eval()


def _merged(network: Any, adapter: Path) -> Any:
    """The network with an adapter added to its weights, so that answering takes no longer than without."""
    from peft import PeftModel

    try:
        tuned: Any = PeftModel.from_pretrained(network, str(adapter))
        return tuned.merge_and_unload().eval()
    except Exception as error:  # shapes that do not fit, a damaged file: each reader complains in its own way
        reason = str(error).strip().partition("\n")[0]
        raise InvalidSetting(f"the adapter in {adapter} does not fit the model ({reason})") from error


def _context(config: Any) -> int:
    longest: int = getattr(config, "max_position_embeddings", None) or sys.maxsize
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":  # beyond this, every position is turned anew: a beginning cannot be kept
        longest = min(longest, rope.get("original_max_position_embeddings", longest))
    return longest


def _cache(known: Beginning, rows: int, kind: type[DynamicLayer]) -> Cache:
    """A cache that starts with a beginning, the same for every row and held once.

    Its layers hold all positions, also where a layer looks at the last ones only: the model masks the others.
    """
    if not known.layers:
        return Cache(layer_class_to_replicate=kind)
    return Cache(layers=[_layer(kind(), keys, values, rows) for keys, values in known.layers])


def _layer(layer: DynamicLayer, keys: Tensor, values: Tensor, rows: int) -> DynamicLayer:
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
    return layer


def _likeliest(scores: Tensor, allowed: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """The best of each row's allowed tokens, and its log-probability among them."""
    most = max(map(len, allowed))
    choices = torch.tensor([[*ids, *[ids[0]] * (most - len(ids))] for ids in allowed], device=scores.device)
    surplus = torch.tensor([[place >= len(ids) for place in range(most)] for ids in allowed], device=scores.device)
    best = scores.gather(1, choices).masked_fill(surplus, -torch.inf).log_softmax(-1).max(-1)
    found = zip(allowed, best.indices.tolist(), best.values.tolist(), strict=True)
    return [(ids[place], logprob) for ids, place, logprob in found]
