"""Batch APIs: a transport that collects requests instead of sending them, and the files of requests and results.

Strategies use the transport like any other. A request without a result is collected; the same request in a later run
gets the result as its reply, with the same messages, constraint and parser (Batch API, ``vllm run-batch``, Ray).
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bulk.answer_store import JobStore, select_in
from bulk.job import Job, write_errors
from llm.backends.capabilities import CapabilityReport
from llm.backends.openai_compatible import OpenAICompatible
from llm.backends.refusals import Refusal, excerpt, problem_of, read_refusal, redact
from llm.backends.replies import only_reasoned, status_in
from llm.backends.request_adapter import Reply, RequestAdapter
from llm.backends.request_forms import Body
from llm.backends.transport import CHAT
from llm.classifier import Problem, ProblemKind
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import replacing
from tabular import open_table

# The endpoint cannot be checked. Assumed are a strict schema, which current batch services accept, and 20 top tokens,
# the limit of OpenAI and vLLM.
ASSUMED = CapabilityReport({}, top_logprobs=20)
# OpenAI's limits; DashScope's are as many requests and larger files.
MAX_REQUESTS, MAX_BYTES = 50_000, 200_000_000
# Failures without a status that another attempt may avoid: "batch_expired", "batch_cancelled", "server_error".
_TRANSIENT = re.compile(
    r"expired|cancel+(?:ed|ation)|timed?[ _-]?out|rate[ _-]?limit|too[ _]many[ _]requests|overloaded|unavailable"
    r"|server[ _-]?error|internal[ _-]?(?:error|failure)|connection (?:error|aborted|reset|refused|lost|closed)",
    re.IGNORECASE,
)
_TABLES = """
CREATE TABLE IF NOT EXISTS replies (id TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (id TEXT NOT NULL, reply TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_of ON failures (id);
"""


class OfflineTransport:
    """A transport that collects requests and sends none; see ``llm.backends.transport.Transport``.

    Args:
        endpoint: what answers the requests, for messages.
        path: of the file of results; ``""`` is a temporary file of this process.
        adapting: rewrites requests to the form that their model takes, and learns from refusals; None changes nothing.
        remedy: what to do about a request that another form or another attempt may save.
        resends: whether a request that failed for a transient reason is collected again; else its failure is final.
        secrets: removed from the endpoint's messages, besides those of its URL.
    """

    base_url = ""

    def __init__(
        self,
        endpoint: str = "the batch",
        path: Path | str = "",
        adapting: RequestAdapter | None = None,
        remedy: str = "write the requests again with --batch-file and the same --read-results",
        resends: bool = True,
        secrets: Sequence[str] = (),
    ) -> None:
        self.endpoint = endpoint
        self._secrets = (*secrets, *(adapting.address.secrets if adapting else ()))
        self._collected: dict[str, Body] = {}
        self._path, self._adapting, self._remedy, self._resends = path, adapting, remedy, resends

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        """The replies to requests; collects those that have none."""
        if path != CHAT:
            raise InvalidSetting(
                "requests in files are chat completions; choose the strategy json_list, label_tokens or yes_no"
            )
        keys = [custom_id(self._adapting.with_extra(body) if self._adapting else body) for body in bodies]
        replies, failures = self._read("replies", keys), self._read("failures", keys)
        return [
            self._reply(key, body, replies.get(key, []), failures.get(key, []))
            for key, body in zip(keys, bodies, strict=True)
        ]

    def add_results(self, results: Iterable[tuple[str, Any]]) -> int:
        """Add results as ``read_results`` returns them; returns their number.

        A successful result is not replaced by a failed one.
        """
        count = 0
        with self._connection:
            for key, result in results:
                row, succeeded = (key, json.dumps(result)), self._succeeded(result)
                conflict = "REPLACE" if succeeded else "IGNORE"
                self._connection.execute(f"INSERT OR {conflict} INTO replies VALUES (?, ?)", row)
                if not succeeded:
                    self._connection.execute("INSERT INTO failures VALUES (?, ?)", row)
                count += 1
        return count

    def take_requests(self) -> dict[str, Body]:
        """The requests collected since the last call by ``custom_id``, each in the form that its model takes."""
        collected, self._collected = self._collected, {}
        if self._adapting is None:
            return collected
        return {key: self._adapting.prepared(body, _required(body)) for key, body in collected.items()}

    def request_line(self, key: str, body: Body) -> str:
        """A request in the format of the Batch APIs of OpenAI, Azure and DashScope, and of ``vllm run-batch``."""
        azure = self._adapting is not None and self._adapting.address.is_azure  # its URLs have no version
        line = {"custom_id": key, "method": "POST", "url": CHAT if azure else f"/v1{CHAT}", "body": body}
        return json.dumps(line, ensure_ascii=False)

    def server_url(self, path: str) -> str:
        return path

    def get(self, path: str) -> Any:
        return Problem("unreachable", f"{self.endpoint} cannot be called now")

    def redact(self, text: str) -> str:
        return redact(text, self._secrets)

    def served_model(self, model: str) -> str:
        return ""

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        return {}

    def backend(self, model: str) -> OpenAICompatible:
        """A backend whose requests go through this transport."""
        return OpenAICompatible(self, model, ASSUMED)

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.executescript(_TABLES)
        return connection

    def _read(self, table: str, keys: Sequence[str]) -> dict[str, list[Any]]:
        """The results of some requests in a table, in the order in which they were added."""
        results: dict[str, list[Any]] = {}
        query = f"SELECT id, reply FROM {table} WHERE id IN ({{}}) {'ORDER BY rowid' * (table == 'failures')}"
        for key, reply in select_in(self._connection, query, keys):
            results.setdefault(key, []).append(json.loads(reply))
        return results

    def _reply(self, key: str, body: Body, results: Sequence[Any], failures: Sequence[Any]) -> Any:
        """The reply to a request, or its problem; collects the request where it should be sent."""
        if not results:
            self._collected[key] = body
            return Problem("timeout", f"{self.endpoint} has no answer to this request yet")
        if not failures or self._succeeded(results[-1]):
            return self._outcome(results[-1]).result
        outcomes = [self._outcome(failure) for failure in failures]
        final = [outcome for outcome in outcomes if not (outcome.may_pass and self._resends)]
        avoided = self._adapting is not None and self._adapting.learn(body, outcomes, _required(body))
        if final and not avoided:
            return final[-1].result
        self._collected[key] = body
        last = outcomes[-1].result
        if isinstance(last, Problem):
            return replace(last, detail=f"{last.detail}; {self._remedy}")
        return Problem("unreadable", f"the model was still reasoning when its tokens ran out; {self._remedy}")

    def _succeeded(self, result: Mapping[str, Any]) -> bool:
        """Whether there is a reply: neither an error under status 200, nor one whose tokens all went into reasoning."""
        reply = self._outcome(result).result
        return not isinstance(reply, Problem) and not only_reasoned(reply)

    def _outcome(self, result: Mapping[str, Any]) -> Reply:
        response, error = result.get("response") or {}, result.get("error")
        status, body = _number(response.get("status_code")) or (200 if response else 0), response.get("body")
        if status == 200 and isinstance(body, dict) and not error:
            status, error = status_in(body), body
            if status == 200:
                return Reply(body)
        code = _number(error.get("code")) if isinstance(error, dict) else 0
        status = code if status in (0, 200) else status
        refusal = read_refusal(status, error or body, self._secrets)
        return Reply(problem_of(self.endpoint, refusal), refusal) if status else self._without_status(refusal)

    def _without_status(self, refusal: Refusal) -> Reply:
        """A failure without an HTTP status, as of Ray and of expired batches; the message decides its kind."""
        is_transient = not refusal.text.strip() or _TRANSIENT.search(refusal.text)
        refusal = replace(refusal, status=503 if is_transient else 400)
        if refusal.too_long:
            return Reply(problem_of(self.endpoint, refusal), refusal)
        message = excerpt(refusal.message) or excerpt(refusal.codes.strip()) or "no reason was given"
        kind: ProblemKind = "busy" if is_transient else "rejected"
        return Reply(Problem(kind, f"{self.endpoint} did not answer: {message}"), refusal)


def custom_id(body: Body) -> str:
    """The id of a request: a digest of its content, so equal requests of any runs have the same id."""
    content = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return f"marquee-{hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}"


def read_results(path: Path) -> Iterable[tuple[str, Any]]:
    """The results in a file, each with the id of its request.

    Raises:
        InvalidDataset: the file cannot be read, or holds something else.
    """
    for row in open_table(path).rows():
        if row.problem or "custom_id" not in row.cells:
            raise InvalidDataset(
                f"{row.where}: no line of a Batch API's results (custom_id, response, error); was the download cut off?"
            )
        yield str(row.cells["custom_id"]), {"response": row.cells.get("response"), "error": row.cells.get("error")}


def _required(body: Body) -> tuple[str, ...]:
    """Fields that a request must not lose: strategies of probabilities need them."""
    return ("logprobs", "top_logprobs") if "top_logprobs" in body else ()


def _number(status: Any) -> int:
    """An HTTP status as a number or a numeral; 0 for anything else."""
    return int(status) if str(status).isdecimal() else 0


@dataclass(frozen=True)
class RequestFiles:
    """Files of requests, and the different texts that the requests are about."""

    files: tuple[Path, ...]
    requests: int
    texts: int


def write_requests(
    job: Job, transport: OfflineTransport, path: Path, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES
) -> RequestFiles:
    """Write the requests that have no result yet, each once; the file after ``NAME.jsonl`` is ``NAME.2.jsonl``.

    The job's classifier sends its requests through the transport.

    Raises:
        InvalidSetting: a file exists already.
        Interrupted: the disk is full or fails.
    """
    counts = {"texts": 0, "requests": 0}
    files = list(_write_files(path, _request_lines(job, transport, counts), max_requests, max_bytes))
    return RequestFiles(tuple(files), counts["requests"], counts["texts"])


def _request_lines(job: Job, transport: OfflineTransport, counts: dict[str, int]) -> Iterator[bytes]:
    """The lines of all requests, without repeated ones."""
    job.schema()
    classifier = job.classifier.open()
    with JobStore("", job.taxonomy) as store:
        for batch in job.batches(store.plan):
            classifier.classify(batch.texts, job.taxonomy)
            requests = transport.take_requests()
            digests = {key: bytes.fromhex(key.rpartition("-")[2]) for key in requests}
            fresh = store.plan(list(digests.values()))
            counts["texts"] += len(batch.texts)
            for key in [key for key in requests if digests[key] in fresh]:
                counts["requests"] += 1
                yield transport.request_line(key, requests[key]).encode() + b"\n"


def _write_files(path: Path, lines: Iterator[bytes], max_requests: int, max_bytes: int) -> Iterator[Path]:
    number, line = 0, next(lines, None)
    while line is not None:
        number += 1
        target = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        if target.exists():
            raise InvalidSetting(f"{target} exists already; give another name or move it away")
        with write_errors(target), replacing(target) as new, new.open("wb") as file:
            count = 0
            while line is not None and count < max_requests and file.tell() + len(line) <= max_bytes:
                file.write(line)
                count, line = count + 1, next(lines, None)
            if not count:
                raise InvalidSetting(f"a single request takes {len(line or b''):,} bytes, more than a file may have")
        yield target
