"""A resumable run of one system over examples: each text is classified once, finished texts are skipped."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eval.datasets import Example
from eval.manifest import (
    MANIFEST,
    EvaluationData,
    Manifest,
    check_same_run,
    commit,
    extent,
    identity,
    new_manifest,
    now,
    peak_megabytes,
    read_manifest,
    reset_peak,
    write_manifest,
)
from eval.results import RunResults
from eval.rows import ROWS, RunLog, RunRow
from eval.run_metrics import METRICS_FILE, RunMetrics, write_metrics
from eval.shared_vectors import saved_seconds
from llm.classifier import Classifier, ServedModels, total_usage
from llm.spending.costs import Preview
from llm.spending.spend_cap import SpendCap, SpendMeter
from llm.wrappers.combined import order_sensitivity
from prompts.errors import Interrupted, InvalidSetting
from prompts.files import digest_of, locked
from prompts.text import Text

ORDER_FILE = "order.json"
_SAMPLE = 200  # texts whose cost is estimated
_LONGEST = 80  # characters of a folder name
OnProgress = Callable[[int], object]


class OpenedSystem(NamedTuple):
    """A loaded system, and its decode rule (how scores become labels), if known."""

    classifier: Classifier
    decode_rule: str | None = None


@dataclass(frozen=True)
class System:
    """A system to measure.

    Attributes:
        spec: its name on the command line.
        setup: model, prompt and settings, which tell it from another system of the same spec; JSON values.
        open: loads it, so that its first prediction takes no longer than the others.
        preview: the cost of texts, for systems that have costs.
    """

    spec: str
    setup: Mapping[str, Any]
    open: Callable[[], OpenedSystem]
    preview: Callable[[Sequence[Text]], Preview] | None = None

    def meter(self, cap: SpendCap, texts: Sequence[Text]) -> SpendMeter | None:
        """What this system spends of a cap; None where it costs nothing.

        The first of the texts are those from which the cost of the first batch is estimated.

        Raises:
            InvalidSetting: what the system spends cannot be known.
        """
        if self.spec.startswith("service:"):
            remedy = "does not report its tokens; run the command where the model is set"
            raise InvalidSetting(f"{cap}: {self.spec} {remedy}")
        if self.preview is None:
            return None
        preview, sample = self.preview, texts[:_SAMPLE]
        return cap.meter(self.spec, str(self.setup.get("model", "")), lambda: (preview(sample), len(sample)))


def folder_name(spec: str) -> str:
    """The folder name of a system's runs; a long spec is cut and gets a digest."""
    slug = re.sub(r"[^\w.-]+", "-", spec).strip("-.") or "system"
    if len(slug) <= _LONGEST:
        return slug
    return f"{slug[:_LONGEST]}-{digest_of(spec, 8)}"


@dataclass(frozen=True)
class RunOptions:
    """How texts are sent to a system.

    The first ``alone`` texts are sent one at a time, which gives the latency; the others in batches, which give the
    throughput.
    """

    alone: int = 50
    batch: int = 32

    def batches(self, examples: Sequence[Example]) -> Iterator[tuple[Sequence[Example], bool]]:
        """The batches, and whether each is one of the texts classified alone."""
        for example in examples[: self.alone]:
            yield [example], True
        for start in range(self.alone, len(examples), self.batch):
            yield examples[start : start + self.batch], False


@dataclass(frozen=True)
class EvaluationRun:
    """One system over the examples, in one folder.

    The folder has ``rows.jsonl``, ``manifest.json`` and ``metrics.json``; ``on_note`` is called with a sentence about
    what was found there. ``meter`` limits what the run spends.
    """

    system: System
    data: EvaluationData
    folder: Path
    options: RunOptions = RunOptions()
    command: str = ""
    on_note: Callable[[str], object] = field(default=lambda note: None)
    meter: SpendMeter | None = None

    def pending(self) -> list[Example]:
        """The texts without a row, or with a temporary failure; writes nothing.

        Raises:
            InvalidSetting: the folder has another run.
            InvalidDataset: the folder's files are not those of a run.
        """
        done = {row.id for row in self._rows() if not row.retryable}
        return [example for example in self.data.examples if example.id not in done]

    def count_spent(self) -> None:
        """Count what earlier processes spent on the rows of this run."""
        if self.meter and (rows := self._rows()):
            self.meter.start(total_usage([row.usage for row in rows]), len(rows))

    def reset(self) -> None:
        """Remove the files of an earlier run."""
        with self._lock():
            for name in (ROWS, MANIFEST, METRICS_FILE):
                (self.folder / name).unlink(missing_ok=True)

    def execute(self, on_progress: OnProgress = lambda rows: None) -> RunMetrics:
        """Classify the pending texts, and compute and write the metrics.

        ``on_progress`` is called with the number of new rows each time that rows are on the disk.

        Raises:
            InvalidSetting: the folder has another run, or another process is writing to it.
            InvalidDataset: the folder's files are not those of a run.
            Interrupted: the next batch would exceed the spend cap; the rows are kept.
        """
        import sklearn.metrics  # noqa: F401  (needed for the metrics: a missing library is reported before the work)

        with self._lock():
            self._classify_pending(on_progress)
            return write_metrics(RunResults.read(self.folder))

    def collect(self, on_progress: OnProgress = lambda rows: None) -> list[RunRow]:
        """Like ``execute``, without metrics, for texts whose labels are unknown; returns all rows."""
        with self._lock():
            self._classify_pending(on_progress)
            return self._rows()

    def measure_order_sensitivity(self, orders: int) -> Mapping[str, Any]:
        """Classify the first ``alone`` texts under several orders of the labels; writes ``order.json``.

        Returns:
            ``orders``, ``texts``, and the fields of ``llm.wrappers.combined.OrderSensitivity``.
        """
        texts = [example.text for example in self.data.examples[: self.options.alone or None]]
        measured = order_sensitivity(self.system.open().classifier, texts, self.data.taxonomy, orders)
        result = {"orders": orders, "texts": len(texts), **vars(measured)}
        (self.folder / ORDER_FILE).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        return result

    def _lock(self) -> AbstractContextManager[None]:
        """Only one process writes to a run's folder; the lock ends with the process."""
        busy = InvalidSetting(f"another evaluation is writing to {self.folder}; wait for it, or give another --out")
        return locked(self.folder / ".lock", timeout=0, busy=busy)

    def _rows(self) -> list[RunRow]:
        """The rows in the folder, after a check that they belong to this run."""
        if not (self.folder / MANIFEST).exists():
            if (self.folder / ROWS).exists():
                raise InvalidSetting(f"{self.folder} has rows without a manifest; --overwrite starts over")
            return []
        requested = identity(self.data, self.system.spec, self.system.setup)
        check_same_run(read_manifest(self.folder), requested, self.folder)
        rows = RunLog(self.folder).read()
        if unknown := {row.id for row in rows} - {example.id for example in self.data.examples}:
            raise InvalidSetting(
                f"{self.folder} has rows of {len(unknown)} texts that are not among the examples (a smaller --limit?); "
                "give another --out, or --overwrite to start over"
            )
        return rows

    def _drop_unusable_rows(self, log: RunLog) -> None:
        """Remove a torn last line and temporary failures; their texts are classified again."""
        rows = self._rows()
        usable = [row for row in rows if not row.retryable]
        if log.torn:
            self.on_note(f"{log.path}: the last line was cut off; its text is classified again")
        if len(usable) < len(rows):
            self.on_note(f"{log.path}: {len(rows) - len(usable)} texts that failed are classified again")
        if log.torn or len(usable) < len(rows):
            log.replace(usable)

    def _classify_pending(self, on_progress: OnProgress) -> None:
        if not self.pending():
            return
        reset_peak()
        opened = self.system.open()
        manifest = self._manifest(opened)
        log, models = RunLog(self.folder), ServedModels(manifest["setup"], _served(self._rows()), self.folder)
        begun = False
        for rows in self._new_rows(opened.classifier):
            models.check(_served(row for row in rows if not row.cached))
            if not begun:  # if the first predictions are rejected, the folder stays unchanged
                self._drop_unusable_rows(log)
                write_manifest(self.folder, manifest)
                begun = True
            log.append(rows)
            if self.meter:
                self.meter.add([row.usage for row in rows])
            on_progress(len(rows))
        self._sort(log)
        peak = max(peak_megabytes(), manifest["peak_mb"] or 0.0)
        manifest |= {"ended": now(), "served": sorted(_served(log.read())), "peak_mb": peak}
        write_manifest(self.folder, manifest)

    def _new_rows(self, classifier: Classifier) -> Iterator[list[RunRow]]:
        pending = {example.id for example in self.pending()}
        for batch, alone in self.options.batches(self.data.examples):
            if missing := [example for example in batch if example.id in pending]:
                if self.meter and not self.meter.fits(len(missing)):
                    raise Interrupted(self.meter.refusal(len(missing)))
                yield self._classify(classifier, missing, alone)

    def _classify(self, classifier: Classifier, examples: Sequence[Example], alone: bool) -> list[RunRow]:
        start = time.perf_counter() + saved_seconds()  # what other systems' vectors save counts as time
        predictions = classifier.classify([example.text for example in examples], self.data.taxonomy)
        seconds = (time.perf_counter() + saved_seconds() - start) / len(examples)
        pairs, labels = zip(examples, predictions, strict=True), set(self.data.taxonomy.names)
        return [RunRow.of(example, prediction, seconds, alone, labels) for example, prediction in pairs]

    def _manifest(self, opened: OpenedSystem) -> Manifest:
        """A new manifest, or the folder's manifest with an entry for this continuation."""
        if not (self.folder / MANIFEST).exists():
            return new_manifest(self.data, self.system.spec, self.system.setup, opened.decode_rule, self.command)
        manifest, git = read_manifest(self.folder), commit()
        if opened.decode_rule != manifest["decode_rule"]:
            raise InvalidSetting(
                f"{self.folder} has another run (decode rule: {manifest['decode_rule']}; now: {opened.decode_rule}); "
                "give another --out, or --overwrite to start over"
            )
        if git != manifest["git"]:
            self.on_note(
                f"{self.folder}: its first rows are from another version of this program; --overwrite starts over"
            )
        resumed = {"at": now(), "git": git, "command": self.command}
        return manifest | extent(self.data) | {"resumed": [*manifest["resumed"], resumed]}

    def _sort(self, log: RunLog) -> None:
        """Bring the rows of retried texts into the order of the examples."""
        rows = {row.id: row for row in log.read()}
        ordered = [rows[example.id] for example in self.data.examples]
        if list(rows.values()) != ordered:
            log.replace(ordered)


def _served(rows: Iterable[RunRow]) -> set[str]:
    """Names of the models that replied, whether or not the labels could be parsed."""
    replied = (row for row in rows if row.problem is None or row.problem.kind == "unreadable")
    return {row.source.model for row in replied} - {""}
