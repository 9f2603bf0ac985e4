"""Which classifier the parameters of an estimator mean: words, so that they can be copied, sent and searched over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from llm.cache import AnswerStore, Cached
from llm.classifier import Classifier
from llm.engines.openai_compatible import OpenAICompatible
from llm.engines.probe import Probed
from llm.engines.wire import Wire
from llm.language_model import LanguageModel
from llm.matcher import Matcher, matcher
from llm.readings import choice as readings
from llm.shots import FixedShots, NearestShots, Shots
from prompts import shelf
from prompts.errors import InvalidSetting
from prompts.question import Shot

_TIMEOUT, _RETRIES, _CONCURRENCY = 30.0, 2, 64


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how; each part as ``MarqueeClassifier`` has it.

    Attributes:
        classifier: who answers; None: the endpoint where one is set, else the embedded classifier.
        endpoint: root of an OpenAI-compatible endpoint.
        model: name under which the endpoint serves its model.
        key_variable: name of the environment variable that holds the endpoint's key.
        reading: how a language model is read.
        prompt: which prompt it is given.
        cache: SQLite file that remembers its answers.
    """

    classifier: Classifier | None = None
    endpoint: str | None = None
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    reading: str | None = None
    prompt: str | None = None
    cache: str | None = None

    @property
    def asks_a_model(self) -> bool:
        """Whether a language model answers, which takes prompts, readings and examples."""
        return self.endpoint is not None or isinstance(self.classifier, LanguageModel)

    def opened(self, shots: Shots | None = None) -> Classifier:
        """The classifier.

        Args:
            shots: what to show a language model before each text.

        Raises:
            InvalidSetting: parts that do not go together.
            UnknownName: there is no such reading or prompt.
        """
        if not self.asks_a_model:
            return self._plain(shots)
        model = self._model()
        if self.reading is not None:
            model = replace(model, reading=readings.named(self.reading))
        if self.prompt is not None:
            model = replace(model, prompt=shelf.prompt(self.prompt))
        if shots is not None:
            model = replace(model, shots=shots)
        return Cached(model, _store(self.cache)) if self.cache else model

    def _plain(self, shots: Shots | None) -> Classifier:
        given = {"reading": self.reading, "prompt": self.prompt, "model": self.model, "cache": self.cache}
        named = [name for name, value in (*given.items(), ("shots", shots)) if value is not None]
        if named:
            raise InvalidSetting(
                f"{' and '.join(named)} are for a language model, and none is asked: set endpoint, or classifier to a "
                "LanguageModel"
            )
        return self.classifier or _embedded()

    def _model(self) -> LanguageModel:
        if self.endpoint is None:
            assert isinstance(self.classifier, LanguageModel)
            return self.classifier
        if self.classifier is not None:
            raise InvalidSetting("give either classifier or endpoint, not both")
        if not self.model:
            raise InvalidSetting("endpoint needs model: the name under which it serves its model")
        return LanguageModel(_engine(self.endpoint, self.model, self.key_variable))


def shown(shots: Sequence[Shot], vocabulary: str, nearest: int) -> Shots | None:
    """What a language model is shown before each text.

    Args:
        shots: the examples; none show nothing.
        vocabulary: name of the vocabulary that they are labelled in.
        nearest: show so many of them, the nearest to each text by MiniLM; 0 shows all.
    """
    if not shots:
        return None
    return _nearest(tuple(shots), vocabulary, nearest) if nearest else FixedShots(tuple(shots), vocabulary)


# Shared by all estimators of a process: a search makes hundreds of them, and each would load its own.
@cache
def _embedded() -> Matcher:
    return matcher()


@cache
def _engine(endpoint: str, model: str, key_variable: str) -> OpenAICompatible:
    wire = Wire(endpoint, os.environ.get(key_variable, ""), _TIMEOUT, _RETRIES, _CONCURRENCY)
    return OpenAICompatible(wire, model, Probed(wire, model))


@cache
def _store(path: str) -> AnswerStore:
    return AnswerStore(Path(path))


@lru_cache(maxsize=16)
def _nearest(shots: tuple[Shot, ...], vocabulary: str, number: int) -> NearestShots:
    return NearestShots(_embedded().encoder, shots, vocabulary, number)
