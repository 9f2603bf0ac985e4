"""The SQLite file of recorded answers and feedback, in WAL mode, safe under many threads and processes.

Recorded answers live for a limited time and make way for new ones; feedback is kept until it is deleted, and refused
where the file is full. Deleted rows are overwritten with zeros (``secure_delete``), and the write-ahead log is emptied.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llm.wrappers.cache import write_ahead
from marquee.feedback.entries import (
    FeedbackEntry,
    FeedbackFull,
    FeedbackUnusable,
    InvalidFeedback,
    RecordedAnswer,
    UnknownAnswer,
    kind_of_feedback,
    right_labels,
    text_digest,
)
from marquee.feedback.tables import (
    ANSWER,
    DELETE_OLDEST,
    DROP_TAXONOMIES,
    FEEDBACK,
    SCHEMA,
    answer_of,
    empty_journal,
    entry_of,
    evict,
    insert_answers,
    insert_feedback,
    parts_of,
)
from marquee.settings import Settings
from prompts.taxonomy import Taxonomy
from prompts.text import Text

log = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_PAUSE_SECONDS = 30.0  # without recording after an error, so that a locked file does not cost each request five seconds
_PURGE_SECONDS = 60.0  # between two removals of expired answers by one process
_JOURNAL_BYTES = 4 * 2**20
_CONDITIONS = {"id": "id = ?", "digest": "digest = ?", "key": "key = ?"}  # of a deletion


class FeedbackStore:
    """Recorded answers and feedback.

    Args:
        path: the file; it is made with its folder, readable by its owner alone.
        with_texts: whether texts are stored; otherwise their digests.
        max_bytes: maximum size of the file.
        seconds: how long an answer is recorded.
        max_answers: maximum number of recorded answers.
    """

    def __init__(
        self,
        path: Path,
        with_texts: bool = False,
        max_bytes: int = 256 * 2**20,
        seconds: float = 86_400.0,
        max_answers: int = 100_000,
    ) -> None:
        self.path, self.with_texts = path, with_texts
        self._max_bytes, self._seconds, self._max_answers = max_bytes, seconds, max_answers
        self._local = threading.local()
        self._paused_until, self._purged = 0.0, float("-inf")

    def record(self, key: str, request_id: str, answers: Sequence[tuple[int, str, RecordedAnswer]]) -> None:
        """Record the answers of a request: number of the text, name of the taxonomy in the request, and answer.

        Without a usable file the answers are not recorded, and the error is logged.
        """
        if time.monotonic() < self._paused_until:
            return
        rows = [(key, request_id, item, name, time.time(), *parts_of(one)) for item, name, one in answers]
        definitions = dict.fromkeys(one.taxonomy for _, _, one in answers)
        try:
            self._purge(each=_PURGE_SECONDS)
            self._making_way(lambda connection: insert_answers(connection, rows, definitions), "NORMAL")
        except (sqlite3.Error, OSError) as error:
            self._forget()
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            log.warning("feedback: answers are not recorded in %s for %d s: %s", self.path, _PAUSE_SECONDS, error)

    def answer(self, key: str, request_id: str, item: int, name: str | None = None) -> RecordedAnswer:
        """A recorded answer to a request of this key.

        Raises:
            UnknownAnswer: there is none, or it has expired.
            InvalidFeedback: the request has answers under several taxonomies, and none is named.
        """
        with self._usable() as connection:
            rows = connection.execute(
                f"SELECT name, {ANSWER} FROM answers JOIN taxonomies ON version = taxonomy "
                "WHERE key = ? AND request = ? AND item = ? AND made > ?",
                (key, request_id, item, time.time() - self._seconds),
            ).fetchall()
        found = {row[0]: row[1:] for row in rows}
        if name is None and len(found) > 1:
            raise InvalidFeedback(f"the request has answers under {', '.join(found)}; name one of them", "taxonomy")
        chosen = next(iter(found.values()), None) if name is None else found.get(name)
        if chosen is None:
            under = f" under the taxonomy {name!r}" if name is not None else ""
            raise UnknownAnswer(
                f"no answer is recorded for request_id {request_id!r}, index {item}{under}; answers are recorded for "
                f"{self._seconds / 3600:g} hours, for the key that requested them; send the text with its taxonomy"
            )
        return answer_of(*chosen)

    def add_for_answer(self, key: str, request_id: str, answer: RecordedAnswer, labels: Sequence[str]) -> FeedbackEntry:
        """Store the right labels of a recorded answer; earlier feedback of this key on the text is replaced.

        Raises:
            InvalidFeedback: a label is not in the taxonomy of the answer.
            FeedbackFull: the file has reached its limit.
            FeedbackUnusable: the file cannot be written.
        """
        return self._add(key, request_id, answer.digest, answer.taxonomy, labels, answer, answer.text)

    def add_for_text(self, key: str, text: Text, taxonomy: Taxonomy, labels: Sequence[str]) -> FeedbackEntry:
        """Store the right labels of a text, with the last recorded answer for it; see ``add_for_answer``."""
        digest = text_digest(text)
        with self._usable() as connection:
            row = connection.execute(
                f"SELECT {ANSWER} FROM answers JOIN taxonomies ON version = taxonomy "
                "WHERE digest = ? AND key = ? AND taxonomy = ? AND made > ? ORDER BY made DESC LIMIT 1",
                (digest, key, taxonomy.versioned_name, time.time() - self._seconds),
            ).fetchone()
        answer = answer_of(*row) if row else None
        return self._add(key, "", digest, taxonomy, labels, answer, Text(text.body, text.title))

    def entries(self) -> Iterator[FeedbackEntry]:
        """All feedback, the oldest first.

        Raises:
            FeedbackUnusable: the file cannot be read.
        """
        with self._usable() as connection:
            rows = connection.execute(
                f"SELECT {FEEDBACK} FROM feedback JOIN taxonomies ON version = taxonomy ORDER BY made, id"
            )
            for row in rows:
                yield entry_of(*row)

    def right_labels(self, digests: Sequence[str], taxonomy: Taxonomy) -> dict[str, tuple[str, ...]]:
        """The right labels of those texts that have feedback under exactly this taxonomy, by digest; the newest ones.

        Raises:
            FeedbackUnusable: the file cannot be read.
        """
        with self._usable() as connection:
            rows = connection.execute(
                "SELECT digest, labels FROM feedback WHERE taxonomy = ? AND digest IN (SELECT value FROM json_each(?)) "
                "ORDER BY made",
                (taxonomy.versioned_name, json.dumps(digests)),
            ).fetchall()
        return {digest: tuple(json.loads(labels)) for digest, labels in rows}

    def delete(self, **conditions: str) -> int:
        """Delete the feedback, and for a digest or a key the recorded answers, that meet all conditions.

        Args:
            conditions: ``id``, ``digest`` and ``key`` with their values; none deletes everything.

        Returns:
            The number of deleted entries of feedback.

        Raises:
            FeedbackUnusable: the file cannot be written.
        """
        where = " AND ".join(["1", *(_CONDITIONS[name] for name in conditions)])
        values = tuple(conditions.values())
        with self._usable() as connection:
            with connection:
                count = connection.execute(f"DELETE FROM feedback WHERE {where}", values).rowcount
                if "id" not in conditions:
                    connection.execute(f"DELETE FROM answers WHERE {where}", values)
                connection.execute(DROP_TAXONOMIES)
            if not empty_journal(connection):
                raise FeedbackUnusable(
                    f"{count} entries are deleted, but {self.path}-wal may still contain them, because another process "
                    "reads the file; delete once more when it has ended"
                )
        return count

    def _add(
        self, key: str, request_id: str, digest: str, taxonomy: Taxonomy, labels: Sequence[str],
        answer: RecordedAnswer | None, text: Text | None,
    ) -> FeedbackEntry:  # fmt: skip
        right = right_labels(labels, taxonomy)
        kept = text if self.with_texts else None
        entry = FeedbackEntry(
            uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="microseconds"), key, digest, taxonomy,
            kind_of_feedback(right, answer), right, answer, request_id, kept,
        )  # fmt: skip
        with self._usable():
            self._making_way(lambda connection: insert_feedback(connection, entry), "FULL")
        return entry

    def _making_way(self, write: Callable[[sqlite3.Connection], object], synchronous: str) -> None:
        """Write in one transaction; while the file is full, the oldest recorded answers are removed first.

        ``synchronous``: with FULL, what is written survives a power cut; with NORMAL only the end of the process.
        """
        while True:
            connection = self._connection()
            connection.execute(f"PRAGMA synchronous={synchronous}")
            try:
                with connection:
                    write(connection)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not evict(connection):
                    raise

    def _purge(self, each: float = 0.0) -> None:
        """Remove expired answers and those beyond the maximum number, at most once in ``each`` seconds."""
        if time.monotonic() - self._purged < each:
            return
        self._purged = time.monotonic()
        connection = self._connection()
        with connection:
            gone = connection.execute("DELETE FROM answers WHERE made <= ?", (time.time() - self._seconds,)).rowcount
            excess = connection.execute("SELECT count(*) FROM answers").fetchone()[0] - self._max_answers
            if excess > 0:
                gone += connection.execute(DELETE_OLDEST, (excess,)).rowcount
            if gone:
                connection.execute(DROP_TAXONOMIES)
        if gone:
            empty_journal(connection)

    @contextmanager
    def _usable(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; errors of SQLite and the disk become errors with the file and the remedy."""
        try:
            yield self._connection()
        except (sqlite3.Error, OSError) as error:
            self._forget()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise FeedbackFull(
                    f"{self.path} cannot grow: it has {self._max_bytes // 2**20} MB, or the disk is full; export and "
                    "delete feedback, or raise MARQUEE_FEEDBACK_MEGABYTES"
                ) from None
            raise FeedbackUnusable(
                f"cannot use {self.path}: {error}; try again, or check the file and its folder (MARQUEE_FEEDBACK_PATH)"
            ) from None

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a forked process opens its own, since SQLite's must not cross a fork."""
        own: tuple[int, sqlite3.Connection] | None = getattr(self._local, "own", None)
        if own is None or own[0] != os.getpid():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's journals take its permissions
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            connection.execute("PRAGMA secure_delete=ON")
            write_ahead(connection)
            connection.execute("PRAGMA temp_store=MEMORY")  # a sort writes no texts into a temporary file
            connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={max(16, self._max_bytes // page)}")
            connection.executescript(SCHEMA)
            self._local.own = own = (os.getpid(), connection)
        return own[1]

    def _forget(self) -> None:
        """Open the file again at the next use."""
        self._local.own = None


def store_of(settings: Settings) -> FeedbackStore:
    """The file of the settings, whether or not the service stores feedback."""
    size = settings.feedback_megabytes * 2**20
    return FeedbackStore(
        settings.feedback_path, settings.feedback_texts, size, settings.feedback_hours * 3600, settings.feedback_answers
    )
