"""Tables of the file of feedback: their SQL, and rows from and to entries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache

from marquee.feedback.entries import (
    FeedbackEntry,
    FeedbackKind,
    RecordedAnswer,
    StoredTaxonomy,
    answer_as_stored,
    answer_from_store,
    taxonomy_as_stored,
    taxonomy_from_store,
)
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_EVICTED_SHARE = 0.1
SCHEMA = """
CREATE TABLE IF NOT EXISTS taxonomies (version TEXT PRIMARY KEY, stored TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
  key TEXT NOT NULL, request TEXT NOT NULL, item INTEGER NOT NULL, name TEXT NOT NULL, made REAL NOT NULL,
  digest TEXT NOT NULL, taxonomy TEXT NOT NULL, answer TEXT NOT NULL, title TEXT, body TEXT,
  PRIMARY KEY (key, request, item, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_made ON answers (made);
CREATE INDEX IF NOT EXISTS answers_text ON answers (digest, key, taxonomy);
CREATE TABLE IF NOT EXISTS feedback (
  id TEXT PRIMARY KEY, made TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, taxonomy TEXT NOT NULL,
  kind TEXT NOT NULL, labels TEXT NOT NULL, answer TEXT, request TEXT NOT NULL, title TEXT, body TEXT,
  UNIQUE (digest, key, taxonomy)
) WITHOUT ROWID;
"""
ANSWER = "answer, digest, stored, title, body"
FEEDBACK = "id, made, key, digest, stored, kind, labels, answer, request, title, body"
DELETE_OLDEST = """
DELETE FROM answers WHERE (key, request, item, name) IN
  (SELECT key, request, item, name FROM answers ORDER BY made LIMIT ?)
"""
DROP_TAXONOMIES = """
DELETE FROM taxonomies WHERE version NOT IN (SELECT taxonomy FROM feedback UNION SELECT taxonomy FROM answers)
"""
_of_store = lru_cache(256)(taxonomy_from_store)


def parts_of(answer: RecordedAnswer) -> tuple[str | None, ...]:
    """Columns of an answer, from ``digest`` on."""
    text = answer.text
    version = answer.taxonomy.versioned_name
    return answer.digest, version, answer_as_stored(answer), *((text.title, text.body) if text else (None, None))


def answer_of(stored: str, digest: str, taxonomy: str, title: str | None, body: str | None) -> RecordedAnswer:
    """The answer of the columns ``ANSWER``."""
    return answer_from_store(stored, digest, _of_store(taxonomy), None if body is None else Text(body, title or ""))


def entry_of(
    entry_id: str, made: str, key: str, digest: str, taxonomy: str, kind: FeedbackKind, labels: str,
    answer: str | None, request: str, title: str | None, body: str | None,
) -> FeedbackEntry:  # fmt: skip
    """The feedback of the columns ``FEEDBACK``."""
    text = None if body is None else Text(body, title or "")
    labels_of = _of_store(taxonomy)
    recorded = answer_from_store(answer, digest, labels_of, text) if answer else None
    right = tuple(json.loads(labels))
    return FeedbackEntry(entry_id, made, key, digest, labels_of, kind, right, recorded, request, text)


def insert_answers(
    connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]], taxonomies: Iterable[Taxonomy]
) -> None:
    """Insert or replace rows of answers, and their taxonomies."""
    _insert_taxonomies(connection, taxonomies)
    connection.executemany(f"INSERT OR REPLACE INTO answers VALUES ({', '.join('?' * 10)})", rows)


def insert_feedback(connection: sqlite3.Connection, entry: FeedbackEntry) -> None:
    """Insert feedback in place of earlier feedback of the same key on the same text."""
    _insert_taxonomies(connection, [entry.taxonomy])
    answer, text = entry.answer, entry.text
    values = (
        entry.id, entry.made, entry.key, entry.digest, entry.taxonomy.versioned_name, entry.kind,
        json.dumps(entry.labels), answer_as_stored(answer) if answer else None, entry.request_id,
        text.title if text else None, text.body if text else None,
    )  # fmt: skip
    connection.execute(f"INSERT OR REPLACE INTO feedback VALUES ({', '.join('?' * len(values))})", values)


def _insert_taxonomies(connection: sqlite3.Connection, taxonomies: Iterable[Taxonomy]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO taxonomies VALUES (?, ?)",
        [
            (one.versioned_name, one.stored if isinstance(one, StoredTaxonomy) else taxonomy_as_stored(one))
            for one in taxonomies
        ],
    )


def evict(connection: sqlite3.Connection) -> bool:
    """Remove the oldest tenth of the recorded answers; False where there is none."""
    with connection:
        count = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
        connection.execute(DELETE_OLDEST, (max(1, int(count * _EVICTED_SHARE)),))
    return bool(count)


def empty_journal(connection: sqlite3.Connection) -> bool:
    """Move all changes into the file and truncate the journal; False where another process reads for too long."""
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
