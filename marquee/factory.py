"""Builds classifiers from the settings; ``marquee/wrappers.py`` has the order of the wrappers of a language model.

What only a language model or a service needs is imported where it is built: without, the embedded classifier answers
0.2 s sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from llm.classifier import Classifier, Fingerprinting, Problem, ScoreType
from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher, matcher
from llm.embedded.tunings import with_tunings
from llm.few_shot import ExampleSelector, NearestExamples, StaticExamples, no_examples
from llm.wrappers.languages import ByLanguage
from marquee import loaded_models
from marquee.backends import backend_of
from marquee.few_shot import example_selector
from marquee.settings import Settings
from prompts import registry
from prompts.taxonomy import Taxonomy
from prompts.template import Prompt
from similarity.encoders.minilm import MiniLM, passes_of
from similarity.encoders.stored_vectors import label_encoder

if TYPE_CHECKING:
    from llm.backends.backend import Backend
    from llm.calibration.bias import BiasEstimates
    from llm.calibration.thresholds import ThresholdStore
    from llm.language_model import LanguageModel
    from llm.wrappers.admission import MicroBatched, MicroBatchedPairs
    from llm.wrappers.cache import AnswerStore
    from similarity.micro_batching import Admission

WARM_UP = ("A first text in English.", "Ein erster Text auf Deutsch, der die Modelle lädt.")


@dataclass(frozen=True)
class RequestOptions:
    """What one request may choose.

    Attributes:
        prompt: the prompt template; None takes the one that suits each text.
        strategy: name of a strategy; None takes that of the settings.
        cache: whether a cached answer may be returned.
        instructions: free text that follows the prompt's instructions.
        examples: few-shot examples in place of those of the settings.
        score_type: ``similarity``: the embedded classifier compares vectors only (``CosineClassifier``).
    """

    prompt: Prompt | None = None
    strategy: str | None = None
    cache: bool = True
    instructions: str = ""
    examples: StaticExamples | None = None
    score_type: ScoreType | None = None

    @classmethod
    def of(cls, prompt: str | Prompt | None = None, strategy: str | None = None, cache: bool = True) -> RequestOptions:
        """The options of a prompt, which may be a name, and of a strategy by name.

        Raises:
            UnknownName: no prompt or strategy has this name.
        """
        if strategy is not None:
            from llm import strategies

            strategies.named(strategy)  # a misspelt name is an error also where no language model answers
        return cls(registry.prompt(prompt) if isinstance(prompt, str) else prompt, strategy, cache)


ClassifierFor = Callable[[RequestOptions], Classifier]


@dataclass(frozen=True)
class Monitor:
    """Callbacks for metrics.

    Attributes:
        on_batch: called with the number of texts of every forward pass of the embedded classifier.
        on_reject: from the name of a queue to what is called for every request that it rejects.
    """

    on_batch: Callable[[int], object] = lambda texts: None
    on_reject: Callable[[str], Callable[[int], object]] = lambda queue: lambda requests: None


@dataclass(frozen=True)
class Classifiers:
    """The classifiers under the settings, not loaded yet.

    Attributes:
        classifier_for: the classifier for the options of a request, with all its wrappers.
        check: whether that classifier can answer now; None where all is well.
        load: loads what would make the first answer slow.
        embedded: the embedded classifier, or a trained model in its place; concurrent requests share forward passes.
        pairs: the same for pairs of a text and a taxonomy; None where the model cannot do that.
        encoder: of the embedded classifier.
        taxonomy: the default one.
        backend: the language model; None where none is set.
        examples: few-shot examples for the language model.
        gate: limit on pending requests at the language model.
    """

    classifier_for: ClassifierFor
    check: Callable[[], Problem | None]
    load: Callable[[], object]
    embedded: MicroBatched
    pairs: MicroBatchedPairs | None
    encoder: MiniLM
    taxonomy: Taxonomy
    backend: Backend | None
    examples: ExampleSelector
    gate: Admission


def create(
    settings: Settings,
    trained: Classifier | None = None,
    monitor: Monitor = Monitor(),
    examples: ExampleSelector | None = None,
    shipped: Matcher | None = None,
) -> Classifiers:
    """The classifiers that the settings name.

    Args:
        settings: which model answers, where, and within which limits.
        trained: answers instead of what the settings name; it knows the labels of its own taxonomy only.
        monitor: callbacks for metrics.
        examples: few-shot examples; None takes those of the settings, for the default taxonomy.
        shipped: the embedded classifier, to share one that is loaded; None makes one.

    Raises:
        MarqueeError: a setting names something that does not exist.
    """
    from llm.wrappers.admission import MicroBatched, MicroBatchedPairs
    from similarity.micro_batching import Admission

    if trained:
        settings = settings.model_copy(update={"classifier": "embedded"})
    taxonomy = registry.registered(settings.taxonomy)  # an unknown default is an error at the start
    encoder = shipped.encoder if shipped and isinstance(shipped.encoder, MiniLM) else MiniLM()
    model = trained or in_process(settings, encoder, shipped)
    embedded_gate, model_gate = (
        Admission(settings.max_pending, monitor.on_reject(queue)) for queue in ("embedded", "model")
    )
    passes = passes_of(encoder) if isinstance(model, Matcher | ByLanguage) else 1
    embedded = MicroBatched(model, embedded_gate, monitor.on_batch, passes)
    pairs = cosine = None
    if isinstance(model, Matcher | ByLanguage):
        pairs = MicroBatchedPairs(model.name, model.predict, embedded_gate, passes)
        cosine = MicroBatched(CosineClassifier(encoder), embedded_gate, monitor.on_batch, passes)

    backend = backend_of(settings) if settings.uses_language_model else None
    if examples is None:
        examples = example_selector(settings, encoder, taxonomy) if backend else no_examples
    return Classifiers(
        classifiers(backend, settings, embedded, examples, model_gate)
        if backend
        else without_backend(settings, embedded, cosine),
        backend.check if backend and not settings.fallback else lambda: None,
        _load_of(backend, settings, partial(embedded.classify, WARM_UP, taxonomy), taxonomy, examples),
        embedded, pairs, encoder, taxonomy, backend, examples, model_gate,
    )  # fmt: skip


def classifier_of(
    settings: Settings, options: RequestOptions = RequestOptions(), taxonomy: Taxonomy | None = None
) -> Classifier:
    """The classifier that the settings name, for a process with one caller; ``create`` shares it among many.

    ``taxonomy`` is that of the few-shot examples, by default that of the settings.

    Raises:
        MarqueeError: a setting names something that does not exist.
    """
    encoder = label_encoder() if settings.label_cache and not settings.uses_language_model else MiniLM()
    embedded = in_process(settings, encoder)
    if not settings.uses_language_model:
        compares = options.score_type == "similarity" and isinstance(embedded, Matcher | ByLanguage)
        return without_backend(settings, embedded, CosineClassifier(encoder) if compares else None)(options)
    from similarity.micro_batching import Admission

    examples = example_selector(settings, encoder, taxonomy or registry.taxonomy_at(settings.taxonomy))
    pending = Admission(settings.max_pending)
    return classifiers(backend_of(settings), settings, embedded, examples, pending)(options)


def in_process(settings: Settings, encoder: MiniLM, shipped: Matcher | None = None) -> Classifier:
    """The classifier that needs no language model: the pretrained one of the settings, else the embedded one."""
    if not settings.pretrained:
        return by_language(settings, with_tunings(shipped or matcher(encoder=encoder)))
    from llm.pretrained.classifier import pretrained

    return pretrained(settings.pretrained, settings.threshold)


def by_language(settings: Settings, english: Matcher) -> Matcher | ByLanguage:
    """The embedded classifier, with another one for other languages where the settings name an encoder for it."""
    name = settings.encoder_multilingual
    return ByLanguage(english, loaded_models.multilingual(name)) if name else english


def without_backend(settings: Settings, model: Classifier, cosine: Classifier | None = None) -> ClassifierFor:
    """From the options of a request to that classifier; the answers of a pretrained one are cached.

    ``cosine`` answers requests for similarities.
    """
    store = answer_store(settings) if settings.pretrained else None
    if store is None:
        return lambda options: cosine if cosine and options.score_type == "similarity" else model
    from llm.wrappers.cache import Cached

    cached = Cached(cast(Fingerprinting, model), store, settings.cache_shared)
    return lambda options: cached if options.cache else model


def _load_of(
    backend: Backend | None, settings: Settings, load_embedded: Callable[[], object], taxonomy: Taxonomy,
    examples: ExampleSelector,
) -> Callable[[], object]:  # fmt: skip
    if backend is None or settings.fallback or settings.cascade_margin:
        return load_embedded

    from marquee.wrappers import candidates_of

    def load() -> None:
        backend.prepare()
        if settings.fusion or candidates_of(settings, taxonomy):
            load_embedded()
        if isinstance(examples, NearestExamples):
            examples.vectors  # noqa: B018  (computed once, and kept)

    return load


def language_model(
    backend: Backend,
    settings: Settings,
    options: RequestOptions,
    thresholds: ThresholdStore,
    examples: ExampleSelector = no_examples,
    bias: BiasEstimates | None = None,
) -> LanguageModel:
    """The language model as a classifier, without wrappers; ``bias`` is kept for later requests."""
    from llm import strategies
    from llm.calibration.bias import BiasEstimates
    from llm.language_model import LanguageModel

    strategy = strategies.named(options.strategy or settings.strategy)
    shown, estimates = options.examples or examples, bias or BiasEstimates()
    return LanguageModel(backend, strategy, options.prompt, thresholds, shown, estimates, options.instructions)


def classifiers(
    backend: Backend, settings: Settings, embedded: Classifier, examples: ExampleSelector, gate: Admission
) -> ClassifierFor:
    """From the options of a request to the language model as a classifier, with all wrappers of the settings."""
    from llm import strategies
    from llm.calibration.bias import BiasEstimates
    from llm.calibration.certified import CertifiedStore, margin_of
    from llm.calibration.thresholds import ThresholdStore
    from llm.wrappers.admission import AdmissionControl
    from llm.wrappers.cache import Cached
    from llm.wrappers.fusion import FusionStore
    from marquee.wrappers import wrapped

    strategies.named(settings.strategy)  # a misspelt name is an error at the start
    store = answer_store(settings)
    thresholds = ThresholdStore(settings.thresholds_path, settings.threshold)
    bias = BiasEstimates()
    weights = FusionStore(settings.fusion_path if settings.fusion else None)
    margin = margin_of(settings.cascade_margin)

    def classifier_for(options: RequestOptions) -> Classifier:
        thresholds.refresh()
        weights.refresh()
        if isinstance(margin, CertifiedStore):
            margin.refresh()
        model = AdmissionControl(language_model(backend, settings, options, thresholds, examples, bias), gate)
        # The cache is innermost: outside the fallback it would store an outage's answers as the model's.
        classifier: Classifier = Cached(model, store, settings.cache_shared) if store and options.cache else model
        return wrapped(classifier, settings, embedded, weights, options.examples or examples, margin)

    return classifier_for


def answer_store(settings: Settings) -> AnswerStore | None:
    """The cache of answers, in SQLite; None if the settings disable it."""
    if not settings.cache:
        return None
    from llm.wrappers.cache import AnswerStore

    return AnswerStore(settings.cache_path, settings.cache_megabytes * 2**20)
