"""From a teacher's rows to what a student learns: labels, how sure the teacher was, and which texts are held back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import Example
from eval.datasets.split import assign
from eval.rows import RunRow
from llm.classifier import ProblemKind
from llm.strategies.registry import STRATEGIES
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Taxonomy

LEARN, TUNE, HELD_BACK = "train", "validation", "test"
SHARES: Mapping[str, float] = {LEARN: 0.8, TUNE: 0.1, HELD_BACK: 0.1}
_LEAST = 20  # texts; with fewer, a side of a tenth would have next to none


@dataclass(frozen=True)
class TeacherLabels:
    """What a teacher said.

    Attributes:
        examples: texts that it answered, with its labels in place of any others.
        soft: how sure it was of each label in taxonomy order, by the id of the text.
        doubt: in words, where that comes from.
        unanswered: texts without an answer, by the kind of their problem.
    """

    examples: tuple[Example, ...]
    soft: Mapping[str, list[float]]
    doubt: str
    unanswered: Mapping[ProblemKind, int]


def verdicts(
    examples: Sequence[Example], rows: Sequence[RunRow], taxonomy: Taxonomy, partial: bool = False
) -> TeacherLabels:
    """What a teacher said of texts.

    Args:
        examples: what it was asked about.
        rows: its answers, by the texts' ids.
        taxonomy: the taxonomy.
        partial: go on without the texts whose failure would pass.

    Raises:
        InvalidSetting: some texts got no answer for a reason that passes.
        InvalidDataset: fewer than twenty were answered.
    """
    said = {row.id: row for row in rows}
    waiting = sum(row.retryable for row in rows)
    if waiting and not partial:
        raise InvalidSetting(
            f"{waiting} of {len(rows)} texts got no answer for a reason that passes; the same command asks about them "
            "again, --partial goes on without them"
        )
    answered = [one for one in examples if said[one.id].problem is None]
    failed = Counter(row.problem.kind for row in rows if row.problem)
    if len(answered) < _LEAST:
        told = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "the table has no more"
        raise InvalidDataset(f"{len(answered)} texts were answered, and a student needs {_LEAST} at least: {told}")
    taught = tuple(replace(one, labels=_labels(said[one.id], taxonomy), complete=True) for one in answered)
    soft = {one.id: _soft(said[one.id], taxonomy) for one in answered}
    return TeacherLabels(taught, soft, _doubt(said[answered[0].id], taxonomy), failed)


def sides(examples: Sequence[Example], seed: int) -> dict[str, list[Example]]:
    """The texts to learn from, to tune by and to hold back, whole films on one side.

    Rows that the table itself keeps for testing are held back, and nothing of their films is learnt from; without any,
    a tenth is. The rest is dealt out so that every side has its share of the teacher's labels.

    Raises:
        InvalidDataset: a side would be empty.
    """
    tested = {one.group for one in examples if one.split == HELD_BACK}
    held = [one for one in examples if one.split == HELD_BACK]
    free = [one for one in examples if one.group not in tested]
    shares = {name: share for name, share in SHARES.items() if not (tested and name == HELD_BACK)}
    whole = sum(shares.values())
    where = assign(free, {name: share / whole for name, share in shares.items()}, seed)
    found = {name: [one for one in free if where[one.id] == name] for name in shares} | (
        {HELD_BACK: held} if held else {}
    )
    if empty := next((name for name, some in found.items() if not some), None):
        raise InvalidDataset(f"{len(examples)} answered texts leave none for {empty}; label more")
    return found


def _labels(row: RunRow, taxonomy: Taxonomy) -> tuple[str, ...]:
    return taxonomy.in_order(row.labels)


def _soft(row: RunRow, taxonomy: Taxonomy) -> list[float]:
    """How sure a teacher was of each label; 1 and 0 where its scores do not say.

    A list is sure of what it leaves away, since nothing is known of that. Letters compete: where several labels may be
    given, their shares are no probabilities, so that the labels alone are learnt.
    """
    given, scores = set(row.labels), row.scores
    whole = all(0 <= scores.get(name, -1.0) <= 1 for name in taxonomy.names)
    if not taxonomy.multi and whole and (total := sum(scores.values())):
        return [scores[name] / total for name in taxonomy.names]
    if taxonomy.multi and whole and _of_each(row, taxonomy):
        return [float(scores[name]) if name in given or not _written(row) else 0.0 for name in taxonomy.names]
    return [float(name in given) for name in taxonomy.names]


def _doubt(row: RunRow, taxonomy: Taxonomy) -> str:
    if not row.scores:
        return "none: the teacher told labels without scores"
    if taxonomy.multi and not _of_each(row, taxonomy):
        return "none: its scores compete, and several labels may be given"
    return "the probability of each label written" if _written(row) else "its score of each label"


def _of_each(row: RunRow, taxonomy: Taxonomy) -> bool:
    """Whether a score is a label's own probability."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is None or not strategy.mutually_exclusive(taxonomy)


def _written(row: RunRow) -> bool:
    """Whether labels were written rather than chosen by their scores."""
    strategy = STRATEGIES.get(row.source.strategy or "")
    return strategy is not None and strategy.returns_labels
