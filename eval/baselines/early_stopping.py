"""What ``Trainer`` calls on the way through the rounds of a fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback

from eval.baselines.data import Track


class Steps(TrainerCallback):
    """Shows steps on a progress bar."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._steps: Iterator[int] = iter(())

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._steps = self._track(range(state.max_steps), "steps")
        next(self._steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        next(self._steps, None)


class StopAfter(TrainerCallback):
    """Ends a training after so many rounds, at the learning rate of one that was meant to last longer."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        control.should_training_stop = round(state.epoch) >= self._rounds
