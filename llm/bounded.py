"""A bound on the requests before a classifier: one too many is turned away at once, and told when to come again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from llm.classifier import Fingerprinting, Prediction, Problem, Source, label_source
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_RETRY_SECONDS = 1.0


class Gate:
    """Counts requests, waiting or being answered.

    Args:
        most: so many are let in; a backlog that grows helps nobody, since whoever waits longest has gone.
        told: is given +1 and -1 as requests come and go.
    """

    def __init__(self, most: int, told: Callable[[int], object] = lambda change: None) -> None:
        self._most, self._told = most, told
        self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place for the length of the block; False where there is none."""
        admitted = self._enter()
        try:
            yield admitted
        finally:
            if admitted:
                self._leave()

    def turned_away(self, count: int, name: str, taxonomy: Taxonomy) -> list[Prediction]:
        """The answers to a request that found no place."""
        full = Problem("busy", f"{self._most} requests are waiting already; try again", _RETRY_SECONDS)
        return [Prediction((), Source(name, label_source(taxonomy)), problem=full)] * count

    def _enter(self) -> bool:
        with self._lock:
            if self._inside >= self._most:
                return False
            self._inside += 1
        self._told(1)
        return True

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
        self._told(-1)


@dataclass(frozen=True)
class Bounded:
    """A classifier behind a gate.

    Attributes:
        inner: who answers.
        gate: shared by all classifiers that ask the same model.
    """

    inner: Fingerprinting
    gate: Gate

    @property
    def name(self) -> str:
        """The inner classifier's name."""
        return self.inner.name

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """See ``Fingerprinting.fingerprint``."""
        return self.inner.fingerprint(text, taxonomy)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; where the gate is shut, every text is told to come again."""
        if not texts:
            return []
        with self.gate.place() as admitted:
            if not admitted:
                return self.gate.turned_away(len(texts), self.name, taxonomy)
            return self.inner.classify(texts, taxonomy)
