"""The training of the matcher: MiniLM's layers, a hidden layer over its vectors, an offset and a bias a label seen.

Every step asks of each text and each label whether the label applies (binary cross-entropy), twice: against the plain
vector of one of the label's wordings, so that the text's vector finds labels that it never saw, and against that vector
with the label's own offset and bias, so that those it saw are told apart better still. Wordings change from step to
step. What is unknown of a text is left out of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from eval.matcher.texts import Batch, Item, batches
from eval.matcher.wordings import Concept
from llm.learnt import Learnt
from llm.words import no_words
from similarity.pieces import weights_folder

if TYPE_CHECKING:
    from similarity.encoder import MiniLM
    from similarity.windows import Vectors

_WARM_UP = 60  # steps, or a tenth of all where that is less
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_PLAIN_WEIGHS = 0.5  # of the loss against plain labels, to the other's 1

Told = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast is learnt."""

    epochs: float = 2.0
    encoder_rate: float = 8e-5
    label_rate: float = 5e-4
    seed: int = 0


class Labels(nn.Module):
    """What is learnt of the labels, and how cosines become logits."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.offsets = nn.Parameter(torch.zeros(count, width))
        self.biases = nn.Parameter(torch.zeros(count))
        self.scales = nn.Parameter(torch.full((2,), 2.7))  # logarithms; with offsets, and without
        self.common = nn.Parameter(torch.full((2,), -5.0))

    def losses(self, texts: Any, labels: Any, batch: Batch) -> Any:
        """The two losses' weighted sum, for unit vectors of texts and of one wording a label."""
        texts = functional.normalize(texts + self.out(functional.gelu(self.hidden(texts))), dim=-1)
        near = functional.normalize(labels + self.offsets, dim=-1)
        logits = (
            texts @ near.T * self.scales[0].exp() + self.common[0] + self.biases,
            texts @ labels.T * self.scales[1].exp() + self.common[1],
        )
        true, weight = torch.from_numpy(batch.true), torch.from_numpy(batch.weight)
        entropy = functional.binary_cross_entropy_with_logits
        parts = [(entropy(one, true, reduction="none") * weight).sum() / len(true) for one in logits]
        return parts[0] + _PLAIN_WEIGHS * parts[1]

    def tower(self) -> dict[str, Any]:
        """The hidden layer as a ``Learnt`` keeps it."""
        kept = self.state_dict()
        return {name: kept[name].numpy() for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")}

    def numbers(self) -> dict[str, float]:
        """Scale and bias against plain labels, as a ``Learnt`` keeps them."""
        return {"plain scale": self.scales[1].exp().item(), "plain bias": self.common[1].item()}


def learn(
    given: Sequence[Item], concepts: Sequence[Concept], encoder: MiniLM, name: str, recipe: Recipe, told: Told
) -> Learnt:
    """Teach and return what was learnt of vectors; words are left to ``eval.matcher.words``, and what concerns
    vocabularies far from films to ``eval.matcher.far``.

    Args:
        given: training texts only.
        concepts: the labels, in the order of the items' columns.
        encoder: plain MiniLM; it is not changed.
        name: under which the matcher will go.
        recipe: how long and how fast.
        told: called after every step with its number, the number of all steps and the loss.
    """
    torch.manual_seed(recipe.seed)
    wordings = [wording for concept in concepts for wording in concept.wordings]
    owner = np.repeat(np.arange(len(concepts)), [len(concept.wordings) for concept in concepts])
    vectors = encoder.encode(wordings)
    model, labels = _trainable(), Labels(len(concepts), encoder.dimension)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    _run(model, labels, given, _Wordings(vectors, owner, recipe.seed), recipe, told)
    changes = {key: (value - before[key]).numpy() for key, value in model.state_dict().items()}
    return Learnt(
        name,
        {key: change for key, change in changes.items() if change.any()},
        vectors,
        owner,
        labels.tower(),
        labels.offsets.detach().numpy(),
        np.full(len(concepts), labels.scales[0].exp().item(), np.float32),
        (labels.biases + labels.common[0]).detach().numpy(),
        no_words(),
        np.zeros(encoder.dimension, np.float32),
        labels.numbers(),
    )


def _trainable() -> Any:
    """MiniLM in float32, its embeddings left as they are: words that no training text has keep their meaning."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(weights_folder())
    # Few texts are met twice, so that there is nothing for dropout to prevent; drawing it takes a tenth of the time.
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    # At a hundred tokens plain products beat PyTorch's fused kernel, whose way back is slow in bfloat16 on processors.
    model = BertModel.from_pretrained(
        weights_folder(), config=config, add_pooling_layer=False, attn_implementation="eager"
    )
    model.embeddings.requires_grad_(False)
    return model


class _Wordings:
    """One wording of every label, another one each time."""

    def __init__(self, vectors: Vectors, owner: Any, seed: int) -> None:
        self._vectors, self._random = torch.from_numpy(vectors), np.random.default_rng(seed)
        counts = np.bincount(owner)
        self._starts, self._counts = np.cumsum(counts) - counts, counts

    def draw(self) -> Any:
        """Unit vectors, shape (labels, 384)."""
        return self._vectors[self._starts + self._random.integers(self._counts)]


def _run(model: Any, labels: Labels, given: Sequence[Item], wordings: _Wordings, recipe: Recipe, told: Told) -> None:
    optimiser = _optimiser(model, labels, recipe)
    peaks = [group["lr"] for group in optimiser.param_groups]
    epoch = [list(batches(given, recipe.seed + number)) for number in range(math.ceil(recipe.epochs))]
    order = [batch for part in epoch for batch in part][: max(1, round(len(epoch[0]) * recipe.epochs))]
    model.train()
    for step, batch in enumerate(order):
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * _share(step, len(order))
        loss = labels.losses(embed(model, batch), wordings.draw(), batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([one for group in optimiser.param_groups for one in group["params"]], _CLIP)
        optimiser.step()
        told(step + 1, len(order), loss.item())


def embed(model: Any, batch: Batch) -> Any:
    """Unit vectors of a batch, shape (texts, 384): the mean over tokens, as sentence-transformers has it."""
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weight = mask[..., None].float()
    return functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)


def _optimiser(model: Any, labels: Labels, recipe: Recipe) -> torch.optim.Optimizer:
    learnt, rate = [one for one in model.parameters() if one.requires_grad], recipe.encoder_rate
    return torch.optim.AdamW(
        [
            {
                "params": [one for one in learnt if one.ndim > 1],
                "lr": rate,
                "weight_decay": _WEIGHT_DECAY,
            },
            {"params": [one for one in learnt if one.ndim == 1], "lr": rate, "weight_decay": 0.0},
            {"params": list(labels.parameters()), "lr": recipe.label_rate, "weight_decay": 0.0},
        ]
    )


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: a short warm-up, then half a cosine."""
    return min(1.0, (step + 1) / min(_WARM_UP, steps / 10)) * max(0.02, 0.5 * (1 + math.cos(math.pi * step / steps)))
