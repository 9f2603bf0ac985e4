"""A transport that sends nothing: it collects requests, and replies come from files or from a cluster.

Strategies use it like any other transport. A request without a reply is collected; run again with the replies, the same
request gets its reply, with the same messages, constraint and parser (Batch API, ``vllm run-batch``, Ray).
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llm.backends.capabilities import CapabilityReport
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.refusals import Refusal, excerpt, problem_of, read_refusal, redact
from llm.backends.replies import only_reasoned, status_in
from llm.backends.request_adapter import Reply, RequestAdapter
from llm.backends.request_forms import Body
from llm.backends.transport import CHAT
from llm.classifier import Problem
from prompts.errors import InvalidDataset, InvalidSetting
from tabular import open_table

# The endpoint cannot be checked. Assumed are a strict schema, which current batch services accept, and 20 top tokens,
# the limit of OpenAI and vLLM.
ASSUMED = CapabilityReport({}, top_logprobs=20)
_AT_ONCE = 1_000
# Failures without a status that another attempt may avoid: "batch_expired", "batch_cancelled", "server_error".
_PASSING = re.compile(
    r"expired|cancel+(?:ed|ation)|timed?[ _-]?out|rate[ _-]?limit|too[ _]many[ _]requests|overloaded|unavailable"
    r"|server[ _-]?error|internal[ _-]?(?:error|failure)|connection (?:error|aborted|reset|refused|lost|closed)",
    re.IGNORECASE,
)


class OfflineTransport:
    """A transport that sends nothing.

    Args:
        place: who answers, for people.
        path: of the file for replies; ``""`` is one that goes with the process.
        adapting: rewrites requests as their model takes them, and learns from refusals; None changes nothing.
        remedy: what to do about a request that is refused in this form and has another one now, or that failed for a
            passing reason.
        resends: whether a request that failed for a passing reason is noted again; else its failure is final.
        secrets: removed from what the endpoint said, beside those of the endpoint's URL.
    """

    base_url = ""

    def __init__(
        self,
        place: str = "the batch",
        path: Path | str = "",
        adapting: RequestAdapter | None = None,
        remedy: str = "write the requests again with --batch-file and the same --read-results",
        resends: bool = True,
        secrets: Sequence[str] = (),
    ) -> None:
        self.endpoint = place
        self._secrets = (*secrets, *(adapting.address.secrets if adapting else ()))
        self.wanted: dict[str, Body] = {}
        self._path, self._adapting, self._remedy, self._resends = path, adapting, remedy, resends

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        """See ``HTTPTransport.post``; a request without a reply is noted in ``wanted``."""
        if path != CHAT:
            raise InvalidSetting(
                "requests in files are chat completions; choose the strategy json_list, letters or yes_no"
            )
        keys = [custom_id(self._adapting.with_extra(body) if self._adapting else body) for body in bodies]
        there, failures = self._read("replies", keys), self._read("failures", keys)
        return [
            self._reply(key, body, there.get(key, []), failures.get(key, []))
            for key, body in zip(keys, bodies, strict=True)
        ]

    def receive(self, replies: Iterable[tuple[str, Any]]) -> int:
        """Add result lines as ``read_results`` returns them; returns their number.

        A successful reply is not replaced by a failed one.
        """
        count = 0
        with self._connection:
            for key, reply in replies:
                row = (key, json.dumps(reply))
                if _succeeded(reply):
                    self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", row)
                else:
                    self._connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", row)
                    self._connection.execute("INSERT INTO failures VALUES (?, ?)", row)
                count += 1
        return count

    def taken(self) -> dict[str, Body]:
        """The requests noted since the last time, each as its model takes it."""
        wanted, self.wanted = self.wanted, {}
        if self._adapting is None:
            return wanted
        return {key: self._adapting.prepared(body, _needed(body)) for key, body in wanted.items()}

    def line(self, key: str, body: Body) -> str:
        """A request as OpenAI's, Azure's and DashScope's Batch API and ``vllm run-batch`` take it."""
        azure = self._adapting is not None and self._adapting.address.is_azure  # its URLs have no version
        line = {"custom_id": key, "method": "POST", "url": CHAT if azure else f"/v1{CHAT}", "body": body}
        return json.dumps(line, ensure_ascii=False)

    def server_url(self, path: str) -> str:
        """See ``HTTPTransport.server_url``."""
        return path

    def get(self, path: str) -> Any:
        """See ``HTTPTransport.get``."""
        return Problem("unreachable", f"{self.endpoint} cannot be asked now")

    def redact(self, text: str) -> str:
        """See ``HTTPTransport.redact``."""
        return redact(text, self._secrets)

    def served_model(self, model: str) -> str:
        """See ``HTTPTransport.served_model``."""
        return ""

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        """See ``HTTPTransport.fingerprint_parts``."""
        return {}

    def backend(self, model: str) -> OpenAICompatible:
        """The backend whose requests these are."""
        return OpenAICompatible(self, model, lambda: ASSUMED)

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS replies (id TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS failures (id TEXT NOT NULL, reply TEXT NOT NULL)")
        connection.execute("CREATE INDEX IF NOT EXISTS failures_of ON failures (id)")
        return connection

    def _read(self, table: str, keys: Sequence[str]) -> dict[str, list[Any]]:
        """What a table has of some requests, in the order in which it came."""
        found: dict[str, list[Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            order = "ORDER BY rowid" if table == "failures" else ""
            rows = self._connection.execute(f"SELECT id, reply FROM {table} WHERE id IN ({marks}) {order}", some)
            for key, reply in rows:
                found.setdefault(key, []).append(json.loads(reply))
        return found

    def _reply(self, key: str, body: Body, results: Sequence[Any], failures: Sequence[Any]) -> Any:
        """The reply to a request, or its problem; notes the request where it should be sent."""
        if not results:
            self.wanted[key] = body
            return Problem("timeout", f"{self.endpoint} has no answer to this request yet")
        if not failures or _succeeded(results[-1]):
            return self._outcome(results[-1]).result
        outcomes = [self._outcome(one) for one in failures]
        final = [one for one in outcomes if not (one.may_pass and self._resends)]
        avoided = self._adapting is not None and self._adapting.learn(body, outcomes, _needed(body))
        if final and not avoided:
            return final[-1].result
        self.wanted[key] = body
        last = outcomes[-1].result
        if isinstance(last, Problem):
            return replace(last, detail=f"{last.detail}; {self._remedy}")
        return Problem("unreadable", f"the model was still reasoning when its tokens ran out; {self._remedy}")

    def _outcome(self, result: Mapping[str, Any]) -> Reply:
        response, error = result.get("response") or {}, result.get("error")
        status, body = _number(response.get("status_code")) or (200 if response else 0), response.get("body")
        if status == 200 and isinstance(body, dict) and not error:
            status, error = status_in(body), body
            if status == 200:
                return Reply(body)
        code = _number(error.get("code")) if isinstance(error, dict) else 0
        status = code if status in (0, 200) else status
        said = read_refusal(status, error or body, self._secrets)
        return Reply(problem_of(self.endpoint, said), said) if status else self._without_status(said)

    def _without_status(self, said: Refusal) -> Reply:
        """A failure that has no HTTP status, as those of Ray and of batches that expired; its words tell its kind."""
        passes = not said.text.strip() or _PASSING.search(said.text)
        said = replace(said, status=503 if passes else 400)
        if said.too_long:
            return Reply(problem_of(self.endpoint, said), said)
        words = excerpt(said.message) or excerpt(said.codes.strip()) or "no reason was given"
        return Reply(Problem("busy" if passes else "rejected", f"{self.endpoint} did not answer: {words}"), said)


def custom_id(body: Body) -> str:
    """The name of a request, from all that it says: the same request has the same name, in any run."""
    words = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return f"marquee-{hashlib.blake2b(words.encode(), digest_size=16).hexdigest()}"


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
    """Whether an answer came back; neither an error under status 200 nor tokens spent on reasoning alone are one."""
    response = result.get("response") or {}
    body, status = response.get("body"), _number(response.get("status_code")) or 200
    answers = status == 200 and isinstance(body, dict) and status_in(body) == 200
    return answers and not result.get("error") and not only_reasoned(body)


def _needed(body: Body) -> tuple[str, ...]:
    """Fields without which a request has no purpose: strategies of probabilities need them."""
    return ("logprobs", "top_logprobs") if "top_logprobs" in body else ()


def _number(status: Any) -> int:
    """An HTTP status as a number or a numeral; 0 for anything else."""
    return int(status) if str(status).isdecimal() else 0
