"""The classifier that the parameters of an estimator name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from pydantic import SecretStr

from llm import strategies
from llm.backends.capabilities import CapabilityProbe
from llm.backends.endpoint import BadAddress, correct_base_url
from llm.backends.openai_compatible import EndpointSettings, OpenAICompatible
from llm.classifier import Classifier, Prediction
from llm.embedded.matcher import Matcher, matcher
from llm.few_shot import ExampleSelector, NearestExamples, StaticExamples
from llm.language_model import LanguageModel
from llm.wrappers.cache import AnswerStore, Cached
from marquee.backends import endpoint_settings
from marquee.settings import read_settings
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.installation import naming_extras
from prompts.network import without_login
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text


@dataclass(frozen=True)
class BackendSpec:
    """A classifier by the parameters of ``MarqueeClassifier``, which describes them."""

    classifier: Classifier | None = None
    base_url: str | None = None
    model: str | None = None
    api_key: SecretStr | None = None
    strategy: str | None = None
    prompt: str | None = None
    cache: str | None = None

    @property
    def uses_language_model(self) -> bool:
        """Whether it is a language model, which takes a prompt, a strategy and examples."""
        return self.base_url is not None or isinstance(self.classifier, LanguageModel)

    @naming_extras("marquee.MarqueeClassifier")
    def classify(
        self, texts: Sequence[Text], taxonomy: Taxonomy, examples: ExampleSelector | None = None
    ) -> list[Prediction]:
        """A prediction per text; raises as ``opened`` does, and ``MissingExtra`` where a library is missing."""
        return self.opened(examples).classify(texts, taxonomy)

    def opened(self, examples: ExampleSelector | None = None) -> Classifier:
        """The classifier.

        Args:
            examples: few-shot examples of a language model.

        Raises:
            InvalidSetting: parameters that do not go together.
            UnknownName: no strategy or prompt has this name.
        """
        if not self.uses_language_model:
            return self._plain(examples)
        model = self._model()
        if self.strategy is not None:
            model = replace(model, strategy=strategies.named(self.strategy))
        if self.prompt is not None:
            model = replace(model, prompt=registry.prompt(self.prompt))
        if examples is not None:
            model = replace(model, examples=examples)
        return Cached(model, _store(self.cache)) if self.cache else model

    def _plain(self, examples: ExampleSelector | None) -> Classifier:
        own = {"strategy": self.strategy, "prompt": self.prompt, "model": self.model, "cache": self.cache}
        named = [name for name, value in (*own.items(), ("few_shot", examples)) if value is not None]
        if named:
            raise InvalidSetting(
                f"{' and '.join(named)} need a language model, and there is none: set base_url, or classifier to a "
                "LanguageModel"
            )
        return self.classifier or _embedded()

    def _model(self) -> LanguageModel:
        if self.base_url is None:
            assert isinstance(self.classifier, LanguageModel)
            return self.classifier
        if self.classifier is not None:
            raise InvalidSetting("classifier and base_url are both set; set one of them")
        if not self.model:
            raise InvalidSetting("base_url needs model: the name under which the endpoint serves its model")
        return LanguageModel(_backend(_endpoint(self.base_url, self.api_key), self.model))


def _endpoint(base_url: str, api_key: SecretStr | None) -> EndpointSettings:
    """How to reach an endpoint, with the other settings of the program.

    Findings about the endpoint are kept in a file only where ``MARQUEE_PROBE_PATH`` names one.

    Raises:
        InvalidSetting: the address is not a URL, or a setting has an invalid value.
    """
    try:
        url, _ = correct_base_url(base_url)
    except BadAddress as error:
        raise InvalidSetting(f"base_url {without_login(base_url)!r} {error}") from None
    settings = read_settings(openai_base_url=url, openai_api_key=api_key)
    endpoint = endpoint_settings(settings)
    return endpoint if "probe_path" in settings.model_fields_set else replace(endpoint, findings=None)


def few_shot_examples(examples: Sequence[FewShotExample], taxonomy: str, nearest: int) -> ExampleSelector | None:
    """Few-shot examples as a language model takes them; None where there are none.

    Args:
        examples: labelled texts.
        taxonomy: name of the taxonomy of their labels.
        nearest: number of examples per text, the nearest by MiniLM; 0: all of them for every text.
    """
    if not examples:
        return None
    return _nearest(tuple(examples), taxonomy, nearest) if nearest else StaticExamples(tuple(examples), taxonomy)


# Shared by all estimators of a process: a search makes hundreds of them.
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
def _nearest(examples: tuple[FewShotExample, ...], taxonomy: str, number: int) -> NearestExamples:
    return NearestExamples(_embedded().encoder, examples, taxonomy, number)
