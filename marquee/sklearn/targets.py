"""X and y of scikit-learn: texts, and their labels in one of three forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from eval.metrics import Labels
from marquee.classification import load_taxonomy
from prompts.errors import InvalidDataset
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TaxonomyParameter = str | Taxonomy | Sequence[str] | Mapping[str, str]
_OWN = "labels"  # name of a taxonomy that has none


class InvalidTarget(InvalidDataset, ValueError):
    """Labels that do not fit the taxonomy; a ``ValueError``, as scikit-learn's own errors about y are."""


@dataclass(frozen=True)
class Target:
    """Labels as scikit-learn has them.

    Attributes:
        classes: the labels in sorted order, with the types of y; shape (labels,).
        multi: whether a text may have several.
        matrix: which text has which label, columns as in ``classes``; shape (texts, labels).
    """

    classes: NDArray[Any]
    multi: bool
    matrix: Labels

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as names of a taxonomy."""
        return tuple(name_of(one) for one in self.classes)

    def taxonomy(self, given: Taxonomy | None) -> Taxonomy:
        """The given taxonomy, else the labels of y; for one or several labels per text, as in y."""
        if given is None:
            labels = tuple(Label(name) for name in self.names)
            return Taxonomy(_OWN, labels, self.multi, len(labels), allow_none=self.multi)
        return given.shaped(multi=True) if self.multi else given.shaped(multi=False, allow_none=False)


def texts_of(X: Any) -> list[Text]:
    """The texts of an X: a list, array or column of strings, or of ``Text`` where titles are known.

    Raises:
        ValueError: X is one string, has several columns, is empty, or has an item that is not a text.
    """
    if isinstance(X, str | bytes | Text):
        raise ValueError("Iterable over raw text documents expected, one text received; put it into a list")
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(
            f"X has {X.ndim} dimensions, and one column of texts is expected: choose it, X['overview'], "
            "or make prompts.text.Text of title and body"
        )
    if not isinstance(X, Iterable):
        raise ValueError(f"X is a {type(X).__name__}; give a list or a column of texts")
    texts = list(X)
    if not texts:
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    return [_text(text, place) for place, text in enumerate(texts)]


def taxonomy_of(given: TaxonomyParameter | None) -> Taxonomy | None:
    """The taxonomy that a parameter means: a name, a YAML file, itself, names of labels, or names with descriptions.

    Raises:
        UnknownName: no taxonomy has this name.
        InvalidTaxonomy: the labels break a rule.
    """
    if given is None or isinstance(given, str | Taxonomy):
        return None if given is None else load_taxonomy(given)
    return Taxonomy.of(given, name=_OWN, multi=True, allow_none=len(given) > 1)


def classes_of(taxonomy: Taxonomy) -> NDArray[Any]:
    """The labels that can be predicted, sorted."""
    return np.array(sorted(taxonomy.names))


def name_of(label: Any) -> str:
    """A label of y as a name of a taxonomy; a whole number is written without a point, whatever its type."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def target_of(y: Any, taxonomy: Taxonomy | None) -> Target:
    """Labels in any of three forms: one per text; a list of names per text; an indicator matrix.

    The columns of an indicator matrix are the taxonomy's labels in sorted order, as ``MultiLabelBinarizer`` makes
    them.

    Args:
        y: the labels.
        taxonomy: the taxonomy; None takes the labels that y holds.

    Raises:
        ValueError: y has no form of labels, misses some, or mixes text and numbers.
        InvalidTarget: a label is not in the taxonomy, or a matrix does not fit it.
    """
    _check_values(y)
    if _lists(y):
        return _of_lists(y, taxonomy)
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return _of_matrix(check_array(y, accept_sparse=True, input_name="y"), taxonomy)
    check_classification_targets(y)
    return _of_column(column_or_1d(y, warn=True), taxonomy)


def _text(text: Any, place: int) -> Text:
    if not isinstance(text, str | Text):
        raise ValueError(f"text {place} is {text!r}, a {type(text).__name__}; every one should be a string")
    return Text.of(text)


def _check_values(y: Any) -> None:
    """Reject values that scikit-learn would take for labels.

    NumPy turns a missing label among strings into the class "nan", and numbers among strings into strings.

    Raises:
        ValueError: a label is missing, or text and numbers are mixed.
    """
    if isinstance(y, str) or getattr(y, "ndim", 1) != 1 or not isinstance(y, Iterable):
        return
    firsts: dict[str, Any] = {}
    for place, row in enumerate(y):
        for one in row if isinstance(row, list | tuple | set | frozenset) else (row,):
            if _missing(one):
                raise ValueError(f"Input y contains NaN: the label of text {place} is {one!r}; leave the text out")
            kind = "string" if isinstance(one, str) else "number" if isinstance(one, Number | np.bool_) else ""
            firsts.setdefault(kind, one)
    if "string" in firsts and "number" in firsts:
        raise ValueError(
            f"Mix of label input types (string and number): y holds {firsts['string']!r} and {firsts['number']!r}; "
            "write all labels as strings"
        )


def _missing(label: Any) -> bool:
    """Whether it is None, NaN, NaT or pandas' NA."""
    if isinstance(label, float | np.floating):
        return bool(np.isnan(label))
    return label is None or type(label).__name__ in ("NAType", "NaTType")


def _lists(y: Any) -> bool:
    """Whether y has a collection of names per text; rows of 0 and 1 are a matrix."""
    if isinstance(y, str) or getattr(y, "ndim", 1) != 1 or not isinstance(y, Iterable):
        return False
    rows = list(y)
    if not rows or not all(isinstance(row, list | tuple | set | frozenset) for row in rows):
        return False
    labels = [one for row in rows for one in row]
    return not labels or any(isinstance(one, str) for one in labels)


def _of_lists(y: Iterable[Iterable[str]], taxonomy: Taxonomy | None) -> Target:
    rows = [[_resolved(name, taxonomy) for name in row] for row in y]
    known = {name for row in rows for name in row if name}
    if not known:
        raise InvalidTarget("no text of y has a label; give some that have")
    classes = classes_of(taxonomy) if taxonomy else np.array(sorted(known))
    return Target(classes, True, np.array([[name in row for name in classes] for row in rows], dtype=bool))


def _of_matrix(y: Any, taxonomy: Taxonomy | None) -> Target:
    if taxonomy is None:
        raise InvalidTarget(
            "an indicator matrix does not name its columns: set taxonomy to their names, or give y as lists of names"
        )
    matrix = np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=bool)
    classes = classes_of(taxonomy)
    if matrix.shape[1] != len(classes):
        raise InvalidTarget(
            f"y has {matrix.shape[1]} columns, and the taxonomy {taxonomy.name!r} has {len(classes)} labels; "
            "make it by MultiLabelBinarizer(classes=sorted(names of the labels))"
        )
    return Target(classes, True, matrix)


def _of_column(y: NDArray[Any], taxonomy: Taxonomy | None) -> Target:
    classes = unique_labels(y)
    if taxonomy is not None:
        if wrong := [name_of(one) for one in classes.tolist() if name_of(one) not in taxonomy.names]:
            raise InvalidTarget(_no_label(wrong[0], taxonomy))
        classes = classes_of(taxonomy)
    names, own = np.array([name_of(one) for one in classes.tolist()]), [name_of(one) for one in y.tolist()]
    return Target(classes, False, np.array(own)[:, None] == names[None, :])


def _resolved(name: Any, taxonomy: Taxonomy | None) -> str:
    """The label of a spelling; empty for a label that is not predicted."""
    if not isinstance(name, str):
        raise ValueError(f"y holds {name!r} among names of labels; give names only")
    if taxonomy is None:
        return name
    if taxonomy.known(name) is None:
        raise InvalidTarget(_no_label(name, taxonomy))
    return taxonomy.resolve(name) or ""


def _no_label(name: str, taxonomy: Taxonomy) -> str:
    meant = taxonomy.resolve(name)
    hint = f"it is spelt {meant!r} there" if meant else f"it has {', '.join(taxonomy.names)}"
    return f"y holds {name!r}, which is no label of {taxonomy.name!r}; {hint}"
