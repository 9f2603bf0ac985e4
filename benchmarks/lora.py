"""Generalization of LoRA training: answers of a trained adapter about films outside its training data.

The program ships no language model, so the base is a tiny Qwen2 with trained word embeddings and no knowledge of genres
(``tests/support/worded_qwen2.py``).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.measure import COMMAND, cpu_path, table
from eval.datasets import Example, load, sample
from eval.datasets.split import film
from eval.metrics import METRICS, indicator
from prompts.text import Text
from tests.support.tiny_qwen2 import SAMPLE
from tests.support.trained_qwen2 import PROMPT
from tests.support.worded_qwen2 import GENRES, films, worded
from training.lora.config import Form, LoraConfig, PromptSetup
from training.lora.run import LoraPlan, metrics, train_adapter

FORM: Form = "label_tokens"
_WORDS = 64
_VALIDATION = 200
_METRICS = ("micro-F1", "macro-F1", "Jaccard")
RECIPE = LoraConfig(
    dropout=0.0, lr=2e-3, epochs=12, patience=4, batch_size=8, micro_batch=8, precision="fp32", checkpointing=False,
)  # fmt: skip
# Thousands of films need fewer epochs than ninety.
_LARGE = replace(RECIPE, epochs=5, patience=2, batch_size=16, micro_batch=16)


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="TMDB's films as training data.")
@click.option("--films", "count", default=3_000, show_default=True, help="Maximum films of the training data.")
def main(data: Path | None, count: int) -> None:
    """Train an adapter on films of eight genres, and evaluate it on sample films outside the training data.

    Without --data, two thirds of the sample's films are training data and a quarter are test data.
    """
    training, validation, test = films() if data is None else _of(data, count)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        results = compare(training, validation, test, Path(folder), RECIPE if data is None else _LARGE)
        seconds = time.process_time() - start
    click.echo(f"{len(training):,} training films, {len(test)} test films of the sample, eight genres, `{FORM}`.")
    click.echo(f"{seconds:.0f} s of CPU time. {cpu_path()}\n")
    rows = [[name, *(f"{values[metric]:.3f}" for metric in _METRICS)] for name, values in results.items()]
    click.echo(table(("model", *_METRICS), rows))


def compare(
    training: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    folder: Path,
    recipe: LoraConfig = RECIPE,
) -> dict[str, dict[str, float]]:
    """Return the test metrics of the base, of the base with an adapter, and of the two most frequent genres."""
    from llm.backends.causal_lm_loading import load

    setup, examples = PromptSetup(GENRES, FORM, PROMPT), shortened(test)
    base, adapter = worded(folder / "base"), folder / "adapter"
    train_adapter(LoraPlan(setup, replace(recipe, base=str(base))), shortened(training), shortened(validation), adapter)
    counts = Counter(label for one in training for label in one.labels)
    common = GENRES.in_order([label for label, _ in counts.most_common(GENRES.max_labels)])
    pair = indicator([one.labels for one in examples], GENRES), indicator([common] * len(examples), GENRES)
    return {
        "the two most frequent genres for every film": {name: float(METRICS[name](*pair)) for name in _METRICS},
        "the base": metrics(load(str(base), "cpu", "float32"), setup, examples),
        "the base with its adapter": metrics(load(str(base), "cpu", "float32", adapter), setup, examples),
    }


def shortened(examples: Sequence[Example]) -> list[Example]:
    """Return the first words of each, so that training takes minutes."""
    return [replace(one, text=Text(" ".join(one.text.body.split()[:_WORDS]))) for one in examples]


def _of(data: Path, count: int) -> tuple[list[Example], list[Example], list[Example]]:
    """Return TMDB's training and validation films of the eight genres without those of the sample, and the sample."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    own = {film(row["title"], row["year"]) for row in rows}
    others = [one for one in load(data, GENRES, drop_unknown=True).examples if one.film not in own]
    training, validation = ([one for one in others if one.split == side] for side in ("train", "validation"))
    return sample(training, count), sample(validation, _VALIDATION), [one for side in films() for one in side]


if __name__ == "__main__":
    main()
