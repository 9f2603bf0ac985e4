"""The answer cache: a classifier around a classifier, and the SQLite file that holds the answers.

Only answers are cached, never failures. A damaged row, or one of another version, is a miss. Where the file cannot be
used (disk full, damaged, locked too long), the cache is bypassed and the error is logged once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llm.classifier import AnswerSource, Fingerprinting, Prediction
from llm.request_context import CURRENT_REQUEST
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_used ON answers (used);
"""
_FORMAT = 3  # of cached answers; part of every key
_CHECKSUM_DIGITS = 16
_KEYS_AT_ONCE = 500  # SQLite takes a limited number of parameters
_BUSY_SECONDS = 5.0
_SWITCH_SECONDS = 0.01  # between two tries to switch a new file to WAL
_PAUSE_SECONDS = 30.0  # after an error, so that a locked file does not cost every request five seconds
_TOUCH_SECONDS = 3600  # minimum time between two updates of a row's last use, so that reads seldom write
_EVICTED_SHARE = 0.1


class AnswerStore:
    """Key-value rows in one SQLite file in WAL mode, safe under many threads and processes.

    Every value is stored with a checksum of key and value; a row that does not match its checksum counts as missing.

    Args:
        path: the file; its folder is made.
        max_bytes: size of the data above which the least recently used tenth is deleted, repeatedly.
    """

    def __init__(self, path: Path, max_bytes: int = 256 * 2**20) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._local = threading.local()
        self._paused_until: dict[str, float] = {}  # by operation
        self._failing: set[str] = set()  # operations that failed and have not succeeded since
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        if self._paused("read"):
            return {}
        try:
            found = self._select(keys)
            self._touch([key for key, (_, used) in found.items() if used < time.time() - _TOUCH_SECONDS])
            self._failing.discard("read")
            return {key: value for key, (value, _) in found.items()}
        except (sqlite3.Error, OSError) as error:
            self._pause("read", error)
            return {}

    def put(self, values: Mapping[str, str]) -> None:
        """Store values; the newest wins."""
        if self._paused("write"):
            return
        now = int(time.time())
        try:
            with self._connection() as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                    [(key, _checksum(key, value) + value, now) for key, value in values.items()],
                )
            self._evict()
            self._failing.discard("write")
        except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
            self._pause("write", error)

    def _select(self, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            query = f"SELECT key, value, used FROM answers WHERE key IN ({','.join('?' * len(part))})"
            for row in self._connection().execute(query, part):
                key, value, used = row[0].decode(), _checked(row[0], row[1]), row[2]
                if value is not None:
                    found[key] = (value, used if isinstance(used, int) else 0)
        return found

    def _touch(self, keys: Iterable[str]) -> None:
        rows = [(int(time.time()), key) for key in keys]
        if rows:
            with self._connection() as connection:
                connection.executemany("UPDATE answers SET used = ? WHERE key = ?", rows)

    def _evict(self) -> None:
        connection = self._connection()
        while self._size(connection) > self._max_bytes:
            with connection:
                rows = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
                connection.execute(
                    "DELETE FROM answers WHERE key IN (SELECT key FROM answers ORDER BY used LIMIT ?)",
                    (max(1, int(rows * _EVICTED_SHARE)),),
                )
            if rows == 0:
                return

    def _size(self, connection: sqlite3.Connection) -> int:
        """Bytes of the pages in use; freed pages are used again before the file grows."""
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a forked process opens its own, since SQLite's must not cross a fork."""
        own: tuple[int, sqlite3.Connection] | None = getattr(self._local, "own", None)
        if own is None or own[0] != os.getpid():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
            connection.text_factory = bytes  # decoded row by row: a row that is not UTF-8 is one miss, not an error
            write_ahead(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            self._local.own = own = (os.getpid(), connection)
        return own[1]

    def _paused(self, operation: str) -> bool:
        return time.monotonic() < self._paused_until.get(operation, 0.0)

    def _pause(self, operation: str, error: Exception) -> None:
        """Stop using the file for some seconds. An error is logged once, until the operation succeeds again."""
        self._local.own = None
        with self._lock:
            logged = operation in self._failing
            self._failing.add(operation)
            self._paused_until[operation] = time.monotonic() + _PAUSE_SECONDS
        if not logged:
            log.warning(
                "answer cache: could not %s %s (%s); continuing without it; delete the file if it is damaged",
                operation, self._path, error,
            )  # fmt: skip


def _checksum(key: str, value: str) -> str:
    return hashlib.blake2b(f"{key}\0{value}".encode(), digest_size=_CHECKSUM_DIGITS // 2).hexdigest()


def _checked(key: bytes, stored: object) -> str | None:
    """The value of a row; None where the row is damaged."""
    try:
        text = stored.decode() if isinstance(stored, bytes) else ""
    except UnicodeDecodeError:
        return None
    value = text[_CHECKSUM_DIGITS:]
    return value if text[:_CHECKSUM_DIGITS] == _checksum(key.decode(), value) else None


def write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite rejects all but one of several concurrent switches without waiting."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_SWITCH_SECONDS)


@dataclass(frozen=True)
class Cached:
    """Caches the answers of another classifier; repeated texts of a batch are sent once."""

    inner: Fingerprinting  # answers texts that are not cached
    store: AnswerStore  # holds the answers
    # Whether requests with different API keys share answers; ``cached`` then reveals to one client what another has
    # sent.
    shared: bool = False

    @property
    def name(self) -> str:
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; answers from the cache have ``cached`` set."""
        originals = checked_texts(texts)
        keys = [self._key(text, taxonomy) for text in originals]
        known = self._known(list(dict.fromkeys(keys)), taxonomy)
        missing = {key: text for key, text in zip(keys, originals, strict=True) if key not in known}
        answers = dict(zip(missing, self.inner.classify(list(missing.values()), taxonomy), strict=True))
        answered = {key: _pack(prediction) for key, prediction in answers.items() if prediction.problem is None}
        # A calibration may have changed meanwhile: then it is unknown whether its old or new values made the answer.
        if certain := {key: one for key, one in answered.items() if self._key(missing[key], taxonomy) == key}:
            self.store.put(certain)
        return [answers[key] if key in answers else known[key] for key in keys]

    def _key(self, text: Text, taxonomy: Taxonomy) -> str:
        """Of an answer, as the inner classifier is now."""
        scope = "" if self.shared else CURRENT_REQUEST.get().cache_salt
        return f"{_FORMAT}:{scope}:{self.inner.fingerprint(text, taxonomy)}{text.fault}"

    def _known(self, keys: Sequence[str], taxonomy: Taxonomy) -> dict[str, Prediction]:
        """The cached answers; labels outside the taxonomy make a miss."""
        found = {key: _unpack(value) for key, value in self.store.get(keys).items()}
        names = set(taxonomy.names)
        return {key: one for key, one in found.items() if one and names.issuperset(one.labels)}


def _pack(prediction: Prediction) -> str:
    fields = ("labels", "source", "scores", "dropped", "score_type")
    return json.dumps({name: value for name, value in asdict(prediction).items() if name in fields}, ensure_ascii=False)


def _unpack(value: str) -> Prediction | None:
    """The answer; None where the value is of another format."""
    try:
        row = json.loads(value)
        return Prediction(
            tuple(row["labels"]),
            AnswerSource(**row["source"]),
            dict(row["scores"]),
            dropped=tuple(row["dropped"]),
            cached=True,
            score_type=row["score_type"],
        )
    except (ValueError, KeyError, TypeError):
        return None
