"""Makes the weights of the matcher: texts in, one file out, and beside it a manifest of how it came about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from eval.datasets import Example
from eval.manifest import commit, libraries
from llm.embedded.weights import load, save
from prompts.installation import SAMPLE
from similarity.encoders.minilm import MiniLM, tokenizer
from training.matcher.checkpoint import Checkpoints
from training.matcher.dataset import items
from training.matcher.label_phrasings import concepts, held_out
from training.matcher.train import MatcherSchedule, OnProgress, learn
from training.matcher.word_features import with_words
from training.matcher.zero_shot_calibration import general, with_far

RANK = 64  # of the weights' changes: 5 MB of factors; what a lower one would lose has not been measured


def teach(
    films: Sequence[Example],
    reviews: Sequence[Example],
    out: Path,
    recipe: MatcherSchedule,
    command: str,
    on_progress: OnProgress,
) -> None:
    """Train the matcher and write ``out`` (weights) and its manifest (``.json`` in place of ``.safetensors``).

    An interrupted run is resumed by the same call, from ``.stages`` in that place.

    Args:
        films: of all splits, since sub-genres are held out by how common they are; only ``train`` is learnt from, and
            ``validation`` tells how much words count.
        reviews: likewise.
        out: file of the weights, ``NAME.safetensors``.
        recipe: how long and how fast.
        command: by which it was made.
        on_progress: called after every step.
    """
    left_out = held_out([film.extra for film in films])
    chosen = concepts(left_out)
    training = [example for example in (*films, *reviews) if example.split == "train"]
    validation = [film for film in films if film.split == "validation"]
    encoder, given = MiniLM(), items(training, chosen, tokenizer())
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = Checkpoints(out.with_suffix(".stages"))
    save(learn(given, chosen, encoder, out.stem, recipe, kept, on_progress), out, RANK)
    # What follows is fitted to the weights as they come back: what their ranks have lost is lost in use too.
    far = with_far(load(out), encoder, general(SAMPLE, "validation"))
    save(with_words(far, given, validation, chosen, encoder), out, RANK)
    told_of = {
        "command": command,
        "recipe": asdict(recipe),
        "texts": {"films": _taught(films), "reviews": _taught(reviews)},
        "labels": [concept.name for concept in chosen],
        "held_out": list(left_out),
        "rank": RANK,
        "git": commit(),
        "libraries": libraries(),
    }
    out.with_suffix(".json").write_text(json.dumps(told_of, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    kept.forget()


def _taught(examples: Sequence[Example]) -> int:
    return sum(example.split == "train" for example in examples)
