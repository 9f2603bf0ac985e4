"""Classifies batches of texts, and stores the answers: a SQLite file with a row per different text.

Each text is classified once. ``put`` writes a batch in one transaction that is on the disk when it returns.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bulk.sources import model_in, words_of
from llm.classifier import Classifier, Prediction, Usage
from prompts.errors import Interrupted
from prompts.taxonomy import Taxonomy
from prompts.text import Text

RESUME = "finished answers are kept; fix this and run the same command again"
"""The remedy of errors that stop a run."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, labels BLOB NOT NULL, scores BLOB NOT NULL,
    source INTEGER NOT NULL, problem TEXT, explained TEXT,
    prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER
);
CREATE TABLE IF NOT EXISTS sources (number INTEGER PRIMARY KEY, words TEXT NOT NULL UNIQUE);
CREATE TEMP TABLE planned (digest BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_NO_SCORE = float("nan")
_UNREADABLE = "unreadable:"
_CHUNK = 1_000
# Problems of the endpoint at this moment, not of the text.
TRANSIENT = frozenset(["unreachable", "busy", "misconfigured", "timeout"])
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds


@dataclass(frozen=True)
class RowAnswer:
    """The cells that are added to a row.

    Attributes:
        labels: None where there is a problem; empty where none applies.
        scores: by label, where the classifier gives scores.
        source: see ``bulk.sources``.
        problem: kind and detail of a failure.
        evidence: the fields of each passage, where evidence is requested and there is no problem.
        unexplained: why there is no evidence, by label.
    """

    labels: tuple[str, ...] | None
    scores: Mapping[str, float]
    source: str | None
    problem: str | None
    evidence: Sequence[Mapping[str, Any]] | None = None
    unexplained: Mapping[str, str] = field(default_factory=dict)


class StoredAnswer(NamedTuple):
    """A text's digest, its answer, and the tokens that it took."""

    key: bytes
    answer: RowAnswer
    usage: Usage = Usage()


def text_digest(text: Text) -> bytes:
    """The key of a text; 16 bytes."""
    body = text.body.encode()
    content = b"%d:%s%s" % (len(body), body, text.title.encode())
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(frozen=True)
class TextBatch:
    """Different texts to classify together, with their digests."""

    digests: tuple[bytes, ...]
    texts: tuple[Text, ...]

    @classmethod
    def taken_from(cls, pending: dict[bytes, Text], count: int) -> TextBatch:
        """The first texts of ``pending``, which are removed there."""
        keys = tuple(islice(pending, count))
        return cls(keys, tuple(pending.pop(key) for key in keys))

    def answers(self, predictions: Sequence[Prediction], taxonomy: Taxonomy) -> list[StoredAnswer]:
        """The answers of the batch's predictions."""
        return [
            StoredAnswer(key, _answer_of(prediction, taxonomy), prediction.usage)
            for key, prediction in zip(self.digests, predictions, strict=True)
        ]


Unknown = Callable[[Sequence[bytes]], set[bytes]]
"""Returns those of some digests that have no answer."""
Batches = Callable[[Unknown], Iterator[TextBatch]]
"""Returns the batches of all texts that are unknown."""


def model_of(answer: RowAnswer, taxonomy: Taxonomy) -> str:
    """The name of the model that answered, also where its answer is unreadable; empty where none did."""
    answered = answer.problem is None or answer.problem.startswith(_UNREADABLE)
    return model_in(answer.source or "", taxonomy) if answered else ""


def _answer_of(prediction: Prediction, taxonomy: Taxonomy) -> RowAnswer:
    """The answer of a prediction. A label outside the taxonomy makes it a problem."""
    source, problem = words_of(prediction), prediction.problem
    if problem is not None:
        return RowAnswer(None, {}, source, f"{problem.kind}: {problem.detail}")
    if unknown := next((name for name in prediction.labels if name not in taxonomy.names), None):
        return RowAnswer(None, {}, source, f"{_UNREADABLE} the answer {unknown!r} is no label of {taxonomy.name}")
    scores = {name: prediction.scores[name] for name in taxonomy.names if name in prediction.scores}
    evidence = None if prediction.evidence is None else [asdict(one) for one in prediction.evidence]
    return RowAnswer(prediction.labels, scores, source, None, evidence, prediction.unexplained)


# --- classifying ---


class Runner(Protocol):
    """Classifies batches, in any order."""

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """Answers to whole batches as they come; the caller adds them to the store."""


@dataclass(frozen=True)
class LocalRunner:
    """Runs one classifier in this process, batch by batch.

    ``patience`` is the time in seconds to wait for an endpoint that fails for every text; None stores its failures.
    """

    open: Callable[[], Classifier]
    taxonomy: Taxonomy
    patience: float | None = 60.0

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """See ``Runner.answers``."""
        classifier: Classifier | None = None
        for batch in batches(store.unknown):
            classifier = classifier or self.open()
            yield classify_batch(classifier, batch, self.taxonomy, self.patience)


def classify_batch(
    classifier: Classifier, batch: TextBatch, taxonomy: Taxonomy, patience: float | None
) -> list[StoredAnswer]:
    """A batch's answers.

    Where every text has a transient problem, the endpoint is down. The call waits for it and then raises
    ``Interrupted``, instead of storing a million failures.
    """
    deadline, wait = time.monotonic() + (patience or 0), _FIRST_WAIT
    while True:
        predictions = classifier.classify(batch.texts, taxonomy)
        outage = None if patience is None else _outage(predictions)
        if outage is None:
            return batch.answers(predictions, taxonomy)
        if time.monotonic() + wait > deadline:
            raise Interrupted(f"{classifier.name} answers none of {len(predictions)} texts ({outage}); {RESUME}")
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 2 * wait)


def _outage(predictions: Sequence[Prediction]) -> str | None:
    """The first problem's detail where the endpoint fails for every text."""
    problems = [prediction.problem for prediction in predictions]
    details = [problem.detail for problem in problems if problem is not None and problem.kind in TRANSIENT]
    return details[0] if details and len(details) == len(problems) else None


# --- storing ---


def select_in(connection: sqlite3.Connection, query: str, keys: Sequence[object]) -> Iterator[tuple[Any, ...]]:
    """Rows of a query whose ``{}`` is replaced by the keys, a thousand at a time."""
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        yield from connection.execute(query.format(",".join("?" * len(chunk))), chunk).fetchall()


class JobStore:
    """Answers by the digest of their text; one thread at a time.

    The file is created where it is missing; the path ``""`` is a temporary file of this process.
    """

    def __init__(self, path: Path | str, taxonomy: Taxonomy) -> None:
        self._path, self._taxonomy, self._names = path, taxonomy, taxonomy.names
        self._place = {name: place for place, name in enumerate(self._names)}
        with self._errors("open"):
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # an answer that was paid for survives a power cut
            self._connection.executescript(_SCHEMA)
            self._sources: dict[str, int] = {
                source: number for number, source in self._connection.execute("SELECT number, words FROM sources")
            }

    def __enter__(self) -> JobStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __len__(self) -> int:
        """Number of answered texts."""
        return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def unknown(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of the digests that have no answer."""
        return set(digests) - {row[0] for row in self._select("digest", digests)}

    def plan(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that are neither answered nor planned; they are planned from now on, in this process."""
        fresh = self.unknown(digests)
        fresh -= {row[0] for row in self._select("digest", list(fresh), "planned")}
        with self._errors("write"), self._connection:
            self._connection.executemany("INSERT INTO planned VALUES (?)", [(key,) for key in sorted(fresh)])
        return fresh

    def answers(self, digests: Sequence[bytes]) -> dict[bytes, RowAnswer]:
        """The answers of those digests that have one."""
        sources = {number: source for source, number in self._sources.items()}
        found = self._select("digest, labels, scores, source, problem, explained", digests)
        return {row[0]: self._answer(row[1], row[2], sources[row[3]], *row[4:]) for row in found}

    def usage_of(self, digest: bytes) -> Usage:
        """Tokens of an answer that is there."""
        return Usage(*next(self._select("prompt_tokens, cached_tokens, completion_tokens", [digest])))

    def put(self, answers: Sequence[StoredAnswer]) -> None:
        """Store answers, all or none; one that is there stays. Raises ``Interrupted`` where the disk is full."""
        with self._errors("write"), self._connection:
            rows = [self._row(*answer) for answer in answers]
            self._connection.executemany("INSERT OR IGNORE INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @property
    def models(self) -> set[str]:
        """Names of the models that answered; see ``model_of``."""
        answered = "source = sources.number AND (problem IS NULL OR problem LIKE ?)"
        sources = self._connection.execute(
            f"SELECT words FROM sources WHERE EXISTS (SELECT 1 FROM answers WHERE {answered})", (f"{_UNREADABLE}%",)
        )
        return {name for (source,) in sources if (name := model_in(source, self._taxonomy))}

    @property
    def usage(self) -> Usage:
        """Tokens of all answers."""
        sums = "coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(completion_tokens), 0)"
        return Usage(*map(int, self._connection.execute(f"SELECT {sums} FROM answers").fetchone()))

    # A label is stored as its place in the taxonomy: ten million answers take megabytes instead of gigabytes.

    def _row(self, key: bytes, answer: RowAnswer, usage: Usage) -> tuple[object, ...]:
        labels = array("H", [self._place[name] for name in answer.labels or ()]).tobytes()
        scores = [answer.scores.get(name, _NO_SCORE) for name in self._names] if answer.scores else []
        tokens = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        source = self._source_number(answer.source or "")
        explained = None if answer.evidence is None else json.dumps([answer.evidence, answer.unexplained])
        return key, labels, array("d", scores).tobytes(), source, answer.problem, explained, *tokens

    def _source_number(self, source: str) -> int:
        if source not in self._sources:
            inserted = self._connection.execute("INSERT INTO sources (words) VALUES (?)", (source,))
            self._sources[source] = inserted.lastrowid or 0
        return self._sources[source]

    def _answer(
        self, labels: bytes, scores: bytes, source: str, problem: str | None, explained: str | None
    ) -> RowAnswer:
        scored = {name: score for name, score in zip(self._names, array("d", scores), strict=False) if score == score}
        names = None if problem else tuple(self._names[place] for place in array("H", labels))
        return RowAnswer(names, scored, source, problem, *(json.loads(explained) if explained else ()))

    def _select(self, columns: str, digests: Sequence[bytes], table: str = "answers") -> Iterator[tuple[Any, ...]]:
        with self._errors("read"):
            yield from select_in(self._connection, f"SELECT {columns} FROM {table} WHERE digest IN ({{}})", digests)

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Interrupted(f"cannot {action} {self._path}: {error} (is the disk full?); {RESUME}") from None
