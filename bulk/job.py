"""A bulk job: its settings and rows, the manifest that makes it resumable, and the folder of its unfinished parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from bulk.answer_store import RESUME, RowAnswer, TextBatch, Unknown, text_digest
from bulk.inputs import InputFiles, TextColumns, file_digest
from bulk.sources import source_in
from llm.calibration.prediction_sets import SetStore
from llm.classifier import Classifier, Evidence, differences, recorded_in_both
from prompts.errors import Interrupted, InvalidSetting
from prompts.files import locked, read_json, write_text_atomically
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import ReadPosition, Row
from tabular.detection import PARQUET_SUFFIXES, suffix
from tabular.table import Schema

Manifest = dict[str, Any]

ADDED_COLUMNS = ("labels", "scores", "source", "problem")
EVIDENCE_COLUMNS = ("evidence", "unexplained")
SET_COLUMNS = ("set", "abstain")
_LOCK = "lock"
_WINDOW = 1_024
_DIFFERENCES = {
    "files": "the input has changed",
    "columns": "the columns differ",
    "taxonomy": "the taxonomy differs",
    "system": "the system differs",
    "setup": "the system's settings differ",
}


@dataclass(frozen=True)
class ClassifierSpec:
    """The classifier of a job.

    Attributes:
        spec: its name on the command line.
        setup: its settings, as JSON takes them; a run resumes only with the same ones.
        open: loads it; picklable where it is opened on other machines.
    """

    spec: str
    setup: Mapping[str, Any]
    open: Callable[[], Classifier]


@dataclass(frozen=True)
class InputRow:
    """A row with its text and the digest of the text, or with the problem of a row that has none."""

    row: Row
    text: Text = Text()
    key: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Job:
    """What is classified, how, and into which file.

    Attributes:
        batch: texts per call of the classifier, and per transaction of the answer store.
        prefix: of the names of the added columns.
        explain: whether rows have the evidence for their labels; the classifier of the job finds it.
        sets: calibrated prediction sets of the rows; None without a calibration.
    """

    source: InputFiles
    columns: TextColumns
    taxonomy: Taxonomy
    classifier: ClassifierSpec
    out: Path
    batch: int = 512
    prefix: str = ""
    explain: bool = False
    sets: SetStore | None = None

    @property
    def added_columns(self) -> tuple[str, ...]:
        """Names of the added columns."""
        names = (*ADDED_COLUMNS, *(EVIDENCE_COLUMNS if self.explain else ()), *(SET_COLUMNS if self.sets else ()))
        return tuple(self.prefix + name for name in names)

    @property
    def folder(self) -> Path:
        """The folder beside the output that keeps everything until the output is complete."""
        return self.out.with_name(f"{self.out.name}.parts")

    def set_of(self, answer: RowAnswer) -> tuple[tuple[str, ...] | None, bool | None]:
        """The prediction set of an answer, and whether the classifier abstains; None for both where it has none.

        Sets are made of the stored scores when rows are written, so that they need no place in the answer store.
        """
        source = source_in(answer.source or "", self.taxonomy) if answer.scores else None
        rule = self.sets.rule_of(SetStore.key(source)) if self.sets and source else None
        if rule is None:
            return None, None
        found = rule.labels_of(answer.scores)
        return found, rule.abstains(found)

    def schema(self) -> Schema:
        """The columns of all rows. Text files are read to their end, so that an error costs no classified text.

        Raises:
            InvalidDataset: a file cannot be read, or a column has the name of an added one.
        """
        return Schema.of(self.source.tables(), self.added_columns)

    def added_types(self) -> dict[str, Any]:
        """Arrow's types of the added columns, which only Parquet needs."""
        if suffix(self.out) not in PARQUET_SUFFIXES:
            return dict.fromkeys(self.added_columns)
        import pyarrow

        text, place, number = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
        names = self.taxonomy.names
        scores, reasons = (pyarrow.struct([(name, kind) for name in names]) for kind in (number, text))
        kinds = (text, text, text, place, place, number, text)
        passage = pyarrow.struct([(one.name, kind) for one, kind in zip(fields(Evidence), kinds, strict=True)])
        types = [pyarrow.list_(text), scores, text, text]
        types += [pyarrow.list_(passage), reasons] if self.explain else []
        types += [pyarrow.list_(text), pyarrow.bool_()] if self.sets else []
        return dict(zip(self.added_columns, types, strict=True))

    def rows(self, position: ReadPosition | None = None) -> Iterator[list[InputRow]]:
        """The rows in windows of about a thousand."""
        rows = self.source.rows(position)
        while window := list(islice(rows, _WINDOW)):
            yield [self._input_row(row) for row in window]

    def batches(
        self, unknown: Unknown, position: ReadPosition | None = None, on_rows: Callable[[int], object] | None = None
    ) -> Iterator[TextBatch]:
        """Batches of ``batch`` different texts; the last one may be smaller.

        When a run resumes after whole batches, the remaining batches hold the same texts as without the interruption,
        so that scores that depend on the batch are the same. ``on_rows`` is called with the number of rows read.
        """
        pending: dict[bytes, Text] = {}
        for window in self.rows(position):
            texts = {row.key: row.text for row in window if row.key is not None and row.key not in pending}
            fresh = unknown(list(texts))
            pending |= {key: text for key, text in texts.items() if key in fresh}
            if on_rows:
                on_rows(len(window))
            while len(pending) >= self.batch:
                yield TextBatch.taken_from(pending, self.batch)
        if pending:
            yield TextBatch.taken_from(pending, self.batch)

    def _input_row(self, row: Row) -> InputRow:
        if row.problem:
            return InputRow(row, problem=f"malformed: {row.where}: {row.problem}")
        try:
            text = self.columns.text_of(row)
        except ValueError as error:
            return InputRow(row, problem=f"malformed: {row.where}: {error}")
        if text.empty:
            return InputRow(row, problem="empty: there is no text to label")
        return InputRow(row, text, text_digest(text))

    def manifest(self, before: Manifest | None = None) -> Manifest:
        """Facts that must be the same for a run to resume.

        A file whose size and modification time are the same as in ``before`` is not read again.
        """
        known = {_stamp(file): file["digest"] for file in (before or {}).get("files", [])}
        files = [
            {**file, "digest": known.get(_stamp(file)) or file_digest(path)}
            for file, path in zip(self.source.stamps(), self.source.files, strict=True)
        ]
        return {
            "files": files,
            "columns": asdict(self.columns),
            "taxonomy": {"name": self.taxonomy.name, "digest": self.taxonomy.digest},
            "system": self.classifier.spec,
            "setup": json.loads(json.dumps(self.classifier.setup)),
        }


def final_manifest(out: Path) -> Path:
    """The manifest beside a finished output."""
    return out.with_name(f"{out.name}.manifest.json")


def _stamp(file: Mapping[str, Any]) -> tuple[Any, ...]:
    return file["name"], file["bytes"], file["changed"]


def checked_manifest(job: Job, saved: Manifest, path: Path, remedy: str) -> Manifest:
    """The job's manifest; raises ``InvalidSetting`` where that of a folder or an output is of another job."""
    manifest = job.manifest(saved)
    before, setup = recorded_in_both(saved.get("setup") or {}, manifest["setup"])
    saved, current = saved | {"setup": before}, manifest | {"setup": setup}
    for part, difference in _DIFFERENCES.items():
        if _without_times(saved.get(part)) != _without_times(current[part]):
            which = f" ({'; '.join(differences(before, setup).values())})" if part == "setup" else ""
            raise InvalidSetting(f"{path} belongs to another run: {difference}{which}; {remedy}")
    return manifest


def _without_times(part: Any) -> Any:
    """Files without their modification times: an equal copy may be newer."""
    return [{**file, "changed": None} for file in part] if isinstance(part, list) else part


def check_unchanged(source: InputFiles, saved: Manifest) -> None:
    """Raise ``Interrupted`` where a file has changed since the run began."""
    before, now = ([_stamp(file) for file in files] for files in (saved["files"], source.stamps()))
    if before != now:
        changed = sorted({str(stamp[0]) for stamp in set(before) ^ set(now)})
        raise Interrupted(
            f"{', '.join(changed)} changed while it was read; nothing was written. Restore the old file and run the "
            "same command again, or start over with --overwrite"
        )


def read_manifest(path: Path) -> Manifest | None:
    """A manifest; None where there is none. Raises ``InvalidSetting`` where it cannot be read."""
    return read_json(path, InvalidSetting) if path.exists() else None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically."""
    with write_errors(path):
        write_text_atomically(path, json.dumps(manifest, indent=1))


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Raise ``Interrupted`` where the disk is full, permission is denied, or the like."""
    try:
        yield
    except OSError as error:
        raise Interrupted(f"cannot write {path}: {error.strerror or error}; {RESUME}") from None


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; it is created where it is missing, and removed where it is empty at the end.

    Raises:
        InvalidSetting: another process has locked it.
    """
    busy = InvalidSetting(f"another run is writing to {folder}; let it end, or give another --out")
    with ExitStack() as stack:
        with write_errors(folder):
            # A run that has just ended removes the folder with its lock; a moment later it can be locked.
            stack.enter_context(locked(folder / _LOCK, timeout=0.2, busy=busy))
        try:
            yield
        finally:
            if folder.exists() and not _content(folder):
                shutil.rmtree(folder)


def clear(folder: Path) -> None:
    """Remove all that a folder holds but its lock."""
    for path in _content(folder):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _content(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if path.name != _LOCK]
