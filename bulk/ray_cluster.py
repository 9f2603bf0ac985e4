"""Batches asked about on many machines: Ray Data hands them out, a pool of actors answers, the store takes what comes.

What must not be lost is in the store, as in a run on one machine, and one may go on where the other was ended. Ray
brings the rest: it starts the actors, gives them work as they have room, and does again what was under way on a node
that died.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bulk.answer_store import JobStore, RowAnswer
from bulk.job import writing
from bulk.reader import TextBatch
from bulk.runners import Answered, Batches, ask
from llm.classifier import Classifier, Usage
from prompts.errors import Interrupted, InvalidSetting
from prompts.installation import INSTALLED, PACKAGES, missing
from prompts.taxonomy import Taxonomy
from prompts.text import Text

PENDING = "pending"
_FILES_OF_A_SIZE = 1_000
_KNOCK_SECONDS = 10
# What a node needs of the project is its code and weights.
_LEFT_OUT = ["var", ".venv", ".git", ".env", "data", "notebooks", "**/__pycache__"]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and how it is used.

    Attributes:
        address: of the cluster, ``auto`` for the one that this machine belongs to; None starts one on this machine.
        workers: actors that answer, each with a classifier of its own.
        cpus: processor cores of one actor.
        gpus: GPUs of one actor.
        environment: settings, by the names of environment variables. They go to the actors alone, where Ray's own way
            would show a key to whoever sees the dashboard.
        code: folder that is sent to the nodes; None where they have it.
    """

    address: str | None = None
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    code: Path | None = None if INSTALLED else PACKAGES

    @contextmanager
    def joined(self) -> Iterator[Any]:
        """Ray, connected to the cluster.

        Raises:
            InvalidSetting: Ray is not installed, or the cluster cannot be reached.
        """
        ray = _ray()
        was_there = ray.is_initialized()
        if not was_there:
            self._join(ray)
        try:
            yield ray
        finally:
            if not was_there:
                ray.shutdown()

    def _join(self, ray: Any) -> None:
        sent = {"working_dir": str(self.code), "excludes": _LEFT_OUT} if self.code and self.address else {}
        own = {} if self.address else {"include_dashboard": False}
        quiet = {"log_to_driver": False, "logging_level": "error"}
        try:
            _knock(self.address or "")
            ray.init(address=self.address or "local", runtime_env=sent, **own, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidSetting(f"no Ray cluster at {self.address}: {str(error).splitlines()[0]}") from None
        progress = ray.data.DataContext.get_current()
        progress.enable_progress_bars = False  # the run tells its own


def _knock(address: str) -> None:
    """Whether anybody listens there, told in seconds: Ray itself tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


def _ray() -> Any:
    try:
        import ray
        import ray.data
        import ray.data.exceptions
    except ImportError:
        raise missing("`bulk --runner ray`", "ray") from None
    return ray


class OnRay:
    """Answers batches by a pool of actors on a Ray cluster.

    Args:
        open: loads the classifier, in every actor; picklable.
        taxonomy: the taxonomy.
        folder: for the batches that wait, on a disk that every node reads under the same path.
        cluster: where.
        patience: see ``InProcess``.
    """

    def __init__(
        self, open: Callable[[], Classifier], taxonomy: Taxonomy, folder: Path, cluster: Cluster, patience: float = 60.0
    ) -> None:
        self._open, self._taxonomy, self._patience = open, taxonomy, patience
        self._folder, self._cluster = folder.absolute() / PENDING, cluster

    def answered(self, batches: Batches, store: JobStore) -> Iterator[list[Answered]]:
        """See ``Runner.answered``. All batches are laid out first; their answers come in any order."""
        if not lay_out(batches(store.plan), self._folder):
            return
        with self._cluster.joined() as ray, told_as_ours(ray):
            for found in self._pipeline(ray).iter_rows():
                yield [_unpacked(one) for one in json.loads(found["answers"])]

    def _pipeline(self, ray: Any) -> Any:
        cluster = self._cluster
        files = [{"path": str(path)} for path in sorted(self._folder.iterdir())]
        waiting = ray.data.from_items(files, override_num_blocks=len(files))  # a block is what one actor takes at once
        made = (self._open, self._taxonomy, self._patience, dict(cluster.environment))
        pool = ray.data.ActorPoolStrategy(size=cluster.workers)
        return waiting.map_batches(
            Actor, batch_size=1, compute=pool, fn_constructor_args=made, num_cpus=cluster.cpus, num_gpus=cluster.gpus
        )


class Actor:
    """Answers laid-out batches, one after the other; lives on some node."""

    def __init__(
        self, open: Callable[[], Classifier], taxonomy: Taxonomy, patience: float, environment: Mapping[str, str]
    ) -> None:
        os.environ.update(environment)
        self._classifier, self._taxonomy, self._patience = open(), taxonomy, patience

    def __call__(self, rows: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """The answers to each batch of some files."""
        for path in rows["path"]:
            with Path(path).open(encoding="utf-8") as batches:
                for batch in batches:
                    yield {"answers": [self._answers(batch)]}

    def _answers(self, batch: str) -> str:
        found = ask(self._classifier, _batch(json.loads(batch)), self._taxonomy, self._patience)
        return json.dumps([_packed(one) for one in found])


def lay_out(batches: Iterator[TextBatch], folder: Path) -> int:
    """Write batches for others to read; returns how many.

    A file is a piece of work. The first thousand files hold a batch each, the next thousand two, and so on: few rows
    are still shared out evenly, and a hundred million do not make a file for every five hundred.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    count = files = 0
    while some := list(islice(batches, 1 + files // _FILES_OF_A_SIZE)):
        with writing(folder):
            lines = "".join(f"{_laid_out(batch)}\n" for batch in some)
            (folder / f"{files:09}.jsonl").write_text(lines, encoding="utf-8")
        count, files = count + len(some), files + 1
    return count


def _laid_out(batch: TextBatch) -> str:
    pairs = zip(batch.digests, batch.texts, strict=True)
    return json.dumps([[key.hex(), text.body, text.title] for key, text in pairs])


@contextmanager
def told_as_ours(ray: Any) -> Iterator[None]:
    """What ends a pipeline, as an error that says what to do."""
    try:
        yield
    except (
        ray.exceptions.RayError, ray.data.exceptions.UserCodeException, ray.data.exceptions.SystemException
    ) as error:  # fmt: skip
        ours = next((one for one in _causes(error) if isinstance(one, Interrupted | InvalidSetting)), None)
        if ours is not None:
            raise ours from None
        last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise Interrupted(
            f"the cluster gave up ({last}); what was answered before is kept: the same command goes on"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__


def _batch(rows: list[list[str]]) -> TextBatch:
    return TextBatch(
        tuple(bytes.fromhex(key) for key, _, _ in rows), tuple(Text(body, title) for _, body, title in rows)
    )


def _packed(one: Answered) -> list[Any]:
    answer, usage = one.answer, one.usage
    tokens = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens]
    return [one.key.hex(), answer.labels, answer.scores, answer.source, answer.problem, tokens]


def _unpacked(row: list[Any]) -> Answered:
    key, labels, scores, source, problem, tokens = row
    names = None if labels is None else tuple(labels)
    return Answered(bytes.fromhex(key), RowAnswer(names, scores, source, problem), Usage(*tokens))
