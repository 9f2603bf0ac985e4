"""A language model as a classifier: prompt, engine and reading put together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from llm.classifier import Prediction, Problem, Source, label_source
from llm.engines.engine import Engine, EngineFailure
from llm.readings.list import ListReading
from prompts.shelf import prompt_for
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from prompts.text import Text


@dataclass(frozen=True)
class LanguageModel:
    """Asks an engine about each text.

    Attributes:
        engine: the model.
        reading: how its words become labels.
        pool: runs the requests; its size bounds how many are under way at once, over all callers.
        prompt: the prompt to use; None chooses per text by what it is (``prompts.shelf.prompt_for``).
    """

    engine: Engine
    reading: ListReading
    pool: Executor
    prompt: Prompt | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.engine.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; labels come in vocabulary order, without scores."""
        waiting = [self.pool.submit(self._classify_one, Text.of(text), taxonomy) for text in texts]
        return [one.result() for one in waiting]

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """Digest of model, messages (prompt and text in them), vocabulary, reading, constraint and decoding."""
        constraint = self.reading.constraint(taxonomy)
        everything = [
            self.engine.name,
            self._prompt(text, taxonomy).render(text, taxonomy),
            taxonomy.digest,
            self.reading.name,
            [constraint.schema, constraint.max_tokens],
            dict(self.engine.decoding),
        ]
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()

    def _classify_one(self, text: Text, taxonomy: Taxonomy) -> Prediction:
        prompt = self._prompt(text, taxonomy)
        source = Source(self.name, label_source(taxonomy), f"{prompt.name}@{prompt.digest}", self.reading.name)
        if text.empty:
            return Prediction((), source, problem=Problem("empty", "there is no text to label"))
        try:
            answer, usage = self.reading.ask(self.engine, prompt.render(text, taxonomy), taxonomy)
        except EngineFailure as failure:
            return Prediction((), source, problem=failure.problem)
        return Prediction(answer.labels, source, problem=answer.problem, dropped=answer.dropped, usage=usage)

    def _prompt(self, text: Text, taxonomy: Taxonomy) -> Prompt:
        return self.prompt or prompt_for(text, taxonomy)
