"""Label a column of a DataFrame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.datasets import check_columns
from llm.classifier import Classifier, Prediction
from marquee.classification import Labels, predict, taxonomy_of
from prompts.errors import InvalidSetting
from prompts.installation import naming_extras
from prompts.taxonomy import AllowNone, Taxonomy
from prompts.text import Text

if TYPE_CHECKING:
    from pandas import DataFrame


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
    allow_none: AllowNone | None = None,
    level: int | None = None,
    leaves_only: bool | None = None,
    attribute: str | None = None,
    scores: bool = False,
    explain: bool = False,
    prefix: str = "",
    classifier: str | Classifier | None = None,
    **options: Any,
) -> DataFrame:
    """Return a copy of a DataFrame with columns added; the index and the order of the rows stay.

    The new columns are ``labels`` (a list of names; for one label per text ``label``, a name or None) and ``problem``
    (why a row has no answer, or None). With ``scores``, each label has a column ``score_LABEL`` too; with ``explain``,
    ``evidence`` is a list of ``Evidence`` and ``unexplained`` a dict of the reasons for labels without, or both None.
    Where answers have calibrated prediction sets, ``set`` is a list of names and ``abstain`` a truth value, or None.

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
        attribute: as in ``classify``.
        scores: whether to add one column per label; NaN where a label has no score.
        explain: whether to add the evidence for the labels.
        prefix: starts the names of the new columns.
        classifier: as in ``classify``.
        options: ``threshold``, ``score_type``, ``instructions`` and ``examples``, as in ``classify``.

    Raises:
        InvalidDataset: a column does not exist.
        InvalidSetting: ``df`` is not a DataFrame, pandas is not installed, or it has a column of a new name already.
    """
    pandas = _pandas()
    if not isinstance(df, pandas.DataFrame):
        raise InvalidSetting(f"df is a {type(df).__name__}; give a pandas DataFrame, or use marquee.classify")
    check_columns([str(name) for name in df.columns], {"text": text, "title": title})
    chosen = taxonomy_of(labels, taxonomy, multi, max_labels, allow_none, level, leaves_only, attribute)
    _check_free(_columns([], chosen, scores, explain, prefix), df)
    titles: Iterable[Any] = df[title] if title else [""] * len(df)
    texts = [_text_of(body, name) for body, name in zip(df[text], titles, strict=True)]
    found = predict(texts, chosen, classifier, allow_none, explain, **options)
    columns = _columns(found, chosen, scores, explain, prefix)
    _check_free(columns, df)
    return df.assign(**{name: pandas.Series(cells, df.index) for name, cells in columns.items()})


def _check_free(added: Iterable[str], df: DataFrame) -> None:
    if taken := [name for name in added if name in df.columns]:
        raise InvalidSetting(f"df has a column {taken[0]!r} already; give a prefix, such as prefix='predicted_'")


def _text_of(body: Any, title: Any) -> Text:
    words = Text.of(body)
    return Text(words.body, Text.of(title).body, words.fault)


def _columns(
    found: list[Prediction], taxonomy: Taxonomy, scores: bool, explain: bool, prefix: str
) -> dict[str, list[Any]]:
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
    if explain:
        columns["evidence"] = [None if one.evidence is None else list(one.evidence) for one in found]
        columns["unexplained"] = [None if one.evidence is None else dict(one.unexplained) for one in found]
    if any(one.set is not None for one in found):
        columns["set"] = [None if one.set is None else list(one.set) for one in found]
        columns["abstain"] = [one.abstain for one in found]
    return {prefix + name: cells for name, cells in columns.items()}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise InvalidSetting("classify_dataframe needs pandas; install it: pip install pandas") from None
    return pandas
