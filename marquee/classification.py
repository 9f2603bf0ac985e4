"""Label lists of texts and DataFrames with a classifier that is loaded by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.datasets import check_columns
from llm.classifier import Classifier, Prediction
from marquee import systems
from marquee.settings import read_settings, settings_variables, use_own_folders
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.files import digest_of
from prompts.hierarchy import cut
from prompts.installation import naming_extras
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts

if TYPE_CHECKING:
    from pandas import DataFrame

    from llm.costs import Preview
    from prompts.template import Prompt

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
    context = systems.SystemContext(load_taxonomy(taxonomy), ())
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
    allow_none: bool | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
    explain: bool = False,
    classifier: str | Classifier | None = None,
) -> list[Prediction]:
    """Label texts. A classifier that is given by name is loaded once per process.

    Args:
        texts: strings or ``Text`` objects: a list, an array or a pandas Series. A missing value is an empty text.
        labels: label names, a dict from names to descriptions, a ``Taxonomy``, or, for a hierarchy, a dict whose values
            are lists or dicts of the labels below.
        taxonomy: a registered name, a path to a YAML file, or a ``Taxonomy``; instead of ``labels``. Without either:
            the default of the settings.
        multi: whether a text may have several labels. Default: the taxonomy decides; several for ``labels``.
        max_labels: maximum number of labels of one text.
        allow_none: whether "none of them" is an answer.
        level: of a hierarchy: answer with labels of this level (1: the top) instead of the leaves.
        leaves_only: of a hierarchy: False: an answer may be an inner label, where none of its children fits.
        explain: whether predictions have ``evidence``, the passages that support their labels.
        classifier: a system name as in ``load_classifier``, or a loaded classifier.

    Returns:
        One ``Prediction`` per text, in the order of ``texts``. A text that fails has a ``problem`` and no labels.

    Raises:
        InvalidTexts: ``texts`` is a single string.
        InvalidTaxonomy, UnknownName, InvalidSetting: as in ``load_taxonomy`` and ``load_classifier``.
    """
    chosen = taxonomy_of(labels, taxonomy, multi, max_labels, allow_none, level, leaves_only)
    found, originals = opened(classifier, chosen), checked_texts(texts)
    if explain:
        return explained(found, originals, chosen)
    return found.classify(originals, chosen)


def explained(classifier: Classifier, texts: Sequence[Text], taxonomy: Taxonomy) -> list[Prediction]:
    """Predictions with evidence; those of a running service come with the evidence of its models."""
    from llm.explaining import Explainer
    from marquee.client import Client, taxonomy_fields

    if isinstance(classifier, Client):
        fields = {**taxonomy_fields(taxonomy), "explain": True}
        return [answer.prediction for answer in classifier.answers(texts, fields, taxonomy)]
    return Explainer(classifier).explain(texts, classifier.classify(texts, taxonomy), taxonomy)


def estimate_cost(
    texts: Sequence[str | Text],
    labels: Labels | Taxonomy | None = None,
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    system: str = "llm:json_list",
    model: str | None = None,
) -> Preview:
    """Estimate requests, tokens and price of labelling texts with a language model; no request is sent.

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
    from llm.costs import preview
    from llm.language_model import LanguageModel

    kind, _, rest = system.partition(":")
    if kind != "llm":
        raise InvalidSetting(f"system={system!r} sends no request; give llm:STRATEGY[:PROMPT], such as 'llm:json_list'")
    chosen = taxonomy_of(labels, taxonomy)
    options = systems.options_of(rest, systems.SystemContext(chosen, ()), system)
    backend = FakeBackend(name=model or read_settings().model, weights=lambda conversation: {})
    strategy = strategies.named(options.strategy or "json_list")
    return preview(LanguageModel(backend, strategy, options.prompt), checked_texts(texts), chosen)


@naming_extras("marquee.classify_dataframe")
def classify_dataframe(
    df: DataFrame,
    text: str,
    labels: Labels | Taxonomy | None = None,
    *,
    taxonomy: str | Path | Taxonomy | None = None,
    title: str | None = None,
    multi: bool | None = None,
    max_labels: int | None = None,
    allow_none: bool | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
    scores: bool = False,
    prefix: str = "",
    classifier: str | Classifier | None = None,
) -> DataFrame:
    """Return a copy of a DataFrame with columns added; the index and the order of the rows stay.

    The new columns are ``labels`` (a list of names; for one label per text ``label``, a name or None) and ``problem``
    (why a row has no answer, or None). With ``scores``, each label has a column ``score_LABEL`` too.

    Args:
        df: one row per text.
        text: the column of texts. A missing value is the problem of its row.
        labels: as in ``classify``.
        taxonomy: as in ``classify``.
        title: a column of titles, which are read with the texts.
        multi: as in ``classify``.
        max_labels: as in ``classify``.
        allow_none: as in ``classify``.
        level: as in ``classify``.
        leaves_only: as in ``classify``.
        scores: whether to add one column per label; NaN where a label has no score.
        prefix: starts the names of the new columns.
        classifier: as in ``classify``.

    Raises:
        InvalidDataset: a column does not exist.
        InvalidSetting: ``df`` is not a DataFrame, pandas is not installed, or it has a column of a new name already.
    """
    pandas = _pandas()
    if not isinstance(df, pandas.DataFrame):
        raise InvalidSetting(f"df is a {type(df).__name__}; give a pandas DataFrame, or use marquee.classify")
    check_columns([str(name) for name in df.columns], {"text": text, "title": title})
    chosen = taxonomy_of(labels, taxonomy, multi, max_labels, allow_none, level, leaves_only)
    added = _columns([], chosen, scores, prefix)
    if taken := [name for name in added if name in df.columns]:
        raise InvalidSetting(f"df has a column {taken[0]!r} already; give a prefix, such as prefix='predicted_'")
    titles: Iterable[Any] = df[title] if title else [""] * len(df)
    texts = [_text_of(body, name) for body, name in zip(df[text], titles, strict=True)]
    found = opened(classifier, chosen).classify(texts, chosen)
    columns = {name: pandas.Series(cells, df.index) for name, cells in _columns(found, chosen, scores, prefix).items()}
    return df.assign(**columns)


def _text_of(body: Any, title: Any) -> Text:
    words = Text.of(body)
    return Text(words.body, Text.of(title).body, words.fault)


def _columns(found: list[Prediction], taxonomy: Taxonomy, scores: bool, prefix: str) -> dict[str, list[Any]]:
    """The cells of the new columns, by name."""
    columns: dict[str, list[Any]] = {}
    if taxonomy.multi:
        columns["labels"] = [list(one.labels) for one in found]
    else:
        columns["label"] = [one.labels[0] if one.labels else None for one in found]
    columns["problem"] = [one.problem.detail if one.problem else None for one in found]
    if scores:
        nan = float("nan")
        columns |= {f"score_{name}": [one.scores.get(name, nan) for one in found] for name in taxonomy.names}
    return {prefix + name: cells for name, cells in columns.items()}


def taxonomy_of(
    labels: Labels | Taxonomy | None,
    taxonomy: TaxonomyLike | None,
    multi: bool | None = None,
    max_labels: int | None = None,
    allow_none: bool | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
) -> Taxonomy:
    """The taxonomy that the arguments of a call mean.

    Raises:
        InvalidSetting: both ``labels`` and ``taxonomy`` are given.
    """
    if labels is not None and taxonomy is not None:
        raise InvalidSetting("labels and taxonomy are both given; give one of them")
    if labels is None or isinstance(labels, Taxonomy):
        found = load_taxonomy(labels or taxonomy).shaped(multi, max_labels, allow_none)
    else:
        found = registry.taxonomy_of(labels, multi=multi is not False, max_labels=max_labels, allow_none=allow_none)
    return found if level is None and leaves_only is None else cut(found, level, leaves_only)


def opened(classifier: str | Classifier | None, taxonomy: Taxonomy) -> Classifier:
    """A loaded classifier as it is; one that is given by name comes from a cache of the process."""
    if classifier is not None and not isinstance(classifier, str):
        return classifier
    is_trained = classifier is not None and classifier.partition(":")[0] not in systems.SYSTEMS
    templates = [Path(part) for part in (classifier or "").split(":") if part.endswith(".jinja")]
    digests = [(str(path), digest_of(path)) for path in templates if path.is_file()]
    return _cached(classifier, taxonomy if is_trained else None, (*sorted(settings_variables().items()), *digests))


@lru_cache(maxsize=8)
def _cached(system: str | None, taxonomy: Taxonomy | None, state: tuple[tuple[str, str], ...]) -> Classifier:
    """``state`` is part of the key only: a changed setting or template loads another classifier."""
    return load_classifier(system, taxonomy)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InvalidSetting("classify_dataframe needs pandas; install it: pip install pandas") from None
    return pandas
