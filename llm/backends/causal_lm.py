"""A causal language model of ``transformers``: shared prefixes, next-token probabilities and constrained decoding.

This module imports torch and transformers; import it inside the function that needs a model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from llm.backends.backend import Conversation
from llm.backends.token_tree import TokenTree
from prompts.errors import InvalidSetting

OutOfMemory = torch.OutOfMemoryError
PART = 2_048  # tokens of one conversation computed at once: the mask grows with the square


@dataclass(frozen=True)
class Prefix:
    """The first tokens of some conversations; keys and values of each layer, shape (1, heads, tokens, head size)."""

    tokens: tuple[int, ...] = ()
    layers: tuple[tuple[Tensor, Tensor], ...] = ()

    def cut(self, length: int) -> Prefix:
        if not length:
            return Prefix()
        layers = tuple((keys[:, :, :length], values[:, :, :length]) for keys, values in self.layers)
        return Prefix(self.tokens[:length], layers)


class _ReadOnlyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer that stores no new tokens, so that a batch takes the memory of one layer, not of all."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            return key_states, value_states
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


class CausalLM:
    """A causal language model and its tokenizer, which has a chat template. Not thread-safe.

    Attributes:
        context: tokens of prompt and answer together.
        windowed: whether a layer sees only the last tokens, counted by their positions in the cache.
        takes_trees: whether several conversations can share a row (``TokenTree``): positions are rotations, and every
            layer sees all tokens.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer
        config = network.config.get_text_config()
        layer_types = getattr(config, "layer_types", None) or ["full_attention"]
        window = not hasattr(config, "layer_types") and getattr(config, "sliding_window", None)
        self.windowed = bool(window) or set(layer_types) != {"full_attention"}
        self.takes_trees = not self.windowed and bool(getattr(config, "rope_parameters", None))
        self.context = _context(config)

    @property
    def dtype(self) -> str:
        """Number format of the weights, as torch names it: ``bfloat16``."""
        return str(self.network.dtype).removeprefix("torch.")

    def tokens(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """The tokens of each conversation, up to the start of the model's turn.

        Raises:
            InvalidSetting: the chat template refuses the messages.
        """
        if not conversations:
            return []
        messages = [[dict(message) for message in conversation] for conversation in conversations]
        try:
            # enable_thinking: a thinking model would begin with its thoughts instead of labels.
            tokens: list[list[int]] = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False, enable_thinking=False
            )
        except TemplateError as error:
            name = self.network.config.name_or_path
            raise InvalidSetting(f"the chat template of {name} refuses the messages: {error}") from error
        return tokens

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def code(self, code: str) -> int | None:
        """The token with which a code is trained; None if the code is not a single token."""
        ids = self.encode(code)
        return ids[0] if len(ids) == 1 and ids[0] != self.tokenizer.unk_token_id else None

    def extend(self, prefix: Prefix, tokens: Sequence[int]) -> Prefix:
        """Compute a longer prefix."""
        cache = _cache(prefix, 1, DynamicLayer)
        for start in range(0, len(tokens), PART):
            self._forward(cache, [tokens[start : start + PART]])
        layers: Any = cache.layers
        return Prefix(prefix.tokens + tuple(tokens), tuple((layer.keys, layer.values) for layer in layers))

    def next_token_logprobs(
        self, prefix: Prefix, trees: Sequence[TokenTree], tokens: Sequence[int]
    ) -> list[list[float]]:
        """Log-probabilities of some tokens, over all tokens, after each conversation of the trees behind one prefix."""
        places = [(row, leaf) for row, tree in enumerate(trees) for leaf in tree.leaves]
        # Padding is behind every row, where causal attention hides it from all real tokens: chains need no mask.
        branched = self._branches(len(prefix.tokens), trees) if any(tree.branched for tree in trees) else {}
        rows = [tree.tokens for tree in trees]
        logits = self._forward(_cache(prefix, len(rows), _ReadOnlyLayer), rows, places, **branched)
        logprobs: list[list[float]] = logits.log_softmax(-1)[:, list(tokens)].tolist()
        return logprobs

    def _branches(self, before: int, trees: Sequence[TokenTree]) -> dict[str, Tensor]:
        """Positions of the trees' tokens, and a mask that shows each only those before it in its conversations."""
        device, longest = self.network.device, max(len(tree.tokens) for tree in trees)
        places = torch.arange(longest, device=device)
        depths = torch.zeros(len(trees), longest, dtype=torch.long, device=device)
        ends = torch.full((len(trees), longest), longest, device=device)  # padding is seen by padding only
        for row, tree in enumerate(trees):
            depths[row, : len(tree.depths)] = torch.tensor(tree.depths, device=device)
            ends[row, : len(tree.ends)] = torch.tensor(tree.ends, device=device)
        seen = (places[None, None] <= places[None, :, None]) & (places[None, :, None] < ends[:, None])
        mask = torch.zeros(len(trees), 1, longest, before + longest, dtype=self.network.dtype, device=device)
        mask[:, 0, :, before:].masked_fill_(~seen, torch.finfo(mask.dtype).min)
        return {"attention_mask": mask, "position_ids": before + depths}

    def _forward(
        self,
        cache: Cache,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int]] | None = None,
        **kwargs: Tensor | None,
    ) -> Tensor:
        """Logits of the token after each place, float32, of shape (places, tokens); the rows are added to the cache.

        A place is a row and a position in it; by default, the last of every row.
        """
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.network.device)
        ends = places or [(number, len(row) - 1) for number, row in enumerate(rows)]
        with torch.inference_mode(), self._only_places(ends):
            output = self.network(input_ids=padded, past_key_values=cache, use_cache=True, **kwargs)
        logits: Tensor = output.logits
        return logits[:, 0].float()

    @contextmanager
    def _only_places(self, places: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Limit the output layer to some places: logits of all positions would take most of the memory.

        ``logits_to_keep`` selects the same positions of every row. Later operations of the model (soft caps, scaling)
        still apply.
        """
        rows, positions = map(list, zip(*places, strict=True))

        def select(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0][rows, positions][:, None], *inputs[1:])

        handle = self.network.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()


class Generation:
    """Constrained generation for a batch of conversations with one prefix."""

    def __init__(self, causal: CausalLM, prefix: Prefix, rows: int) -> None:
        self._causal = causal
        self._cache = _cache(prefix, rows, DynamicLayer)
        self._lengths = [len(prefix.tokens)] * rows
        self._mask = torch.ones(rows, len(prefix.tokens), dtype=torch.bool)  # False for padding

    def step(self, rows: Sequence[Sequence[int]], allowed: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
        """Append one or more tokens to every conversation, and choose the most probable of the allowed next tokens.

        Each chosen token comes with its log-probability among the allowed ones.
        """
        longest = max(map(len, rows))
        added = torch.tensor([[index < len(row) for index in range(longest)] for row in rows])
        self._mask = torch.cat([self._mask, added], dim=1)
        ends = list(zip(self._lengths, rows, strict=True))
        positions = [[length + min(index, len(row) - 1) for index in range(longest)] for length, row in ends]
        device = self._causal.network.device
        mask = None if self._mask.all() else self._mask.to(device)
        position_ids = torch.tensor(positions, device=device)
        logits = self._causal._forward(self._cache, rows, attention_mask=mask, position_ids=position_ids)
        self._lengths = [length + len(row) for length, row in ends]
        return _most_probable(logits, allowed)

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with some of the conversations only."""
        if len(rows) < len(self._lengths):
            chosen = torch.tensor(rows, dtype=torch.long)
            self._cache.batch_select_indices(chosen.to(self._causal.network.device))
            self._mask = self._mask[chosen]
            self._lengths = [self._lengths[row] for row in rows]


def _context(config: Any) -> int:
    longest: int = getattr(config, "max_position_embeddings", None) or sys.maxsize
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":  # longer texts change all positions: no prefix could be kept
        longest = min(longest, rope.get("original_max_position_embeddings", longest))
    return longest


def _cache(prefix: Prefix, rows: int, layer_type: type[DynamicLayer]) -> Cache:
    """A cache that starts with a prefix, stored once for all rows.

    Its layers store all positions, also if a layer uses the last ones only: the model masks the others.
    """
    if not prefix.layers:
        return Cache(layer_class_to_replicate=layer_type)
    return Cache(layers=[_layer(layer_type(), keys, values, rows) for keys, values in prefix.layers])


def _layer(layer: DynamicLayer, keys: Tensor, values: Tensor, rows: int) -> DynamicLayer:
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)
    return layer


def _most_probable(logits: Tensor, allowed: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """The best of each row's allowed tokens, and its log-probability among them."""
    most = max(map(len, allowed))
    padded = torch.tensor([[*ids, *[ids[0]] * (most - len(ids))] for ids in allowed], device=logits.device)
    padding = torch.tensor([[index >= len(ids) for index in range(most)] for ids in allowed], device=logits.device)
    best = logits.gather(1, padded).masked_fill(padding, -torch.inf).log_softmax(-1).max(-1)
    rows = zip(allowed, best.indices.tolist(), best.values.tolist(), strict=True)
    return [(ids[index], logprob) for ids, index, logprob in rows]
