"""Classifies batches on a Ray cluster: Ray Data distributes them to a pool of actors, and the store takes the answers.

The store is the checkpoint, as in a run on one machine, so either can resume the other's run. Ray starts the actors,
balances the load, and repeats what a dead node had begun.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bulk.answer_store import Batches, JobStore, RowAnswer, StoredAnswer, TextBatch, classify_batch
from bulk.job import write_errors
from llm.classifier import Classifier, Usage
from prompts.errors import Interrupted, InvalidSetting
from prompts.installation import INSTALLED, PACKAGES, missing
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_FILES_PER_SIZE = 1_000
_CONNECT_SECONDS = 10
# The nodes need the project's code and weights only.
_EXCLUDED = ["var", ".venv", ".git", ".env", "data", "notebooks", "**/__pycache__"]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the resources of its actors: ``cpus`` and ``gpus`` are of one actor.

    Attributes:
        address: of the cluster, ``auto`` for the one that this machine belongs to; None starts one on this machine.
        workers: number of actors, each with a classifier of its own.
        environment: settings, by the names of environment variables. They are sent to the actors only: Ray's own
            ``env_vars`` would show a key in the dashboard.
        code: folder that is sent to the nodes; None where they have it.
    """

    address: str | None = None
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    code: Path | None = None if INSTALLED else PACKAGES

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Ray, connected to the cluster.

        Raises:
            InvalidSetting: Ray is not installed, or the cluster cannot be reached.
            Interrupted: the work on the cluster failed.
        """
        ray = _import_ray()
        was_connected = ray.is_initialized()
        if not was_connected:
            self._connect(ray)
        try:
            with _translated_errors(ray):
                yield ray
        finally:
            if not was_connected:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        environment = {"working_dir": str(self.code), "excludes": _EXCLUDED} if self.code and self.address else {}
        local = {} if self.address else {"include_dashboard": False}
        quiet = {"log_to_driver": False, "logging_level": "error"}
        try:
            _check_listening(self.address or "")
            ray.init(address=self.address or "local", runtime_env=environment, **local, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidSetting(f"no Ray cluster at {self.address}: {str(error).splitlines()[0]}") from None
        ray.data.DataContext.get_current().enable_progress_bars = False  # the run reports its own progress


def _check_listening(address: str) -> None:
    """Raise OSError within seconds where nothing listens; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
        import ray.data.exceptions
    except ImportError:
        raise missing("`bulk --runner ray`", "ray") from None
    return ray


@contextmanager
def _translated_errors(ray: Any) -> Iterator[None]:
    """Raise the actors' own errors, and Ray's as one line with a remedy."""
    try:
        yield
    except (
        ray.exceptions.RayError, ray.data.exceptions.UserCodeException, ray.data.exceptions.SystemException
    ) as error:  # fmt: skip
        if own := next((cause for cause in _causes(error) if isinstance(cause, Interrupted | InvalidSetting)), None):
            raise own from None
        last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise Interrupted(
            f"the cluster failed ({last}); finished answers are kept: the same command resumes"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__


@dataclass(frozen=True)
class RayRunner:
    """Classifies batches by a pool of actors on a Ray cluster.

    ``open`` loads the classifier in every actor, so it is picklable. The job's folder is on a disk that every node
    reads under the same path.
    """

    open: Callable[[], Classifier]
    taxonomy: Taxonomy
    folder: Path
    cluster: Cluster
    patience: float = 60.0

    def answers(self, batches: Batches, store: JobStore) -> Iterator[list[StoredAnswer]]:
        """See ``Runner.answers``. All batches are written first; their answers come in any order."""
        pending = self.folder.absolute() / "pending"
        if not _write_batches(batches(store.plan), pending):
            return
        with self.cluster.connected() as ray:
            for row in self._dataset(ray, sorted(pending.iterdir())).iter_rows():
                yield [_unpacked(answer) for answer in json.loads(row["answers"])]

    def _dataset(self, ray: Any, paths: Sequence[Path]) -> Any:
        cluster, files = self.cluster, [{"path": str(path)} for path in paths]
        pending = ray.data.from_items(files, override_num_blocks=len(files))  # an actor takes one block at a time
        arguments = (self.open, self.taxonomy, self.patience, dict(cluster.environment))
        pool = ray.data.ActorPoolStrategy(size=cluster.workers)
        return pending.map_batches(
            BatchActor, batch_size=1, compute=pool, fn_constructor_args=arguments, num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )  # fmt: skip


class BatchActor:
    """Classifies the batches of files, on a node."""

    def __init__(
        self, open: Callable[[], Classifier], taxonomy: Taxonomy, patience: float, environment: Mapping[str, str]
    ) -> None:
        os.environ.update(environment)
        self._classifier, self._taxonomy, self._patience = open(), taxonomy, patience

    def __call__(self, rows: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
        """The answers to each batch of some files."""
        for path in rows["path"]:
            with Path(path).open(encoding="utf-8") as lines:
                for line in lines:
                    batch = _batch(json.loads(line))
                    answers = classify_batch(self._classifier, batch, self._taxonomy, self._patience)
                    yield {"answers": [json.dumps([_packed(answer) for answer in answers])]}


def _write_batches(batches: Iterator[TextBatch], folder: Path) -> int:
    """Write batches to files, one per piece of work; returns their number.

    The first thousand files hold a batch each, the next thousand two, and so on: few rows are still balanced, and a
    hundred million do not need a file for every batch.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = 0
    while group := list(islice(batches, 1 + files // _FILES_PER_SIZE)):
        with write_errors(folder):
            lines = "".join(f"{_batch_line(batch)}\n" for batch in group)
            (folder / f"{files:09}.jsonl").write_text(lines, encoding="utf-8")
        files += 1
    return files


def _batch_line(batch: TextBatch) -> str:
    pairs = zip(batch.digests, batch.texts, strict=True)
    return json.dumps([[key.hex(), text.body, text.title] for key, text in pairs])


def _batch(rows: list[list[str]]) -> TextBatch:
    digests = tuple(bytes.fromhex(key) for key, _, _ in rows)
    return TextBatch(digests, tuple(Text(body, title) for _, body, title in rows))


def _packed(stored: StoredAnswer) -> list[Any]:
    return [stored.key.hex(), asdict(stored.answer), asdict(stored.usage)]


def _unpacked(row: list[Any]) -> StoredAnswer:
    key, answer, usage = row
    labels = None if answer["labels"] is None else tuple(answer["labels"])
    return StoredAnswer(bytes.fromhex(key), RowAnswer(**answer | {"labels": labels}), Usage(**usage))
