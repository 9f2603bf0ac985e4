"""Writes requests to files that Batch APIs take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bulk.answer_store import JobStore
from bulk.batch_api import OfflineTransport
from bulk.job import Job, writing
from bulk.reader import batches, schema_of
from prompts.errors import InvalidSetting
from prompts.files import replacing

# OpenAI's bounds; DashScope's are as many requests and larger files.
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: in their order.
        requests: in all of them.
        texts: different ones that they ask about.
    """

    files: tuple[Path, ...]
    requests: int
    texts: int


def write_requests(
    job: Job, transport: OfflineTransport, path: Path, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES
) -> Written:
    """Write the requests that have no reply yet, each once.

    Args:
        job: whose texts are asked about, by a classifier that sends its requests through the transport.
        transport: notes them down.
        path: of the first file; a second one is called ``NAME.2.jsonl``.
        most_requests: of one file.
        most_bytes: of one file.

    Raises:
        InvalidSetting: a file is there already.
        Interrupted: the disk does not take them.
    """
    counts = {"texts": 0, "requests": 0}
    files = list(_files(path, _lines(job, transport, counts), most_requests, most_bytes))
    return Written(tuple(files), counts["requests"], counts["texts"])


def _lines(job: Job, transport: OfflineTransport, counts: dict[str, int]) -> Iterator[bytes]:
    """Request lines; texts and requests that were there before are left out."""
    classifier, store = job.asked.open(), JobStore("", job.taxonomy)
    schema_of(job)
    for batch in batches(job, store.plan):
        classifier.classify(batch.texts, job.taxonomy)
        wanted = transport.taken()
        names = {key: bytes.fromhex(key.rpartition("-")[2]) for key in wanted}
        fresh = store.plan(list(names.values()))
        counts["texts"] += len(batch.texts)
        for key, body in wanted.items():
            if names[key] in fresh:
                counts["requests"] += 1
                yield transport.line(key, body).encode() + b"\n"


def _files(path: Path, lines: Iterator[bytes], most_requests: int, most_bytes: int) -> Iterator[Path]:
    number, line = 0, next(lines, None)
    while line is not None:
        number += 1
        target = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        if target.exists():
            raise InvalidSetting(f"{target} is there already; give another name or move it away")
        with writing(target), replacing(target) as new, new.open("wb") as file:
            count = 0
            while line is not None and count < most_requests and file.tell() + len(line) <= most_bytes:
                file.write(line)
                count, line = count + 1, next(lines, None)
            if not count:
                raise InvalidSetting(f"a single request takes {len(line or b''):,} bytes, more than a file may have")
        yield target
