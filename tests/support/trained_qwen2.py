"""The tiny Qwen2 trained on a dozen sample films until every answer is right by a wide margin.

A model with known answers shows what a random one cannot: every strategy carries the *right* labels and sensible scores
through the whole path. The weights are shipped (``trained_qwen2.safetensors``), so that they are the same on every
processor. After a change of the prompt, the films or the tokenizer, train them again (two minutes)::

    python -m tests.support.trained_qwen2
"""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, JSON_LIST, LABEL_TOKENS, AnswerFormat, Prompt
from prompts.text import Text
from tests.support.tiny_qwen2 import SAMPLE, build, tiny_tokenizer

GENRES = Taxonomy(
    "five",
    tuple(Label(name) for name in ("War", "Romance", "Horror", "Western", "Music")),
    max_labels=2,
    allow_none=True,
)
WEIGHTS = Path(__file__).with_suffix(".safetensors")
_FILMS, _WORDS = 12, 16
_WIDTH, _TOKENS = 128, 1_500  # under 1 MB of weights
_STEPS, _BATCH, _RATE = 6_000, 24, 2e-3
_GOOD, _BAD = 0.02, 0.1  # mean loss; a film of two genres has two right letters, so that it cannot reach 0
_CHECKED_EVERY = 100  # steps
# Loss per token of the worst answer, after rounding to bfloat16. Two right letters cost ln 2 = .69 each.
_SURE, _TORN = 0.05, 0.9
# Shorter than any shipped prompt, so that a minute of training on a CPU is enough. "letters" is also a word of the
# capability check with a known answer, which the model should pass.
PROMPT = Prompt(
    "short.v1",
    """--- system ---
{% for code, label in question.labels_with_codes(taxonomy) %}{{ code }} {{ label.name }} {% endfor -%}
{{ {"json_list": "list", "label_tokens": "letters", "yes_no": "yes_no"}[question.strategy] }}
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
    """Every question that the strategies ask about these films, with its right answer."""
    made: list[Example] = []
    for text, labels in films():
        made.append((PROMPT.render(text, GENRES, JSON_LIST), json.dumps(list(labels), separators=(",", ":"))))
        letters = [CODES[GENRES.names.index(name)] for name in labels] or [LABEL_TOKENS.none_code]
        made += [(PROMPT.render(text, GENRES, LABEL_TOKENS), letter) for letter in letters]
        for label in GENRES.predictable:
            question = AnswerFormat("yes_no", label)
            made.append((PROMPT.render(text, GENRES, question), "Yes" if label.name in labels else "No"))
    return made


def train(folder: Path) -> Path:
    """Write the trained model to a folder, as ``from_pretrained`` reads it.

    Raises:
        RuntimeError: the shipped weights were trained on other questions than today's.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(WEIGHTS, "pt") as file:
        trained_on = file.metadata()["questions"]
    model, _ = _untrained(folder)
    if trained_on != _questions(folder):
        raise RuntimeError(f"{WEIGHTS.name} was trained on other questions: run python -m tests.support.trained_qwen2")
    model.load_state_dict(load_file(WEIGHTS), strict=False)  # the output layer is the input layer
    _save(model, folder)
    return folder


def ship() -> None:
    """Train the model and replace the shipped weights.

    Raises:
        RuntimeError: it did not learn the answers in the steps allowed.
    """
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, tokenizer = _untrained(folder)
        encoded = [_encode(tokenizer, *example) for example in examples()]
        _descend(model, encoded, _STEPS, _BATCH, lambda step, _: not step % _CHECKED_EVERY and _knows(model, encoded))
        if not _knows(model, encoded):
            raise RuntimeError("the tiny model did not learn its answers")
        tensors = _rounded(model)
        tensors.pop("lm_head.weight", None)
        save_file(tensors, WEIGHTS, {"questions": _questions(folder)})


def _untrained(folder: Path) -> tuple[Any, Any]:
    """The model before training, in float32, and its tokenizer; both are in the folder, too."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build(folder, width=_WIDTH, tokenizer=tiny_tokenizer(_TOKENS))
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.float(), AutoTokenizer.from_pretrained(folder)


def _questions(folder: Path) -> str:
    """Digest of all that the weights depend on: the questions with their answers, and the tokenizer."""
    content = json.dumps([[list(conversation), answer] for conversation, answer in examples()], sort_keys=True)
    return hashlib.sha256(content.encode() + (folder / "tokenizer.json").read_bytes()).hexdigest()


def _save(model: Any, folder: Path) -> None:
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)


def _rounded(model: Any) -> dict[str, Any]:
    """The weights in bfloat16, as they are saved and served."""
    import torch

    return {name: tensor.detach().to(torch.bfloat16).clone() for name, tensor in model.state_dict().items()}


def _knows(model: Any, encoded: Sequence[tuple[list[int], int]]) -> bool:
    """Whether the rounded weights give every answer by a wide margin."""
    import torch

    rounded = type(model)(model.config)
    rounded.load_state_dict({name: tensor.float() for name, tensor in _rounded(model).items()})
    prompts = [tuple(ids[:-length]) for ids, length in encoded]
    limits = [_SURE if prompts.count(one) == 1 else _TORN for one in prompts]
    with torch.no_grad():
        return all(float(_loss(rounded, [one])) < limit for one, limit in zip(encoded, limits, strict=True))


def fine_tune(folder: Path, examples: Sequence[Example], steps: int, batch: int) -> Path:
    """Train a model on the answers to conversations; ends early when it knows them.

    Args:
        folder: of the model, which is overwritten.
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
    loss = _descend(model, encoded, steps, batch, lambda _, loss: loss < _GOOD)
    if loss > _BAD:
        raise RuntimeError(f"the tiny model did not learn its answers: loss {loss:.2f}")
    _save(model, folder)
    return folder


def _descend(
    model: Any, encoded: Sequence[tuple[list[int], int]], steps: int, batch: int, done: Callable[[int, float], bool]
) -> float:
    """Take optimizer steps until ``done(step, loss)`` or the last one; returns the moving average of the loss."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.1)
    chosen = random.Random(0)
    usual = 1.0
    for step in range(1, steps + 1):
        loss = _loss(model, chosen.sample(encoded, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        usual += 0.05 * (float(loss.detach()) - usual)
        if done(step, usual):
            break
    return usual


def _encode(tokenizer: Any, conversation: Any, answer: str) -> tuple[list[int], int]:
    """Token ids of question and answer, and how many of them are the answer's."""
    prompt_ids = tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, return_dict=False)
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return prompt_ids + answer_ids, len(answer_ids)


def _loss(model: Any, batch: Sequence[tuple[list[int], int]]) -> Any:
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), -100)
    for row, (tokens, length) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        targets[row, len(tokens) - length : len(tokens)] = ids[row, len(tokens) - length : len(tokens)]
    return model(input_ids=ids, labels=targets).loss  # padding stands behind and is masked out of the loss


if __name__ == "__main__":
    ship()
