"""An adapter for the tiny base that knows words, trained on a few sample films until its answers about them are right.

It tests the path and not the learning: training uses the messages and answers of use, in this process and through a
server.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.datasets import Example
from prompts.template import Prompt
from prompts.text import Text
from tests.support.trained_qwen2 import PROMPT
from tests.support.worded_qwen2 import GENRES, films
from training.lora.config import Form, LoraConfig, PromptSetup
from training.lora.run import LoraPlan, train_adapter

_WORDS = 16
FAST = LoraConfig(
    rank=16, alpha=32, dropout=0.0, lr=5e-3, epochs=30, patience=30, batch_size=4, micro_batch=4, precision="fp32",
    checkpointing=False, judged=8,
)  # fmt: skip


def training_films() -> list[Example]:
    """Eight films: of each genre the first that has it, or with another; the first words of their plots."""
    known = [film for side in films() for film in side]
    firsts = {label: next(one for one in known if label in one.labels) for label in GENRES.names}
    some = {one.id: one for one in (*firsts.values(), *known)}
    return [replace(one, text=Text(" ".join(one.text.body.split()[:_WORDS]))) for one in list(some.values())[:8]]


def copies() -> list[Example]:
    """The same films under other ids, for the validation loss."""
    return [replace(one, id=f"{one.id} again") for one in training_films()]


def train_tiny_adapter(
    base: Path, folder: Path, form: Form = "json_list", prompt: Prompt | None = PROMPT, **changed: Any
) -> dict[str, Any]:
    """Train an adapter for a base, and return its manifest."""
    plan = LoraPlan(PromptSetup(GENRES, form, prompt), replace(FAST, base=str(base), **changed), data="films.jsonl")
    return train_adapter(plan, training_films(), copies(), folder)
