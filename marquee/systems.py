"""Systems by name: what an item of ``--systems`` and the argument of ``marquee.load_classifier`` mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.run import OpenedSystem, System
from marquee import loaded_models
from prompts.errors import InvalidSetting, UnknownName
from prompts.files import digest_of
from prompts.network import without_login

if TYPE_CHECKING:
    from llm.backends.backend import Backend
    from llm.embedded.cosine import CosineClassifier
    from llm.few_shot import StaticExamples
    from llm.spending.costs import Preview
    from llm.wrappers.languages import PairClassifier
    from marquee.factory import RequestOptions
    from marquee.settings import Settings
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

_NO_ENDPOINT: Mapping[str, Any] = {"endpoint": None}  # the model runs in this process, or results come from files


@dataclass(frozen=True)
class SystemContext:
    """The task that a system is built for.

    Attributes:
        taxonomy: the labels.
        texts: the texts to label; they determine which prompts are used.
        cache: whether a cached answer may be returned.
        texts_per_request: the value where the settings have none.
        instructions: further instructions for a language model.
        examples: few-shot examples in place of those of the settings.
        excluded: texts that are no few-shot examples, such as those of an evaluation.
    """

    taxonomy: Taxonomy
    texts: Sequence[Text]
    cache: bool = True
    texts_per_request: int = 1
    instructions: str = ""
    examples: StaticExamples | None = None
    excluded: Sequence[Text] = ()

    def settings(self, **overrides: Any) -> Settings:
        """The settings in force, with overrides."""
        from marquee.settings import read_settings

        settings = read_settings(**overrides)
        return settings.model_copy(update={"texts_per_request": settings.texts_per_request or self.texts_per_request})


def from_spec(spec: str, context: SystemContext) -> System:
    """The system of a spec.

    A spec is ``embedded[:WEIGHTS]``, ``minilm-plain``, ``llm[:STRATEGY][:PROMPT]``, ``fusion[:STRATEGY][:PROMPT]`` (a
    language model and the embedded classifier), ``hf:NAME_OR_PATH`` (a pretrained zero-shot model), ``service:URL``, or
    a trained model, ``NAME[:PATH]``.

    Raises:
        UnknownName: no system, strategy or prompt has this name.
        InvalidSetting: a spec that cannot work, or a language model where the settings have none.
    """
    name, _, rest = spec.partition(":")
    return SYSTEMS.get(name, _trained)(spec, rest, context)


def from_settings(context: SystemContext) -> System:
    """The classifier that the settings in force name, with all their wrappers around a language model."""
    settings = context.settings()
    if settings.pretrained:
        return _pretrained(settings.pretrained, "", context)
    if not settings.uses_language_model:
        return _embedded("embedded", "", context)
    around = {"fallback": settings.fallback, "cascade": settings.cascade}
    return _language_model("settings", settings, options_of("", context), context, around)


def offline(
    spec: str, context: SystemContext, backend: Callable[[str], Backend], endpoint: Mapping[str, Any] = _NO_ENDPOINT
) -> System:
    """The language model of a spec, ``llm[:STRATEGY][:PROMPT]``, with another transport; it needs no endpoint.

    Args:
        spec: the name on the command line.
        context: the task that it is built for.
        backend: builds the backend for the name of a model.
        endpoint: the entry of the manifest for the endpoint, where requests go to one.

    Raises:
        InvalidSetting: another system, or a setting that another transport does not support.
    """
    from llm.calibration.thresholds import ThresholdStore
    from llm.wrappers.combined import OrderEnsemble
    from marquee import factory
    from marquee.few_shot import example_selector
    from marquee.settings import read_settings
    from similarity.encoders.minilm import MiniLM

    name, _, rest = spec.partition(":")
    settings = read_settings(fallback=False, cascade_margin=0.0, fusion=False)
    if name != "llm" or settings.local_model or settings.max_candidate_labels:
        raise InvalidSetting(
            f"{spec!r}: requests are those of a language model behind an endpoint; give llm[:STRATEGY][:PROMPT], and "
            "unset MARQUEE_LOCAL_MODEL and MARQUEE_MAX_CANDIDATE_LABELS"
        )
    settings = settings.model_copy(update={"max_candidate_labels": 0})  # requests of all texts share their labels
    options = options_of(rest, context, spec)
    examples = example_selector(settings, MiniLM(), context.taxonomy)
    thresholds = ThresholdStore(settings.thresholds_path, settings.threshold)
    model = factory.language_model(backend(settings.model), settings, options, thresholds, examples)
    classifier = OrderEnsemble(model, settings.label_orders) if settings.label_orders > 1 else model
    identity = {"model": settings.model, **_identity(settings, options, context), **endpoint, "carried": "by others"}
    return System(spec, identity, lambda: OpenedSystem(classifier))


def _embedded(spec: str, rest: str, context: SystemContext) -> System:
    from llm.embedded.matcher import SHIPPED
    from marquee.factory import by_language

    path = Path(rest) if rest else SHIPPED
    if not path.is_file():
        raise InvalidSetting(f"{spec!r}: there is no file of weights at {path}; make one with `main.py train matcher`")
    settings, suffix = context.settings(), loaded_models.tuning_suffix(context.taxonomy, path)
    multilingual = loaded_models.multilingual_setup(settings.encoder_multilingual)
    setup = {"weights": digest_of(path), **({"tuning": suffix} if suffix else {}), **multilingual}
    return _in_process(spec, setup, by_language(settings, loaded_models.embedded(path)), context)


def _plain(spec: str, rest: str, context: SystemContext) -> System:
    from llm.embedded.cosine import CosineClassifier

    if rest:
        raise InvalidSetting(f"{spec!r}: minilm-plain takes nothing after it")
    return _in_process(spec, {}, CosineClassifier(loaded_models.encoder()), context)


def _pretrained(spec: str, rest: str, context: SystemContext) -> System:
    """A pretrained zero-shot model of Hugging Face's libraries; its name has the digest of its files."""
    from marquee.factory import WARM_UP, RequestOptions, without_backend

    settings = context.settings(classifier=spec)
    model = loaded_models.pretrained(spec, settings.threshold)

    def opened() -> OpenedSystem:
        model.classify(WARM_UP, context.taxonomy)
        classifier = without_backend(settings, model)(RequestOptions(cache=context.cache))
        return OpenedSystem(classifier, model.decode_rule(context.taxonomy))

    return System(spec, {"model": model.name, "threshold": settings.threshold}, opened)


def _in_process(
    spec: str, setup: Mapping[str, Any], classifier: PairClassifier | CosineClassifier, context: SystemContext
) -> System:
    from marquee.factory import WARM_UP

    def opened() -> OpenedSystem:
        classifier.classify(WARM_UP, context.taxonomy)
        return OpenedSystem(classifier, classifier.decode_rule)

    return System(spec, {"model": classifier.name, **setup}, opened)


def _service(spec: str, url: str, context: SystemContext) -> System:
    from marquee.client import Client

    if not url.startswith(("http://", "https://")):
        raise InvalidSetting(f"{spec!r}: write service:URL, such as service:http://127.0.0.1:5000")
    key = context.settings().key.get_secret_value()
    return System(without_login(spec), {}, lambda: OpenedSystem(Client(url, context.cache, key=key)))


def _llm(spec: str, rest: str, context: SystemContext) -> System:
    # A fallback or a cascade would mix in another model's answers.
    settings = context.settings(fallback=False, cascade_margin=0.0, fusion=spec.partition(":")[0] == "fusion")
    if not settings.uses_language_model:
        raise InvalidSetting(f"{spec!r}: no language model is set; set OPENAI_BASE_URL or OPENAI_API_KEY")
    return _language_model(spec, settings, options_of(rest, context, spec), context, {})


def options_of(rest: str, context: SystemContext, spec: str = "") -> RequestOptions:
    """Strategy and prompt (a name or a path), in any order. ``auto`` is the prompt; as a strategy it is the default."""
    from llm.strategies import STRATEGIES
    from marquee.factory import RequestOptions
    from prompts import registry

    words = [word for word in rest.split(":") if word]
    strategies = [word for word in words if word in STRATEGIES]
    prompts = [word for word in words if word not in STRATEGIES]
    if len(strategies) > 1 or len(prompts) > 1:
        raise InvalidSetting(f"{spec!r}: give one strategy and one prompt at most")
    known = {name for prompt in registry.prompts().values() for name in (prompt.name, prompt.kind)}
    if unknown := next((word for word in prompts if word not in known and not word.endswith(".jinja")), None):
        raise UnknownName("strategy or prompt", unknown, [*STRATEGIES, *known])
    return RequestOptions(
        registry.prompt_at(prompts[0]) if prompts else None, strategies[0] if strategies else None, context.cache,
        context.instructions, context.examples,
    )  # fmt: skip


def _language_model(
    spec: str, settings: Settings, options: RequestOptions, context: SystemContext, around: Mapping[str, Any]
) -> System:
    from llm.calibration.thresholds import ThresholdStore
    from llm.few_shot import examples_kind
    from llm.wrappers.fusion import FusionStore
    from marquee import factory
    from marquee.backends import backend_of
    from marquee.estimates import estimate
    from marquee.few_shot import example_selector

    examples = example_selector(settings, loaded_models.encoder(), context.taxonomy, context.excluded)
    models = factory.create(settings, examples=examples, shipped=(embedded := loaded_models.embedded()))
    thresholds = ThresholdStore(settings.thresholds_path, settings.threshold)
    bare_model = factory.language_model(backend_of(settings), settings, options, thresholds, examples)
    weights, suffix = FusionStore(settings.fusion_path), loaded_models.tuning_suffix(context.taxonomy)

    def rule(text: Text, taxonomy: Taxonomy) -> str:
        if not settings.fusion:
            return bare_model.decode_rule(text, taxonomy)
        shown = examples_kind(bare_model.examples, taxonomy)
        key = weights.key(bare_model.source(text, taxonomy), embedded.name + suffix, shown)
        return weights.rule(key, taxonomy)

    def opened() -> OpenedSystem:
        if problem := models.check():
            raise InvalidSetting(f"{spec!r} cannot answer: {problem.detail}")
        models.load()
        rules = {rule(text, context.taxonomy) for text in context.texts}
        return OpenedSystem(models.classifier_for(options), "; ".join(sorted(rules)))

    def previewed(texts: Sequence[Text]) -> Preview:
        return estimate(bare_model, settings, models.embedded, texts, context.taxonomy)

    identity = {**_requested(settings), **_identity(settings, options, context), **around}
    identity |= {"fusion": embedded.name} if settings.fusion else {}
    if suffix and (settings.fusion or any(around.values()) or identity["candidates"]):
        identity |= {"tuning": suffix}
    return System(spec, identity, opened, previewed)


def _requested(settings: Settings) -> Mapping[str, Any]:
    """Model and endpoint. Without a model in the settings, the list of the endpoint determines it."""
    from marquee.backends import endpoint_settings

    if settings.local_model:
        return {"model": settings.local_model, **_NO_ENDPOINT}
    named = {"model": settings.model} if "model" in settings.model_fields_set else {}
    return {**named, **endpoint_settings(settings).adapter().fingerprint_parts}


def _identity(settings: Settings, options: RequestOptions, context: SystemContext) -> Mapping[str, Any]:
    from llm.backends.lora_adapter import load_adapter
    from marquee.wrappers import candidates_of
    from prompts.hierarchy import Hierarchy
    from prompts.registry import prompt_for

    prompts = {options.prompt} if options.prompt else {prompt_for(text, context.taxonomy) for text in context.texts}
    return {
        **({"adapter": load_adapter(Path(settings.adapter)).digest} if settings.adapter else {}),
        "strategy": options.strategy or settings.strategy,
        "prompts": sorted(prompt.versioned_name for prompt in prompts),
        "decoding": {"temperature": 0},
        "orders": settings.label_orders,
        "candidates": candidates_of(settings, context.taxonomy),
        **({"beam": settings.hierarchy_beam} if isinstance(context.taxonomy, Hierarchy) else {}),
        "examples": digest_of(settings.examples_path) if settings.examples_path else None,
        "examples_nearest": settings.examples_nearest,
        **loaded_models.multilingual_setup(settings.encoder_multilingual),
    }


def _trained(spec: str, rest: str, context: SystemContext) -> System:
    from marquee.trained_systems import trained_system

    return trained_system(spec, rest, context.taxonomy, SYSTEMS)


# first part of a spec -> function that builds the system; any other first part names a trained model
SYSTEMS: Mapping[str, Callable[[str, str, SystemContext], System]] = {
    "embedded": _embedded,
    "fusion": _llm,
    "hf": _pretrained,
    "llm": _llm,
    "minilm-plain": _plain,
    "service": _service,
}
