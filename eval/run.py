"""A run of one system over examples: asked once about each text, resumed where an earlier process ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from eval.datasets import Example
from eval.environment import commit, forget_peak, peak_megabytes
from eval.manifest import (
    MANIFEST,
    EvaluationData,
    Manifest,
    begin,
    extent,
    identity,
    now,
    read_manifest,
    refuse_another,
    write_manifest,
)
from eval.results import RunResults
from eval.rows import RunRow
from eval.run_log import RunLog, held
from eval.score import METRICS_FILE, write_metrics
from llm.classifier import Classifier
from llm.costs import Preview
from llm.provenance import ServedModels
from prompts.errors import InvalidSetting
from prompts.text import Text


class OpenedSystem(NamedTuple):
    """A system that can be asked, and how it gets from scores to labels, in words, where that is known."""

    classifier: Classifier
    decode_rule: str | None = None


@dataclass(frozen=True)
class System:
    """Something to measure.

    Attributes:
        spec: how the command line names it.
        setup: what tells it from another system of the same spec: model, prompts, settings; as JSON takes it.
        open: loads it, so that its first answer takes no longer than the others.
        preview: what asking about texts would cost, where asking costs.
    """

    spec: str
    setup: Mapping[str, Any]
    open: Callable[[], OpenedSystem]
    preview: Callable[[Sequence[Text]], Preview] | None = None


@dataclass(frozen=True)
class RunOptions:
    """How texts are sent to a system.

    The first ``alone`` texts are sent one at a time, which gives the latency; the others in batches, which give the
    throughput.
    """

    alone: int = 50
    batch: int = 32

    def portions(self, examples: Sequence[Example]) -> Iterator[tuple[Sequence[Example], bool]]:
        """The portions in which examples are asked about, and whether each is one text alone."""
        for example in examples[: self.alone]:
            yield [example], True
        for start in range(self.alone, len(examples), self.batch):
            yield examples[start : start + self.batch], False


@dataclass(frozen=True)
class EvaluationRun:
    """One system over the examples, in one folder.

    Attributes:
        system: whom to ask.
        material: what to ask about.
        folder: where ``rows.jsonl``, ``manifest.json`` and ``metrics.json`` are.
        asking: in which portions.
        command: the command line, for the manifest.
        note: told in words what was found in the folder.
    """

    system: System
    material: EvaluationData
    folder: Path
    asking: RunOptions = RunOptions()
    command: str = ""
    note: Callable[[str], object] = field(default=lambda words: None)

    def pending(self) -> list[Example]:
        """The texts that have no row yet, or one of a failure that passes; nothing is written.

        Raises:
            InvalidSetting: the folder holds another run.
            InvalidDataset: the folder's files are not those of a run.
        """
        settled = {row.id for row in self._rows() if not row.retryable}
        return [example for example in self.material.examples if example.id not in settled]

    def forget(self) -> None:
        """Start over: what an earlier run left is removed."""
        with held(self.folder):
            for name in (RunLog(self.folder).path.name, MANIFEST, METRICS_FILE):
                (self.folder / name).unlink(missing_ok=True)

    def go(self, on_progress: Callable[[int], object] = lambda rows: None) -> Mapping[str, Any]:
        """Ask about what is pending, and measure.

        Args:
            on_progress: called with the number of new rows, every time that rows are on the disk.

        Returns:
            the metrics, as ``metrics.json`` holds them.

        Raises:
            InvalidSetting: the folder holds another run, or another process is writing to it.
            InvalidDataset: the folder's files are not those of a run.
        """
        import sklearn.metrics  # noqa: F401  (measures at the end; where it is missing, that is reported first)

        with held(self.folder):
            if self.pending():
                self._ask(on_progress)
            return write_metrics(RunResults.read(self.folder))

    def collect(self, on_progress: Callable[[int], object] = lambda rows: None) -> list[RunRow]:
        """Like ``go``, but nothing is measured: for texts whose labels nobody knows; returns all rows."""
        with held(self.folder):
            if self.pending():
                self._ask(on_progress)
            return self._rows()

    def _rows(self) -> list[RunRow]:
        """The rows that are there, if the folder's run is this one."""
        if not (self.folder / MANIFEST).exists():
            if RunLog(self.folder).path.exists():
                raise InvalidSetting(f"{self.folder} holds rows without a manifest; --overwrite starts over")
            return []
        refuse_another(
            read_manifest(self.folder), identity(self.material, self.system.spec, self.system.setup), self.folder
        )
        rows = RunLog(self.folder).read()
        if strange := {row.id for row in rows} - {example.id for example in self.material.examples}:
            raise InvalidSetting(
                f"{self.folder} has rows of {len(strange)} texts that are not asked for now (a smaller --limit?); "
                "give another --out, or --overwrite to start over"
            )
        return rows

    def _tidy(self) -> None:
        """Take away what cannot stay: a torn line, and failures that are worth another try."""
        journal, rows = RunLog(self.folder), self._rows()
        kept = [row for row in rows if not row.retryable]
        if journal.torn:
            self.note(f"{journal.path}: the last line was cut off; its text is asked about again")
        if len(kept) < len(rows):
            self.note(f"{journal.path}: {len(rows) - len(kept)} texts that could not be answered are asked about again")
        if journal.torn or len(kept) < len(rows):
            journal.replace(kept)

    def _ask(self, on_progress: Callable[[int], object]) -> None:
        forget_peak()
        opened = self.system.open()
        manifest = self._begun(opened)
        journal, models = RunLog(self.folder), ServedModels(manifest["setup"], _served(self._rows()), self.folder)
        begun = False
        for rows in self._new_rows(opened.classifier):
            models.check(_served(row for row in rows if not row.cached))
            if not begun:  # where the first answers are refused, the folder stays as it was
                self._tidy()
                write_manifest(self.folder, manifest)
                begun = True
            journal.append(rows)
            on_progress(len(rows))
        self._in_order(journal)
        peak = max(peak_megabytes(), manifest["peak_mb"] or 0.0)
        manifest |= {"ended": now(), "served": sorted(_served(journal.read())), "peak_mb": peak}
        write_manifest(self.folder, manifest)

    def _new_rows(self, classifier: Classifier) -> Iterator[list[RunRow]]:
        """The rows of what is pending, portion by portion."""
        wanted = {example.id for example in self.pending()}
        for portion, alone in self.asking.portions(self.material.examples):
            if missing := [example for example in portion if example.id in wanted]:
                yield self._rows_of(classifier, missing, alone)

    def _begun(self, opened: OpenedSystem) -> Manifest:
        """A new manifest, or the one that is there with a note that the run goes on."""
        if not (self.folder / MANIFEST).exists():
            return begin(self.material, self.system.spec, self.system.setup, opened.decode_rule, self.command)
        manifest, git = read_manifest(self.folder), commit()
        if opened.decode_rule != manifest["decode_rule"]:
            raise InvalidSetting(
                f"{self.folder} holds another run (decode rule: {manifest['decode_rule']}; now: {opened.decode_rule}); "
                "give another --out, or --overwrite to start over"
            )
        if git != manifest["git"]:
            self.note(
                f"{self.folder}: its first rows were made by another state of this program; --overwrite starts over"
            )
        again = {"at": now(), "git": git, "command": self.command}
        return manifest | extent(self.material) | {"resumed": [*manifest["resumed"], again]}

    def _rows_of(self, classifier: Classifier, examples: Sequence[Example], alone: bool) -> list[RunRow]:
        start = time.perf_counter()
        found = classifier.classify([example.text for example in examples], self.material.taxonomy)
        seconds = (time.perf_counter() - start) / len(examples)
        return [RunRow.of(example, one, seconds, alone) for example, one in zip(examples, found, strict=True)]

    def _in_order(self, journal: RunLog) -> None:
        """A second try comes late; its row belongs where the first one stood."""
        rows = {row.id: row for row in journal.read()}
        ordered = [rows[example.id] for example in self.material.examples]
        if list(rows.values()) != ordered:
            journal.replace(ordered)


def _served(rows: Iterable[RunRow]) -> set[str]:
    """Names of the models that answered, whether the labels could be read or not."""
    answered = (row for row in rows if row.problem is None or row.problem.kind == "unreadable")
    return {row.source.model for row in answered} - {""}
