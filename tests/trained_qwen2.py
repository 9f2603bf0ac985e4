"""The tiny Qwen2 after a minute of training on a dozen sample films, until its answers are right.

A model that knows the answers proves what noise cannot: that every reading carries the *right* labels and sensible
scores through the whole path.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompts.question import CODES, LETTERS, LIST, Question
from prompts.taxonomy import Label, Taxonomy
from prompts.template import Prompt
from prompts.text import Text
from tests.tiny_qwen2 import SAMPLE, build

GENRES = Taxonomy(
    "five",
    tuple(Label(name) for name in ("War", "Romance", "Horror", "Western", "Music")),
    max_labels=2,
    allow_none=True,
)
_FILMS, _WORDS = 12, 16
_STEPS, _BATCH, _RATE = 1_500, 24, 2e-3
_GOOD, _BAD = 0.02, 0.1  # mean loss; a film of two genres has two right letters, so that it cannot reach 0
# Shorter than any shipped prompt, so that a minute of training on a CPU is enough.
PROMPT = Prompt(
    "short.v1",
    """--- system ---
{% for code, label in question.coded(taxonomy) %}{{ code }} {{ label.name }} {% endfor %}{{ question.reading }}
--- user ---
{{ text }}{% if question.label %} {{ question.label.name }}?{% endif %}
""",
)

Example = tuple[Any, str]  # a conversation and the right answer to it


def films() -> list[tuple[Text, tuple[str, ...]]]:
    """A dozen films and which of the five genres they have: none, one or two."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    wanted: dict[tuple[str, ...], int] = {}
    chosen: list[tuple[Text, tuple[str, ...]]] = []
    for row in rows:
        labels = GENRES.in_order(row["tmdb_genres"])
        if len(labels) <= 2 and wanted.setdefault(labels, 0) < (2 if len(labels) < 2 else 1) and len(chosen) < _FILMS:
            wanted[labels] += 1
            chosen.append((Text(" ".join(row["plot"].split()[:_WORDS])), labels))
    return chosen


def examples() -> list[Example]:
    """Every question that the readings ask about these films, with its right answer."""
    made: list[Example] = []
    for text, labels in films():
        made.append((PROMPT.render(text, GENRES, LIST), json.dumps(list(labels), separators=(",", ":"))))
        letters = [CODES[GENRES.names.index(name)] for name in labels] or [LETTERS.none_code]
        made += [(PROMPT.render(text, GENRES, LETTERS), letter) for letter in letters]
        for label in GENRES.predictable:
            asked = Question("yes_no", label)
            made.append((PROMPT.render(text, GENRES, asked), "Yes" if label.name in labels else "No"))
    return made


def train(folder: Path) -> Path:
    """Build the model and teach it the answers; ends early when it knows them.

    Raises:
        RuntimeError: it did not learn them in the steps allowed.
    """
    return teach(build(folder, width=128), examples(), _STEPS, _BATCH)


def teach(folder: Path, examples: Sequence[Example], steps: int, batch: int) -> Path:
    """Teach a model the answers to conversations; ends early when it knows them.

    Args:
        folder: of the model, which is written anew.
        examples: conversations and answers.
        steps: the most that it may take.
        batch: examples a step.

    Raises:
        RuntimeError: it did not learn them in the steps allowed.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoded = [_encode(tokenizer, *example) for example in examples]
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    chosen = random.Random(0)
    usual = 1.0
    for _ in range(steps):
        loss = _loss(model, chosen.sample(encoded, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        usual += 0.05 * (float(loss.detach()) - usual)
        if usual < _GOOD:
            break
    if usual > _BAD:
        raise RuntimeError(f"the tiny model did not learn its answers: loss {usual:.2f}")
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def _encode(tokenizer: Any, conversation: Any, answer: str) -> tuple[list[int], int]:
    """Token ids of question and answer, and how many of them are the answer's."""
    asked = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, return_dict=False)
    said = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return asked + said, len(said)


def _loss(model: Any, batch: Sequence[tuple[list[int], int]]) -> Any:
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), -100)
    for row, (tokens, said) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        targets[row, len(tokens) - said : len(tokens)] = ids[row, len(tokens) - said : len(tokens)]
    return model(input_ids=ids, labels=targets).loss  # padding stands behind and is masked out of the loss
