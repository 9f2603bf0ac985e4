"""From a teacher's rows to the training data of a student: labels, soft labels and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import Example
from eval.datasets.split import assign
from eval.rows import RunRow
from llm.classifier import ProblemKind
from llm.strategies import STRATEGIES
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy

_TEST = "test"
_SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, _TEST: 0.1}
_MIN_TEXTS = 20  # with fewer, a split of a tenth would be almost empty


@dataclass(frozen=True)
class TeacherLabels:
    """The labels of a teacher.

    Attributes:
        examples: the answered texts with its labels.
        soft: its probability of each label in taxonomy order, by the id of the text.
        doubt: source of these probabilities, in words.
        unanswered: number of texts without an answer, by the kind of their problem.
    """

    examples: tuple[Example, ...]
    soft: Mapping[str, list[float]]
    doubt: str
    unanswered: Mapping[ProblemKind, int]


def labels_of_teacher(
    examples: Sequence[Example], rows: Sequence[RunRow], taxonomy: Taxonomy, partial: bool = False
) -> TeacherLabels:
    """Convert a teacher's rows to labels.

    Args:
        examples: the texts.
        rows: its answers, by the ids of the texts.
        taxonomy: the taxonomy.
        partial: continue without texts whose failure is temporary.

    Raises:
        InvalidSetting: texts failed temporarily.
        InvalidDataset: fewer than twenty texts were answered.
    """
    row_of = {row.id: row for row in rows}
    waiting = sum(row.retryable for row in rows)
    if waiting and not partial:
        raise InvalidSetting(
            f"{waiting} of {len(rows)} texts failed temporarily; run the same command again to retry them, or continue "
            "without them with --partial"
        )
    answered = [one for one in examples if row_of[one.id].problem is None]
    failed = Counter(row.problem.kind for row in rows if row.problem)
    if len(answered) < _MIN_TEXTS:
        reasons = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "the table has no more texts"
        raise InvalidDataset(
            f"{len(answered)} texts were answered, and a student needs at least {_MIN_TEXTS}: {reasons}"
        )
    labelled = tuple(replace(one, labels=taxonomy.in_order(row_of[one.id].labels), complete=True) for one in answered)
    soft = {one.id: _soft(row_of[one.id], taxonomy) for one in answered}
    return TeacherLabels(labelled, soft, _doubt(row_of[answered[0].id], taxonomy), failed)


def split_by_film(examples: Sequence[Example], seed: int) -> dict[str, list[Example]]:
    """Training, validation and test texts; all texts of a film are in one split.

    A test split of the table is kept, and other texts of its films are excluded. Without one, a tenth of the texts is
    for testing. The split is stratified by the teacher's labels.

    Raises:
        InvalidDataset: a split would be empty.
    """
    tested = {one.group for one in examples if one.split == _TEST}
    test = [one for one in examples if one.split == _TEST]
    free = [one for one in examples if one.group not in tested]
    shares = {name: share for name, share in _SHARES.items() if not (tested and name == _TEST)}
    total = sum(shares.values())
    split_of = assign(free, {name: share / total for name, share in shares.items()}, seed)
    found = {name: [one for one in free if split_of[one.id] == name] for name in shares}
    found |= {_TEST: test} if test else {}
    if empty := next((name for name, split in found.items() if not split), None):
        raise InvalidDataset(f"{len(examples)} answered texts leave none for the split {empty}; label more texts")
    return found


def _soft(row: RunRow, taxonomy: Taxonomy) -> list[float]:
    """Target of each label; 1 or 0 if the scores are not probabilities of single labels.

    With ``json_list`` labels outside the list have target 0, because they have no score. The scores of ``label_tokens``
    sum to 1, which is wrong for several labels a text; then only the labels are used.
    """
    labels, scores = set(row.labels), row.scores
    has_all = all(0 <= scores.get(name, -1.0) <= 1 for name in taxonomy.names)
    if not taxonomy.multi and has_all and (total := sum(scores.values())):
        return [scores[name] / total for name in taxonomy.names]
    if taxonomy.multi and has_all and _is_independent(row, taxonomy):
        return [float(scores[name]) if name in labels or not _is_generated(row) else 0.0 for name in taxonomy.names]
    return [float(name in labels) for name in taxonomy.names]


def _doubt(row: RunRow, taxonomy: Taxonomy) -> str:
    if not row.scores:
        return "none: the teacher gave labels without scores"
    if taxonomy.multi and not _is_independent(row, taxonomy):
        return "none: its scores sum to 1, and a text may have several labels"
    return "the probability of each generated label" if _is_generated(row) else "its score of each label"


def _is_independent(row: RunRow, taxonomy: Taxonomy) -> bool:
    """Whether the score of a label is its own probability."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is None or not strategy.mutually_exclusive(taxonomy)


def _is_generated(row: RunRow) -> bool:
    """Whether labels were generated rather than selected by their scores."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is not None and strategy.returns_labels
