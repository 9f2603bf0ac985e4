"""The page over many runs: a table of all runs, and the trend of every metric by data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import Any

from markupsafe import Markup

from eval.manifest import read_manifest
from eval.report import charts
from eval.report.document import (
    MISSING,
    Cell,
    Document,
    Figure,
    Fold,
    Grid,
    Head,
    Legend,
    Note,
    Part,
    ReportTable,
    Section,
    TableRow,
    decimal,
    heads,
)
from eval.report.evaluation import Bounds, SystemResults, read_system
from eval.report.overview import COLUMNS, Column
from eval.report.page import write_document
from eval.results import run_folders
from eval.rows import ROWS
from eval.run_metrics import intervals
from prompts.errors import InvalidDataset

_SHOWN = ("micro-F1", "macro-F1", "accuracy", "Jaccard", "ECE", "invalid")
_TRENDS = ("micro-F1", "macro-F1", "accuracy", "ECE")


@dataclass(frozen=True)
class DatedRun:
    """One run: its folder below that of the page, its results, and 95% intervals by metric.

    ``date`` is when its evaluation ended, to the minute in UTC: the runs of one folder have the same.
    """

    folder: str
    system: SystemResults
    bounds: Bounds
    date: str

    @property
    def evaluation(self) -> str:
        """The folder of its evaluation; a run at the top is one of its own."""
        return self.folder.rpartition("/")[0] or self.folder

    @property
    def prompt(self) -> str:
        """The prompts of the rows; empty where no language model was used."""
        return ", ".join(sorted({row.source.prompt for row in self.system.run.rows if row.source.prompt}))

    @property
    def texts(self) -> tuple[str, ...]:
        """What must be equal for metrics of two runs to be comparable: the data, its texts and the taxonomy."""
        ids = self.system.run.manifest.get("ids_sha256") or len(self.system.run.rows)
        return (*_identity(self.system.run.manifest), str(ids))

    @property
    def data(self) -> str:
        """Data set, split, taxonomy and number of texts, for people."""
        manifest = self.system.run.manifest
        data, taxonomy = _part(manifest, "data"), _part(manifest, "taxonomy")
        split = manifest.get("split") or data.get("split")
        parts = (data.get("name"), split, taxonomy.get("name"), f"{len(self.system.run.rows):,} texts")
        return " · ".join(str(part) for part in parts if part)


def of_one_evaluation(folder: Path) -> bool:
    """Whether a folder has the runs of one evaluation: of different systems, over the same data and taxonomy.

    Raises:
        InvalidDataset: there is no run, or a manifest is damaged.
    """
    found = _folders(folder)
    if found == [folder] or (folder / ROWS).exists():
        return True
    manifests = [read_manifest(one) for one in found]
    systems = Counter(str(manifest.get("system")) for manifest in manifests)
    alike = len({_identity(manifest) for manifest in manifests}) == 1 and max(systems.values()) == 1
    return alike and all(one.parent == folder for one in found)


def write(folder: Path) -> list[Path]:
    """Write ``report.html`` and ``report.md`` over all runs below a folder; a damaged run is left out with a warning.

    Raises:
        InvalidDataset: no run can be read.
    """
    runs, warnings = [], []
    for one in _folders(folder):
        name = one.relative_to(folder).as_posix()
        try:
            system = read_system(one)
            bounds = {metric: (row.low, row.high) for metric, row in intervals(system.run, ranking=False).items()}
        except InvalidDataset as error:
            warnings.append(f"{name} is left out: {error}")
            continue
        runs.append(DatedRun(name, system, bounds, _date(system.run.manifest)))
        if not system.metrics:
            warnings.append(f"{name} has no metrics.json: it is unfinished, or needs `main.py evaluate --rescore`.")
    if not runs:
        raise InvalidDataset(f"no run below {folder} can be read: {warnings[0]}")
    runs = [replace(run, date=max(other.date for other in runs if other.evaluation == run.evaluation)) for run in runs]
    runs.sort(key=lambda run: (run.date, run.texts, run.system.metric("micro-F1", "accuracy") or 0.0, run.folder))
    columns = [column for column in COLUMNS if any(column.name in run.system.metrics for run in runs)]
    sections = (_runs_section(runs, columns), _trends_section(runs, columns))
    definitions = tuple((column.name, column.about) for column in columns if column.name in _SHOWN)
    facts = (("folder", folder.resolve().name), *_facts(runs))
    return write_document(Document("All runs", facts, tuple(warnings), sections, definitions), folder)


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(ROWS)) or run_folders(folder)


def _date(manifest: Mapping[str, Any]) -> str:
    """The end of a run, or else its start; empty where the manifest has neither."""
    return str(manifest.get("ended") or manifest.get("started") or "")[:16].replace("T", " ")


def _part(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = manifest.get(name)
    return value if isinstance(value, Mapping) else {}


def _identity(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    data, taxonomy = _part(manifest, "data"), _part(manifest, "taxonomy")
    split = manifest.get("split") or data.get("split")
    return tuple(str(one) for one in (data.get("name"), data.get("digest"), split, taxonomy.get("digest")))


def _facts(runs: Sequence[DatedRun]) -> list[tuple[str, str]]:
    dates = [run.date for run in runs if run.date]
    facts = [("runs", str(len(runs))), ("data sets", str(len({run.texts for run in runs})))]
    facts.append(("systems", str(len({run.system.name for run in runs}))))
    return [*facts, ("first", dates[0]), ("last", dates[-1])] if dates else facts


def _runs_section(runs: Sequence[DatedRun], columns: Sequence[Column]) -> Section:
    shown = [column for column in columns if column.name in _SHOWN]
    rows = []
    prompts = any(run.prompt for run in runs)
    for run in reversed(runs):
        name, _, more = run.data.partition(" · ")
        cells = [column.cell(run.system, bounds=run.bounds) for column in shown]
        prompt = [run.prompt or MISSING] * prompts
        rows.append(TableRow.of(run.date or MISSING, Cell(name, more), run.system.name, *prompt, *cells))
    metrics = (Head(column.name, column.about) for column in shown)
    table_heads = heads("date", "data", "system", *["prompt"] * prompts, *metrics, words=3 + prompts)
    table = ReportTable("Every run, newest first", table_heads, tuple(rows))
    lead = "Metrics are comparable within one data set only: the same texts, split and taxonomy."
    return Section("runs", "Runs", lead, (table, Note("Below a value: its 95% interval (grouped bootstrap).")))


def _trends_section(runs: Sequence[DatedRun], columns: Sequence[Column]) -> Section:
    by_texts: dict[tuple[str, ...], list[DatedRun]] = {}
    for run in runs:
        by_texts.setdefault(run.texts, []).append(run)
    groups = [group for group in by_texts.values() if len({run.date for run in group}) > 1]
    trends = [column for column in columns if column.name in _TRENDS]
    parts = tuple(Fold(group[0].data, tuple(_trend(group, trends)), open=True) for group in groups)
    lead = "Each data set with runs at two times or more. Runs are in order of time, at equal distances."
    return Section("trends", "Trends", lead, parts or (Note("No data set has runs at two times yet."),))


def _trend(runs: Sequence[DatedRun], columns: Sequence[Column]) -> list[Part]:
    """A chart and a table for each metric."""
    dates = sorted({run.date for run in runs})
    lines: dict[str, list[DatedRun]] = {}
    several = Counter(name for name, _ in {(run.system.name, run.prompt) for run in runs})
    for run in runs:
        name = f"{run.system.name}, {run.prompt}" if several[run.system.name] > 1 else run.system.name
        lines.setdefault(name, []).append(run)
    present = [column for column in columns if any(column.name in run.system.metrics for run in runs)]
    figures = tuple(Figure(_chart(column, dates, lines)) for column in present)
    legend = Legend(tuple((series, name, "") for series, name in enumerate(lines)))
    tables = [_values(column, dates, lines) for column in present]
    return [Grid((legend, *figures), "trend"), Fold("Values", tuple(tables))]


def _chart(column: Column, dates: Sequence[str], lines: Mapping[str, Sequence[DatedRun]]) -> Markup:
    known = [value for runs in lines.values() for run in runs if (value := run.system.metric(column.name)) is not None]
    low, high = floor(min(known) * 10) / 10, ceil(max(known) * 10) / 10
    high = high if high > low else low + 0.1
    places = {date: 0.1 + 0.8 * at / (len(dates) - 1) for at, date in enumerate(dates)}
    one_day = dates[0][:10] == dates[-1][:10]
    ends = [(places[date], date[11:] if one_day else date[:10]) for date in (dates[0], dates[-1])]
    marks = [(at, f"{low + at * (high - low):.2g}") for at in (0, 0.5, 1)]
    frame = charts.Frame(380, 220, f"{column.name} over time", y=column.name, x_ticks=ends, y_ticks=marks)
    drawn = []
    for series, (name, runs) in enumerate(lines.items()):
        found = [(run, value) for run in runs if (value := run.system.metric(column.name)) is not None]
        points = [(places[run.date], (value - low) / (high - low)) for run, value in found]
        titles = [f"{name}, {run.date}: {decimal(value)}" for run, value in found]
        drawn.append(charts.Line(name, series, points, [3.5] * len(points), titles))
    return charts.lines(frame, drawn)


def _values(column: Column, dates: Sequence[str], lines: Mapping[str, Sequence[DatedRun]]) -> ReportTable:
    rows = []
    for date in dates:
        latest = [next((run for run in reversed(runs) if run.date == date), None) for runs in lines.values()]
        rows.append(
            TableRow.of(
                date or MISSING,
                *(column.cell(run.system, bounds=run.bounds) if run else Cell(MISSING) for run in latest),
            )
        )
    return ReportTable(f"{column.name} by date and system", heads("date", *lines), tuple(rows))
