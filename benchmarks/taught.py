"""Whether a tuned language model knows more than it was told: its answers about films that it was not taught.

No language model's weights come with the program, so the base is a tiny Qwen2 that knows words and no genre
(``tests/support/worded_qwen2.py``). What an adapter teaches it about some films must hold for others.
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

from benchmarks.measure import table
from eval.datasets import Example, load, sample
from eval.datasets.grouping import film
from eval.metrics.classification import METRICS, indicator
from prompts.text import Text
from tests.support.tiny_qwen2 import SAMPLE
from tests.support.trained_qwen2 import PROMPT
from tests.support.worded_qwen2 import GENRES, films, worded
from training.lora.config import LoraConfig
from training.lora.dataset import Form, PromptSetup
from training.lora.run import LoraPlan, metrics, train_adapter

FORM: Form = "label_tokens"
_WORDS = 64
_JUDGED = 200
_SHOWN = ("micro-F1", "macro-F1", "Jaccard")
RECIPE = LoraConfig(
    dropout=0.0, lr=2e-3, epochs=12, patience=4, batch_size=8, micro_batch=8, precision="fp32", checkpointing=False,
)  # fmt: skip
# Thousands of films need fewer rounds than ninety.
_LARGE = replace(RECIPE, epochs=5, patience=2, batch_size=16, micro_batch=16)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="TMDB's films, to learn from instead.")
@click.option("--films", "count", default=3_000, show_default=True, help="Most films to learn from.")
def main(data: Path | None, count: int) -> None:
    """Teach an adapter films of eight genres, and ask about films of the sample that it was not taught.

    Without --data, it learns from two thirds of the sample's films and is asked about a quarter of them.
    """
    training, validation, held_out = films() if data is None else _of(data, count)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        found = compare(training, validation, held_out, Path(folder), RECIPE if data is None else _LARGE)
        seconds = time.process_time() - start
    told = f"{len(training):,} films taught, {len(held_out)} others of the sample asked about, eight genres, `{FORM}`"
    click.echo(f"{told}; {seconds:.0f} s of processor time.\n")
    click.echo(table(("who", *_SHOWN), [[who, *(f"{one[name]:.3f}" for name in _SHOWN)] for who, one in found.items()]))


def compare(
    training: Sequence[Example],
    validation: Sequence[Example],
    held_out: Sequence[Example],
    folder: Path,
    recipe: LoraConfig = RECIPE,
) -> dict[str, dict[str, float]]:
    """Figures over the films held out: of the base, of the base with an adapter, and of the two commonest genres."""
    from llm.backends import causal_lm

    asking, asked = PromptSetup(GENRES, FORM, PROMPT), shortened(held_out)
    base, adapter = worded(folder / "base"), folder / "adapter"
    train_adapter(
        LoraPlan(asking, replace(recipe, base=str(base))), shortened(training), shortened(validation), adapter
    )
    counts = Counter(label for one in training for label in one.labels)
    common = GENRES.in_order([label for label, _ in counts.most_common(GENRES.max_labels)])
    pair = indicator([one.labels for one in asked], GENRES), indicator([common] * len(asked), GENRES)
    return {
        "the two commonest genres for every film": {name: float(METRICS[name](*pair)) for name in _SHOWN},
        "the base": metrics(causal_lm.load(str(base), "cpu", "float32"), asking, asked),
        "the base with its adapter": metrics(causal_lm.load(str(base), "cpu", "float32", adapter), asking, asked),
    }


def shortened(examples: Sequence[Example]) -> list[Example]:
    """The first words of each: the tiny model reads no more at once than it learns in minutes."""
    return [replace(one, text=Text(" ".join(one.text.body.split()[:_WORDS]))) for one in examples]


def _of(data: Path, count: int) -> tuple[list[Example], list[Example], list[Example]]:
    """TMDB's films of the eight genres to learn from and to stop by, none of which is in the sample; the sample's."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    own = {film(row["title"], row["year"]) for row in rows}
    others = [one for one in load(data, GENRES, drop_unknown=True).examples if one.film not in own]
    training, validation = ([one for one in others if one.split == side] for side in ("train", "validation"))
    return sample(training, count), sample(validation, _JUDGED), [one for side in films() for one in side]


if __name__ == "__main__":
    main()
