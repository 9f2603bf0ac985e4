"""Small labelled texts that can be learnt: each label has words of its own, in a stream of idle ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eval.datasets import Example
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TELLING = {
    "War": "soldiers trenches battle army".split(),
    "Horror": "ghost curse cellar scream".split(),
    "Music": "band singer stage song".split(),
    "Western": "sheriff saloon outlaw ranch".split(),
}
IDLE = "one day a the of and in town people then story long comes when".split()
WORDS = sorted({*IDLE, *(word for words in TELLING.values() for word in words)})
MULTI = Taxonomy("stories", tuple(Label(name) for name in TELLING), max_labels=3)
SINGLE = replace(MULTI, name="best", multi=False)
OTHER = Taxonomy("others", (Label("Sunny"), Label("Rainy")))
CHANCES = (0.6, 0.4, 0.3, 0.15)  # War is common, Western rare


def examples(count: int, taxonomy: Taxonomy = MULTI, seed: int = 1) -> list[Example]:
    """So many examples; the same for the same seed, and others for another."""
    random = np.random.default_rng(seed)
    return [_example(f"{seed}-{place}", random, taxonomy) for place in range(count)]


def _example(name: str, random: np.random.Generator, taxonomy: Taxonomy) -> Example:
    drawn = [label for label, chance in zip(TELLING, CHANCES, strict=True) if random.random() < chance] or ["War"]
    names = drawn if taxonomy.multi else [drawn[int(random.integers(len(drawn)))]]
    words = [str(word) for label in names for word in random.choice(TELLING[label], 2)]
    words += [str(word) for word in random.choice(IDLE, 6)]
    random.shuffle(words)
    return Example(name, Text(" ".join(words)), taxonomy.in_order(names))
