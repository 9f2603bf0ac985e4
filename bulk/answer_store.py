"""The answers of an unfinished run: one SQLite file, a row per different text, so that no text is asked twice.

A batch is put in by one transaction and is on the disk when ``put`` returns: whatever happens then, it is there whole
or not at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.classifier import AnswerSource, Prediction, Usage
from prompts.errors import Interrupted
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, labels BLOB NOT NULL, scores BLOB NOT NULL,
    source INTEGER NOT NULL, problem TEXT, prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER
);
CREATE TABLE IF NOT EXISTS sources (number INTEGER PRIMARY KEY, words TEXT NOT NULL UNIQUE);
CREATE TEMP TABLE planned (digest BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_UNKNOWN = float("nan")
_UNREADABLE = "unreadable:"
_AT_ONCE = 1_000


@dataclass(frozen=True)
class RowAnswer:
    """What a row is given.

    Attributes:
        labels: None where there is a problem; empty where none applies.
        scores: by label, where the classifier gives scores.
        source: who answered, in words.
        problem: kind and detail of why there is no answer; None where there is one.
    """

    labels: tuple[str, ...] | None
    scores: Mapping[str, float]
    source: str | None
    problem: str | None


def digest(text: Text) -> bytes:
    """What tells one text from another; 16 bytes."""
    body = text.body.encode()
    words = b"%d:%s%s" % (len(body), body, text.title.encode())
    return hashlib.blake2b(words, digest_size=16).digest()


def source_words(source: AnswerSource) -> str:
    """Who answered, in one line: model, taxonomy, prompt, strategy."""
    return " ".join(part for part in (source.model, source.taxonomy, source.prompt, source.strategy) if part)


def model_of(answer: RowAnswer, taxonomy: Taxonomy) -> str:
    """The model that answered, by name; empty where none did. An answer that cannot be read is one."""
    answered = answer.problem is None or answer.problem.startswith(_UNREADABLE)
    return _model_in(answer.source or "", taxonomy) if answered else ""


def _model_in(words: str, taxonomy: Taxonomy) -> str:
    return words.partition(f" {taxonomy.versioned_name}")[0]


def answer_of(prediction: Prediction, taxonomy: Taxonomy) -> RowAnswer:
    """A prediction as rows are given it. A label that the taxonomy does not have makes it a problem."""
    source, problem = source_words(prediction.source), prediction.problem
    if problem is not None:
        return RowAnswer(None, {}, source, f"{problem.kind}: {problem.detail}")
    if strange := next((name for name in prediction.labels if name not in taxonomy.names), None):
        return RowAnswer(
            None, {}, source, f"{_UNREADABLE} {strange!r} was answered, which is no label of {taxonomy.name}"
        )
    scores = {name: prediction.scores[name] for name in taxonomy.names if name in prediction.scores}
    return RowAnswer(prediction.labels, scores, source, None)


class JobStore:
    """Answers by the digest of their text. One thread at a time.

    Args:
        path: of the file, made where it is not there; ``""`` is a file that goes with the process.
        taxonomy: whose labels are answered.
    """

    def __init__(self, path: Path | str, taxonomy: Taxonomy) -> None:
        self._taxonomy, self._names = taxonomy, taxonomy.names
        self._place = {name: place for place, name in enumerate(self._names)}
        with self._told("open", path):
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # an answer that was paid for outlives a power cut
            self._connection.executescript(_SCHEMA)
            self._sources: dict[str, int] = {
                words: n for n, words in self._connection.execute("SELECT number, words FROM sources")
            }
        self._path = path

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __len__(self) -> int:
        """How many texts are answered."""
        return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def known(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those of the digests that have an answer."""
        return {row[0] for row in self._select("digest", digests)}

    def plan(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that were neither answered nor planned before; from now on they are planned, until the process ends."""
        fresh = set(digests) - self.known(digests)
        fresh -= {row[0] for row in self._select("digest", list(fresh), "planned")}
        with self._told("plan"), self._connection:
            self._connection.executemany("INSERT INTO planned VALUES (?)", [(one,) for one in sorted(fresh)])
        return fresh

    def answers(self, digests: Sequence[bytes]) -> dict[bytes, RowAnswer]:
        """The answers that are there."""
        words = {number: one for one, number in self._sources.items()}
        columns = "digest, labels, scores, source, problem"
        return {row[0]: self._answer(row[1], row[2], words[row[3]], row[4]) for row in self._select(columns, digests)}

    def put(self, answers: Sequence[tuple[bytes, RowAnswer, Usage]]) -> None:
        """Keep answers, all or none of them; one that is there already stays.

        Raises:
            Interrupted: the disk does not take them.
        """
        with self._told("write"), self._connection:
            rows = [self._row(key, answer, usage) for key, answer, usage in answers]
            self._connection.executemany(
                "INSERT OR IGNORE INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )  # fmt: skip

    @property
    def models(self) -> set[str]:
        """Names of the models that answered; see ``model_of``."""
        answered = "source = sources.number AND (problem IS NULL OR problem LIKE ?)"
        found = self._connection.execute(
            f"SELECT words FROM sources WHERE EXISTS (SELECT 1 FROM answers WHERE {answered})", (f"{_UNREADABLE}%",)
        )
        return {name for (words,) in found if (name := _model_in(words, self._taxonomy))}

    @property
    def usage(self) -> Usage:
        """Tokens of all answers."""
        sums = "coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(completion_tokens), 0)"
        return Usage(*map(int, self._connection.execute(f"SELECT {sums} FROM answers").fetchone()))

    # --- packing: a label is its place, so that ten million answers take megabytes and not gigabytes ---

    def _row(self, key: bytes, answer: RowAnswer, usage: Usage) -> tuple[object, ...]:
        labels = array("H", [self._place[name] for name in answer.labels or ()]).tobytes()
        scored = [answer.scores.get(name, _UNKNOWN) for name in self._names] if answer.scores else []
        tokens = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        source = self._source(answer.source or "")
        return key, labels, array("d", scored).tobytes(), source, answer.problem, *tokens

    def _source(self, words: str) -> int:
        if words not in self._sources:
            found = self._connection.execute("INSERT INTO sources (words) VALUES (?)", (words,))
            self._sources[words] = found.lastrowid or 0
        return self._sources[words]

    def _answer(self, labels: bytes, scores: bytes, source: str, problem: str | None) -> RowAnswer:
        scored = {name: one for name, one in zip(self._names, array("d", scores), strict=False) if one == one}
        names = None if problem else tuple(self._names[place] for place in array("H", labels))
        return RowAnswer(names, scored, source, problem)

    def _select(self, columns: str, digests: Sequence[bytes], table: str = "answers") -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            with self._told("read"):
                yield from self._connection.execute(
                    f"SELECT {columns} FROM {table} WHERE digest IN ({marks})", some
                ).fetchall()

    @contextmanager
    def _told(self, act: str, path: Path | str | None = None) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Interrupted(
                f"cannot {act} {path or self._path}: {error}; what was answered before is kept: "
                "mend that (is the disk full?) and run the same command again"
            ) from None
