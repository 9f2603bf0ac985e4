"""Label lists of texts with a classifier that is loaded by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.classifier import Classifier, Prediction, ScoreType
from marquee.prediction_sets import with_sets
from marquee.settings import read_settings, settings_variables, use_own_folders
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from prompts.hierarchy import cut
from prompts.installation import naming_extras
from prompts.taxonomy import AllowNone, Label, Taxonomy
from prompts.text import Text, checked_texts

if TYPE_CHECKING:
    from llm.few_shot import StaticExamples
    from llm.spending.costs import Preview
    from prompts.template import FewShotExample, Prompt

    Examples = Iterable[FewShotExample | Mapping[str, Any] | Sequence[Any]]

Labels = Iterable[str | Label] | Mapping[str, Any]
TaxonomyLike = str | Path | Taxonomy | Labels


def load_taxonomy(taxonomy: TaxonomyLike | None = None) -> Taxonomy:
    """Return a taxonomy.

    Args:
        taxonomy: a registered name such as ``"tmdb"``, a path to a YAML file, a ``Taxonomy``, a list of label names,
            a dict from label names to descriptions, or nested dicts and lists (``Hierarchy.of``). None: the default
            of the settings (``MARQUEE_TAXONOMY``).

    Raises:
        UnknownName: no taxonomy has this name.
        InvalidTaxonomy: the file or the labels break a rule.
    """
    use_own_folders()
    return registry.taxonomy_from(read_settings().taxonomy if taxonomy is None else taxonomy)


def load_prompt(prompt: str | Path) -> Prompt:
    """Return the prompt of a language model; its ``render(text, taxonomy)`` returns the chat messages of a text.

    Args:
        prompt: a registered name such as ``"plot.v1"``, a kind such as ``"plot"``, or the path of a template,
            ``KIND.vN.jinja``.

    Raises:
        UnknownName: no prompt has this name.
        InvalidPrompt: the template breaks a rule.
    """
    use_own_folders()
    return registry.prompt_at(str(prompt))


@naming_extras("marquee.load_classifier")
def load_classifier(system: str | None = None, taxonomy: TaxonomyLike | None = None) -> Classifier:
    """Load a classifier; the same names work in ``main.py evaluate --systems``.

    Args:
        system: ``"embedded"``, ``"llm[:STRATEGY][:PROMPT]"``, ``"fusion[:STRATEGY][:PROMPT]"`` (both together),
            ``"hf:NAME_OR_PATH"`` (a pretrained zero-shot model), ``"service:URL"`` or a trained model
            ``"NAME[:PATH]"``. None: the classifier that the settings name.
        taxonomy: the taxonomy of the first texts. A trained model without PATH is looked up for this taxonomy.

    Returns:
        An object with ``classify(texts, taxonomy)``. It is ready: models are loaded, and an endpoint has answered.

    Raises:
        UnknownName: no system, strategy or prompt has this name.
        InvalidSetting: the settings do not work, such as a missing or unreachable endpoint.
    """
    return _loaded(system, taxonomy)


def _loaded(
    system: str | None, taxonomy: TaxonomyLike | None, instructions: str = "", examples: StaticExamples | None = None
) -> Classifier:
    from marquee import systems  # it imports the evaluation, which `main.py classify` needs not

    context = systems.SystemContext(load_taxonomy(taxonomy), (), instructions=instructions, examples=examples)
    found = systems.from_settings(context) if system is None else systems.from_spec(system, context)
    return found.open().classifier


@naming_extras("marquee.classify")
def classify(
    texts: Sequence[str | Text],
    labels: Labels | Taxonomy | None = None,
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    multi: bool | None = None,
    max_labels: int | None = None,
    allow_none: AllowNone | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
    attribute: str | None = None,
    explain: bool = False,
    threshold: float | None = None,
    top_k: int | None = None,
    score_type: ScoreType | None = None,
    instructions: str | None = None,
    examples: Examples | None = None,
    classifier: str | Classifier | None = None,
) -> list[Prediction]:
    """Label texts. A classifier that is given by name is loaded once per process.

    An option without effect, such as ``instructions`` for the embedded classifier, is a ``UserWarning``.

    Args:
        texts: strings or ``Text`` objects: a list, an array or a pandas Series. A missing value is an empty text.
        labels: label names, a dict from names to descriptions, a ``Taxonomy``, or, for a hierarchy, a dict whose values
            are lists or dicts of the labels below.
        taxonomy: a registered name, a path to a YAML file, or a ``Taxonomy``; instead of ``labels``. Without either:
            the default of the settings.
        multi: whether a text may have several labels. Default: the taxonomy decides; one for ``labels``, unless
            ``max_labels`` is above 1.
        max_labels: maximum number of labels of one text.
        allow_none: whether "none of them" is an answer; see ``Taxonomy.of`` for the default of ``labels``.
        level: of a hierarchy: answer with labels of this level (1: the top) instead of the leaves.
        leaves_only: of a hierarchy: False: an answer may be an inner label, where none of its children fits.
        attribute: what the labels say about a text, such as ``"topic"``; prompts of a language model name it.
        explain: whether predictions have ``evidence``, the passages that support their labels.
        threshold: minimum score of a label. No label may reach it, unless ``allow_none`` is False.
        top_k: maximum number of labels and of scores, the best ones.
        score_type: ``"probability"``, ``"share"`` or ``"similarity"`` (the embedded classifier compares vectors).
        instructions: further instructions for a language model.
        examples: few-shot examples for a language model: ``(text, labels)`` or ``(text, labels, explanation)``.
        classifier: a system name as in ``load_classifier``, or a loaded classifier.

    Returns:
        One ``Prediction`` per text, in the order of ``texts``. A text that fails has a ``problem`` and no labels.

    Raises:
        InvalidTexts: ``texts`` is a single string.
        InvalidTaxonomy, UnknownName, InvalidSetting: as in ``load_taxonomy`` and ``load_classifier``.
    """
    chosen = taxonomy_of(labels, taxonomy, multi, max_labels, allow_none, level, leaves_only, attribute)
    answer = threshold, top_k, score_type, instructions, examples
    return predict(texts, chosen, classifier, allow_none, explain, *answer)


def predict(
    texts: Sequence[str | Text],
    taxonomy: Taxonomy,
    classifier: str | Classifier | None,
    allow_none: AllowNone | None = None,
    explain: bool = False,
    threshold: float | None = None,
    top_k: int | None = None,
    score_type: ScoreType | None = None,
    instructions: str | None = None,
    examples: Examples | None = None,
) -> list[Prediction]:
    """See ``classify``."""
    if not explain and (threshold, top_k, score_type, instructions, examples) == (None, None, None, None, None):
        model = opened(classifier, taxonomy)
        return with_sets(model.classify(checked_texts(texts), taxonomy), model)
    from marquee.answer_options import AnswerOptions, classify_with_warnings

    answer = AnswerOptions(threshold, top_k, score_type, allow_none is False, explain=explain)
    found = partial(opened, classifier, taxonomy)
    return classify_with_warnings(found, checked_texts(texts), taxonomy, answer, instructions or "", examples or ())


@naming_extras("marquee.classify_pairs")
def classify_pairs(
    pairs: Iterable[tuple[str | Text, TaxonomyLike]], *, classifier: str | Classifier | None = None
) -> list[Prediction]:
    """Label texts with labels that differ by text, or one text with several taxonomies.

    The embedded classifier encodes each text and each label once, however many pairs it is in.

    Args:
        pairs: a text, and its taxonomy: a name, a ``Taxonomy``, or labels as in ``classify``.
        classifier: as in ``classify``.

    Returns:
        One ``Prediction`` per pair, in order.

    Raises:
        InvalidSetting: something else than pairs.
        InvalidTaxonomy, UnknownName: as in ``load_taxonomy``.
    """
    from llm.pairs import classify_pairs as classified

    found = list(pairs)
    if wrong := next((pair for pair in found if not (isinstance(pair, tuple) and len(pair) == 2)), None):
        raise InvalidSetting(f"{wrong!r:.60} is no pair; give (text, labels) for each text")
    chosen = [(Text.of(text), load_taxonomy(labels)) for text, labels in found]
    model = opened(classifier, chosen[0][1]) if chosen else None
    return with_sets(classified(model, chosen), model) if model else []


def estimate_cost(
    texts: Sequence[str | Text],
    labels: Labels | Taxonomy | None = None,
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    system: str = "llm:json_list",
    model: str | None = None,
) -> Preview:
    """Estimate requests (with shortlist or descent), tokens and price of a language model's labels; none is sent.

    Args:
        texts: as in ``classify``.
        labels: as in ``classify``.
        taxonomy: as in ``classify``.
        system: ``"llm:STRATEGY[:PROMPT]"``; a prompt is a name or the path of a template.
        model: the model whose price is used; None: that of the settings.

    Returns:
        ``requests``, ``prompt_tokens`` (four characters each), ``shared_tokens`` (prompt tokens that a prefix cache
        skips), ``written_tokens`` (the maximum), ``usd`` and ``usd_cached`` (US dollars without and with a prefix
        cache; None where the price is not known).

    Raises:
        InvalidSetting: ``system`` is not a language model.
        UnknownName: no strategy or prompt has this name.
    """
    from llm import strategies
    from llm.backends.backend import FakeBackend
    from llm.language_model import LanguageModel
    from marquee import systems
    from marquee.estimates import estimate
    from marquee.factory import in_process
    from similarity.encoders.minilm import MiniLM

    if not (system + ":").startswith("llm:"):
        raise InvalidSetting(f"system={system!r} sends no request; give llm:STRATEGY[:PROMPT], such as 'llm:json_list'")
    chosen = taxonomy_of(labels, taxonomy)
    options = systems.options_of(system[len("llm:") :], systems.SystemContext(chosen, ()), system)
    backend = FakeBackend(name=model or read_settings().model, weights=lambda conversation: {})
    settings = read_settings(fallback=False, cascade_margin=0.0, fusion=False)
    bare_model = LanguageModel(backend, strategies.named(options.strategy or "json_list"), options.prompt)
    return estimate(bare_model, settings, in_process(settings, MiniLM()), checked_texts(texts), chosen)


def taxonomy_of(
    labels: Labels | Taxonomy | None,
    taxonomy: TaxonomyLike | None,
    multi: bool | None = None,
    max_labels: int | None = None,
    allow_none: AllowNone | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
    attribute: str | None = None,
) -> Taxonomy:
    """The taxonomy that the arguments of a call mean.

    Raises:
        InvalidSetting: both ``labels`` and ``taxonomy`` are given.
    """
    if labels is not None and taxonomy is not None:
        raise InvalidSetting("labels and taxonomy are both given; give one of them")
    if labels is None or isinstance(labels, Taxonomy):
        found = load_taxonomy(labels or taxonomy).shaped(multi, max_labels, allow_none, attribute)
    else:
        form = {"multi": multi, "max_labels": max_labels, "allow_none": allow_none, "attribute": attribute}
        found = registry.taxonomy_of(labels, **form)
    return found if level is None and leaves_only is None else cut(found, level, leaves_only)


def opened(
    classifier: str | Classifier | None, taxonomy: Taxonomy, instructions: str = "",
    examples: StaticExamples | None = None,
) -> Classifier:  # fmt: skip
    """A loaded classifier as it is; one that is given by name comes from a cache of the process.

    Raises:
        InvalidSetting: a loaded classifier, other than a client, is to read instructions or examples.
    """
    if classifier is not None and not isinstance(classifier, str):
        if (instructions or examples) and not hasattr(classifier, "answers"):
            raise InvalidSetting("instructions and examples need a classifier by name, such as classifier='llm'")
        return classifier
    from marquee import systems

    is_trained = classifier is not None and classifier.partition(":")[0] not in systems.SYSTEMS
    templates = [Path(part) for part in (classifier or "").split(":") if part.endswith(".jinja")]
    digests = [(str(path), digest_of(path)) for path in templates if path.is_file()]
    state = (*sorted(settings_variables().items()), *digests)
    return _cached(classifier, taxonomy if is_trained else None, instructions, examples, state)


@lru_cache(maxsize=8)
def _cached(
    system: str | None, taxonomy: Taxonomy | None, instructions: str, examples: StaticExamples | None,
    state: tuple[tuple[str, str], ...],
) -> Classifier:  # fmt: skip
    """``state`` is part of the key only: a changed setting or template loads another classifier."""
    return _loaded(system, taxonomy, instructions, examples)
