"""Requests that are sent by others: written down instead of sent, and answered from what came back.

To a reading this is a wire like any other. Asked without an answer at hand it notes the request down; asked again when
the answer is there, it hands it over: the very messages, the very constraint and the reading's own reader, whoever
carries the requests (a Batch API, ``vllm run-batch``, a cluster).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llm.classifier import Problem, ProblemKind
from llm.engines.openai_compatible import OpenAICompatible
from llm.engines.probe import Honours
from llm.engines.refusals import excerpt, problem_of, redacted, refused
from llm.engines.wire import CHAT, Body
from prompts.errors import InvalidDataset, InvalidSetting
from tabular import open_table

# Nobody can be asked what the endpoint honours: a strict schema, which all of them take today, and the 20 likeliest
# tokens, OpenAI's and vLLM's own bound.
ASSUMED = Honours({}, top_logprobs=20)
_AT_ONCE = 1_000


class Correspondence:
    """A wire that sends nothing.

    Args:
        place: who answers, for people.
        path: of the file for replies; ``""`` is one that goes with the process.
    """

    base_url = ""

    def __init__(self, place: str = "the batch", path: Path | str = "") -> None:
        self.place = place
        self.wanted: dict[str, Body] = {}
        self._path = path

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        """See ``Wire.post``; a request without a reply is noted in ``wanted``."""
        if path != CHAT:
            raise InvalidSetting("requests in files are chat completions; choose the reading list, letters or yes_no")
        keys = [custom_id(body) for body in bodies]
        there = self._replies(keys)
        self.wanted |= {key: body for key, body in zip(keys, bodies, strict=True) if key not in there}
        return [self._reply(there.get(key)) for key in keys]

    def receive(self, replies: Iterable[tuple[str, Any]]) -> int:
        """Take replies in: result lines as ``read_results`` gives them; returns how many there were. A reply that
        succeeded is not put aside for one that failed."""
        count = 0
        with self._connection:
            for key, reply in replies:
                act = "REPLACE" if _succeeded(reply) else "IGNORE"
                self._connection.execute(f"INSERT OR {act} INTO replies VALUES (?, ?)", (key, json.dumps(reply)))
                count += 1
        return count

    def taken(self) -> dict[str, Body]:
        """The requests noted since the last time."""
        wanted, self.wanted = self.wanted, {}
        return wanted

    def beside(self, path: str) -> str:
        """See ``Wire.beside``."""
        return path

    def get(self, path: str) -> Any:
        """See ``Wire.get``."""
        return Problem("unreachable", f"{self.place} cannot be asked now")

    def excerpt(self, words: str) -> str:
        """See ``Wire.excerpt``."""
        return excerpt(redacted(words))

    def served(self, model: str) -> str:
        """See ``Wire.served``."""
        return ""

    @property
    def essence(self) -> Mapping[str, Any]:
        """See ``Wire.essence``."""
        return {}

    def engine(self, model: str) -> OpenAICompatible:
        """The engine whose requests these are."""
        return OpenAICompatible(self, model, lambda: ASSUMED)

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS replies (id TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID"
        )
        return connection

    def _replies(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(f"SELECT id, reply FROM replies WHERE id IN ({marks})", some)
            found |= {key: json.loads(reply) for key, reply in rows}
        return found

    def _reply(self, result: Any) -> Any:
        if result is None:
            return Problem("late", f"{self.place} has no answer to this request yet")
        response, error = result.get("response") or {}, result.get("error")
        status, body = response.get("status_code") or (200 if response else 0), response.get("body")
        if _succeeded(result):
            return body
        status = status or _status(error)
        said = refused(status, error or body)
        if not status:
            kind: ProblemKind = "busy" if "expired" in said.everything else "rejected"
            words = excerpt(said.words) or "no reason was given"
            return Problem(kind, f"{self.place} did not answer: {words}")
        return problem_of(self.place, said)


def custom_id(body: Body) -> str:
    """The name of a request, from all that it says: the same request has the same name, in any run."""
    words = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return f"marquee-{hashlib.blake2b(words.encode(), digest_size=16).hexdigest()}"


def request_line(key: str, body: Body) -> str:
    """A request as OpenAI's and DashScope's Batch API and ``vllm run-batch`` take it."""
    line = {"custom_id": key, "method": "POST", "url": f"/v1{CHAT}", "body": body}
    return json.dumps(line, ensure_ascii=False)


def read_results(path: Path) -> Iterable[tuple[str, Any]]:
    """The answers in a file of results, each with the name of its request.

    Raises:
        InvalidDataset: the file cannot be read or holds something else.
    """
    for row in open_table(path).rows():
        if row.problem or "custom_id" not in row.cells:
            raise InvalidDataset(
                f"{row.where}: no line of a Batch API's results (custom_id, response, error); was the download cut off?"
            )
        yield str(row.cells["custom_id"]), {"response": row.cells.get("response"), "error": row.cells.get("error")}


def _succeeded(result: Mapping[str, Any]) -> bool:
    response = result.get("response") or {}
    return (
        response.get("status_code", 200) == 200 and isinstance(response.get("body"), dict) and not result.get("error")
    )


def _status(error: Any) -> int:
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if code.isdecimal() else 0
