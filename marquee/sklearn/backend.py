"""Which classifier the parameters of an estimator mean: words, so that they can be copied, sent and searched over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from llm.backends.adapting import REASONING_TOKENS
from llm.backends.address import BadAddress, corrected
from llm.backends.capabilities import CapabilityProbe
from llm.backends.endpoint_settings import EndpointSettings
from llm.backends.extra_body import extra_fields
from llm.backends.openai_compatible import OpenAICompatible
from llm.classifier import Classifier
from llm.embedded.matcher import Matcher, matcher
from llm.few_shot import NearestExamples, Shots, StaticExamples
from llm.language_model import LanguageModel
from llm.strategies import registry as strategies
from llm.wrappers.cache import AnswerStore, Cached
from prompts import registry
from prompts.answer_format import FewShotExample
from prompts.errors import InvalidSetting
from prompts.network import without_login

_EXTRA_BODY, _REASONING_TOKENS = "MARQUEE_EXTRA_BODY", "MARQUEE_REASONING_TOKENS"


@dataclass(frozen=True)
class BackendSpec:
    """Who is asked, and how; each part as ``MarqueeClassifier`` has it.

    Attributes:
        classifier: who answers; None: the endpoint where one is set, else the embedded classifier.
        endpoint: root of an OpenAI-compatible endpoint.
        model: name under which the endpoint serves its model.
        key_variable: name of the environment variable that holds the endpoint's key.
        strategy: how a language model is read.
        prompt: which prompt it is given.
        cache: SQLite file that remembers its answers.
    """

    classifier: Classifier | None = None
    endpoint: str | None = None
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    strategy: str | None = None
    prompt: str | None = None
    cache: str | None = None

    @property
    def asks_a_model(self) -> bool:
        """Whether a language model answers, which takes prompts, strategies and examples."""
        return self.endpoint is not None or isinstance(self.classifier, LanguageModel)

    def opened(self, shots: Shots | None = None) -> Classifier:
        """The classifier.

        Args:
            shots: what to show a language model before each text.

        Raises:
            InvalidSetting: parts that do not go together.
            UnknownName: there is no such strategy or prompt.
        """
        if not self.asks_a_model:
            return self._plain(shots)
        model = self._model()
        if self.strategy is not None:
            model = replace(model, strategy=strategies.named(self.strategy))
        if self.prompt is not None:
            model = replace(model, prompt=registry.prompt(self.prompt))
        if shots is not None:
            model = replace(model, shots=shots)
        return Cached(model, _store(self.cache)) if self.cache else model

    def _plain(self, shots: Shots | None) -> Classifier:
        given = {"strategy": self.strategy, "prompt": self.prompt, "model": self.model, "cache": self.cache}
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
        return LanguageModel(_backend(_settings(self.endpoint, self.key_variable), self.model))


def _settings(endpoint: str, key_variable: str) -> EndpointSettings:
    """How an endpoint is reached: by the variables of the program, but files only where one is named.

    Raises:
        InvalidSetting: the endpoint is no URL, or a variable has no sensible value.
    """
    given = os.environ
    try:
        url, _ = corrected(endpoint)
    except BadAddress as error:
        raise InvalidSetting(f"endpoint {without_login(endpoint)!r} {error}") from None
    try:
        extra_fields(given.get(_EXTRA_BODY, ""))
    except ValueError as error:
        raise InvalidSetting(f"{_EXTRA_BODY} {error}") from None
    findings = given.get("MARQUEE_PROBE_PATH")
    return EndpointSettings(
        url,
        given.get(key_variable, ""),
        given.get(_EXTRA_BODY, ""),
        _reasoning_tokens(given.get(_REASONING_TOKENS)),
        Path(findings) if findings else None,
    )


def _reasoning_tokens(words: str | None) -> int:
    if not words:
        return REASONING_TOKENS
    if not words.isdecimal():
        raise InvalidSetting(f"{_REASONING_TOKENS} {words!r} should be a number of tokens")
    return int(words)


def shown(shots: Sequence[FewShotExample], vocabulary: str, nearest: int) -> Shots | None:
    """What a language model is shown before each text.

    Args:
        shots: the examples; none show nothing.
        vocabulary: name of the taxonomy that they are labelled in.
        nearest: show so many of them, the nearest to each text by MiniLM; 0 shows all.
    """
    if not shots:
        return None
    return _nearest(tuple(shots), vocabulary, nearest) if nearest else StaticExamples(tuple(shots), vocabulary)


# Shared by all estimators of a process: a search makes hundreds of them, and each would load its own.
@cache
def _embedded() -> Matcher:
    return matcher()


@cache
def _backend(settings: EndpointSettings, model: str) -> OpenAICompatible:
    transport = settings.transport()
    return OpenAICompatible(transport, model, CapabilityProbe(transport, model, settings.findings))


@cache
def _store(path: str) -> AnswerStore:
    return AnswerStore(Path(path))


@lru_cache(maxsize=16)
def _nearest(shots: tuple[FewShotExample, ...], vocabulary: str, number: int) -> NearestExamples:
    return NearestExamples(_embedded().encoder, shots, vocabulary, number)
