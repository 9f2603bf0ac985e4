"""From a table to a review file: answers for its texts, their doubts, and the texts that are picked."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulk.inputs import InputFiles, TextColumns, input_files, text_columns
from bulk.sources import source_in
from llm.classifier import Classifier, Prediction
from marquee.feedback.entries import InvalidFeedback, RecordedAnswer, right_labels
from marquee.review.picking import Doubt, decision_threshold, doubt_of, pick
from marquee.review.review_file import Review, ReviewText
from prompts.errors import InvalidDataset, quoted
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import TableDialect
from tabular.cells import labels_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tabular import Row

BULK_COLUMNS = ("labels", "scores", "source", "problem")
"""Columns that ``main.py bulk`` adds; their answers are used as they are."""
_BATCH = 256
_FIRST = 2_000  # answers that decide where the threshold of the scores is
_CANDIDATES = 20  # per text to pick: those in most doubt, among which the diverse ones are picked
_LEAST_CANDIDATES = 1_000
_NO_ANSWER = "no answer"


@dataclass(frozen=True)
class ReviewRequest:
    """The options of ``main.py review``, which its help describes."""

    source: str
    taxonomy: Taxonomy
    system: str | None = None
    text_field: str | None = None
    title_field: str | None = None
    id_field: str | None = None
    encoding: str | None = None
    separator: str | None = None
    most: int = 50
    diversity: float = 0.5

    def table(self, *excluded: Path) -> ReviewTable:
        """The table.

        Raises:
            InvalidDataset: it cannot be read, or has no text column.
        """
        files = input_files(self.source, excluded, TableDialect(self.encoding, self.separator))
        return ReviewTable(files, text_columns(files, self.text_field, self.title_field, self.id_field))


@dataclass(frozen=True)
class ReviewTable:
    """The files of a table, and the columns of text, title and id."""

    files: InputFiles
    columns: TextColumns

    @property
    def has_answers(self) -> bool:
        """Whether the table has the columns that ``bulk`` adds."""
        return set(BULK_COLUMNS) <= set(self.files.columns())

    def first_texts(self, count: int) -> tuple[Text, ...]:
        """The first texts."""
        return tuple(text for _, text in islice(self.rows(Counter()), count))

    def rows(self, left_out: Counter[str]) -> Iterator[tuple[Row, Text]]:
        """Rows with a text; others are counted by the reason."""
        for row in self.files.rows():
            try:
                text = Text() if row.problem else self.columns.text_of(row)
            except ValueError:
                left_out["no text in the text column"] += 1
                continue
            if row.problem or text.empty:
                left_out["a damaged row" if row.problem else "no text"] += 1
            else:
                yield row, text


@dataclass(frozen=True)
class Answered:
    """A text of the table with its answer."""

    id: str
    where: str
    answer: RecordedAnswer


@dataclass(frozen=True)
class Selection:
    """A review, the number of texts with an answer, and the rows that were left out by the reason."""

    review: Review
    texts: int
    left_out: Mapping[str, int]


@dataclass
class Selecting:
    """Picks texts of a table.

    Attributes:
        request: the options.
        table: of the request.
        encode: vectors of length 1 of strings, shape (texts, dimension).
        known: digests of texts that have their right labels already; they are left out.
        on_texts: called with the number of further texts that are answered.
    """

    request: ReviewRequest
    table: ReviewTable
    encode: Callable[[Sequence[str]], NDArray[Any]]
    known: Collection[str] = ()
    on_texts: Callable[[int], object] = lambda count: None
    _left_out: Counter[str] = field(default_factory=Counter)
    _count: int = 0

    def run(self, classifier: Classifier | None) -> Selection:
        """Pick the texts; without a classifier, the answers are those that ``bulk`` wrote into the table.

        Of all texts, only those in most doubt are kept in memory, and encoded.

        Raises:
            InvalidDataset: the table cannot be read, has no text to review, or two picked texts have one id.
        """
        taxonomy = self.request.taxonomy
        answered = self._classified(classifier) if classifier else self._read()
        first = list(islice(answered, _FIRST))
        pairs = ((one.answer.labels, one.answer.scores) for one in first)
        threshold = decision_threshold(pairs, taxonomy.max_labels)
        candidates = self._most_doubtful(chain(first, answered), threshold)
        if not candidates:
            reasons = "".join(f"; {count} with {reason}" for reason, count in self._left_out.items())
            raise InvalidDataset(f"{self.request.source} has no text to review{reasons}")
        picked = self._picked(candidates)
        return Selection(Review.of(taxonomy, picked), self._count, dict(self._left_out))

    def _most_doubtful(self, answered: Iterable[Answered], threshold: float) -> list[tuple[Doubt, Answered]]:
        """The answers in most doubt, each text once, the most doubtful first; of equal ones the first rows."""
        taxonomy, most = self.request.taxonomy, max(_LEAST_CANDIDATES, _CANDIDATES * self.request.most)
        heap: list[tuple[float, int, Doubt, Answered]] = []
        digests: set[str] = set()
        for place, one in enumerate(answered):
            self._count += 1
            digest = one.answer.digest
            if digest in self.known or digest in digests:
                self._left_out["feedback already" if digest in self.known else "the text of another row"] += 1
                continue
            exclusive = taxonomy.exclusive or one.answer.score_type == "share"
            doubt = doubt_of(one.answer.scores, exclusive, _has_none(taxonomy, one.answer), threshold)
            entry = doubt.value, -place, doubt, one
            digests.add(digest)
            if len(heap) < most:
                heapq.heappush(heap, entry)
            else:
                *_, dropped = heapq.heappushpop(heap, entry)
                digests.discard(dropped.answer.digest)
        return [(doubt, one) for _, _, doubt, one in sorted(heap, key=lambda entry: (-entry[0], -entry[1]))]

    def _picked(self, candidates: Sequence[tuple[Doubt, Answered]]) -> tuple[ReviewText, ...]:
        vectors = self.encode([one.answer.text.joined for _, one in candidates if one.answer.text])
        doubts = [doubt.value for doubt, _ in candidates]
        chosen = [candidates[place] for place in pick(doubts, vectors, self.request.most, self.request.diversity)]
        places: dict[str, str] = {}
        for _, one in chosen:
            if one.id in places:
                raise InvalidDataset(
                    f"{places[one.id]} and {one.where} have the same id {quoted(one.id)}; name a column of different "
                    "ids with --id-field, or --id-field '' for the numbers of the rows"
                )
            places[one.id] = one.where
        return tuple(ReviewText(one.id, one.answer, doubt.value, doubt.why) for doubt, one in chosen)

    def _classified(self, classifier: Classifier) -> Iterator[Answered]:
        rows, taxonomy = self.table.rows(self._left_out), self.request.taxonomy
        while batch := list(islice(rows, _BATCH)):
            for (row, text), found in zip(
                batch, classifier.classify([text for _, text in batch], taxonomy), strict=True
            ):
                if found.problem:
                    self._left_out[_NO_ANSWER] += 1
                else:
                    yield self._answered(row, text, found)
            self.on_texts(len(batch))

    def _read(self) -> Iterator[Answered]:
        rows = self.table.rows(self._left_out)
        while batch := list(islice(rows, _BATCH)):
            for row, text in batch:
                if row.cells.get("problem") or not row.cells.get("source"):
                    self._left_out[_NO_ANSWER] += 1
                else:
                    yield self._answered(row, text, bulk_answer(row, self.request.taxonomy))
            self.on_texts(len(batch))

    def _answered(self, row: Row, text: Text, prediction: Prediction) -> Answered:
        answer = RecordedAnswer.of(text, self.request.taxonomy, prediction, version="", with_text=True)
        return Answered(self.table.columns.id_of(row), row.where, answer)


def _has_none(taxonomy: Taxonomy, answer: RecordedAnswer) -> bool:
    return bool(taxonomy.allow_none) and answer.score_type == "share"


def bulk_answer(row: Row, taxonomy: Taxonomy) -> Prediction:
    """The answer in a row that ``bulk`` wrote.

    Raises:
        InvalidDataset: the answer is of another taxonomy, or cannot be read; the message has the row.
    """
    source = source_in(str(row.cells["source"]), taxonomy)
    if source is None:
        raise InvalidDataset(
            f"{row.where}: its answer is not of {taxonomy.versioned_name} ({row.cells['source']!s:.80}); give the "
            "--taxonomy of that run, or --system for new answers"
        )
    try:
        cell = labels_in(row.cells["labels"])
        labels = right_labels((cell,) if isinstance(cell, str) else cell, taxonomy) if cell else ()
        stored = row.cells["scores"]
        scores: Mapping[str, Any] = (json.loads(stored) if isinstance(stored, str) and stored else stored) or {}
        scored = {str(name): float(score) for name, score in scores.items() if score is not None}
    except (ValueError, TypeError, AttributeError, InvalidFeedback) as error:
        raise InvalidDataset(f"{row.where}: its answer cannot be read: {error}") from None
    score_type = ("share" if taxonomy.exclusive else "probability") if scored else None
    return Prediction(labels, source, scored, score_type=score_type)  # type: ignore[arg-type]
