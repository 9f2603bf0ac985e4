"""Measure systems on labelled texts from Python: ``marquee.evaluate``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeGuard
from weakref import finalize

from eval.baselines import BASELINES, TrainingPlan, train
from eval.compare import GateResult, gate
from eval.datasets import DataParts, Fields, as_file, sample, taxonomy_in
from eval.datasets.registry import records
from eval.manifest import EvaluationData
from eval.report import read, write
from eval.report.errors import f1_by_label, worst_rows
from eval.results import RunResults
from eval.run import EvaluationRun, OpenedSystem, System, folder_name
from eval.run_metrics import TABLE_COLUMNS, ResultsTable, RunMetrics
from eval.shared_vectors import sharing
from llm.classifier import Classifier
from llm.spending.spend_cap import SpendCap
from marquee.classification import TaxonomyLike, load_taxonomy
from marquee.explained import explained
from marquee.systems import SystemContext, from_spec
from prompts.errors import InvalidSetting, UnknownName
from prompts.installation import naming_extras
from prompts.taxonomy import Taxonomy

_COMMAND = "marquee.evaluate"


class _WorkFolder:
    """A temporary folder that is removed with this object; ``TemporaryDirectory`` would warn of that."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="marquee-evaluation-"))
        finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """The metrics and predictions of an evaluation.

    Attributes:
        metrics: the metrics of each system by name, as ``metrics.json`` has them; None where one cannot be measured.
        runs: the outcome of every text, by system.
        data: the texts that were measured, with their true labels.
        left_out: number of rows that were left out, by reason.
    """

    metrics: Mapping[str, RunMetrics]
    runs: Mapping[str, RunResults]
    data: EvaluationData
    left_out: Mapping[str, int]
    _folder: _WorkFolder = field(compare=False)  # lives as long as the result

    def table(self) -> Any:
        """The main metrics, one row per system: a pandas DataFrame, or a printable table without pandas."""
        return self._table().frame()

    @property
    def predictions(self) -> Any:
        """True labels and the labels of each system, one row per text; the type is that of ``table``.

        A text that a system could not label has None.
        """
        columns = ("id", "text", "true labels", *self.runs)
        found = [[None if row.problem else list(row.labels) for row in run.rows] for run in self.runs.values()]
        rows = [
            (one.id, one.text.body, list(one.labels), *labels)
            for one, *labels in zip(self.data.examples, *found, strict=True)
        ]
        return ResultsTable(columns, tuple(rows)).frame()

    def by_label(self) -> Any:
        """F1 of each label and system, the most frequent label first; the type is that of ``table``.

        ``texts`` is the number of texts with the label.
        """
        evaluation = read(self._written)
        names, support = evaluation.labels, evaluation.support
        values = [f1_by_label(system) for system in evaluation.compared]
        order = sorted(range(len(names)), key=lambda place: (-support[place], names[place]))
        rows = [(names[place], int(support[place]), *(float(f1[place]) for f1 in values)) for place in order]
        columns = ("label", "texts", *(system.name for system in evaluation.compared))
        return ResultsTable(columns, tuple(rows)).frame()

    def errors(self, system: str | None = None, limit: int = 5) -> Any:
        """The most confident errors of a system, or without scores the texts with most errors; a type as of ``table``.

        Args:
            system: a key of ``metrics``; None: the best one.
            limit: maximum number of texts.
        """
        evaluation = read(self._written)
        if system is not None and system not in self.metrics:
            raise UnknownName("system", system, self.metrics)
        chosen = next(one for one in evaluation.nontrivial if system in (None, one.name))
        texts, rows = {one.id: one.text.body for one in self.data.examples}, []
        for row in (chosen.run.rows[place] for place in worst_rows(chosen, limit)):
            missed = [name for name in row.truth if name not in row.labels]
            wrong = [name for name in row.labels if name not in row.truth]
            rows.append((row.id, texts[row.id], ", ".join(missed), ", ".join(wrong)))
        return ResultsTable(("id", "text", "missed", "wrong"), tuple(rows)).frame()

    def gate(self, old: EvaluationResult, margin: float = 0.01) -> GateResult:
        """Regression gate: whether F1 is not significantly lower than in an older evaluation, by more than a margin.

        Args:
            old: an evaluation over the same texts. Both have one system.
            margin: permitted loss of micro-F1 and macro-F1, from 0 to less than 1.

        Returns:
            ``passed``, ``summary`` (the reason in one sentence) and ``differences`` with 95% intervals.

        Raises:
            InvalidSetting: several systems, or an impossible margin.
            InvalidDataset: the texts differ.
        """
        return gate(old._only_run(), self._only_run(), margin)

    def report(self, folder: str | Path) -> Path:
        """Write the HTML report, its Markdown twin and the files of the runs, as ``main.py evaluate --out`` does.

        Args:
            folder: is made where it does not exist; files of the same names are replaced.

        Returns:
            The path of ``report.html``.
        """
        write(read(self._written))
        shutil.copytree(self._written, folder, dirs_exist_ok=True)
        return Path(folder) / "report.html"

    @property
    def _written(self) -> Path:
        return self._folder.path / "runs"

    def _only_run(self) -> Path:
        if len(self.runs) > 1:
            raise InvalidSetting(f"the gate compares one system; this evaluation has {', '.join(self.runs)}")
        return next(iter(self.runs.values())).folder

    def __repr__(self) -> str:
        return f"{len(self.data.examples)} texts, {len(self.data.taxonomy.names)} labels\n{self._table()}"

    def _repr_html_(self) -> str:
        size = f"<p>{len(self.data.examples)} texts, {len(self.data.taxonomy.names)} labels</p>"
        return size + self._table()._repr_html_()

    def _table(self) -> ResultsTable:
        measured = [name for name in TABLE_COLUMNS if any(one.get(name) is not None for one in self.metrics.values())]
        return ResultsTable.of(self.metrics, measured)


@naming_extras("marquee.evaluate")
def evaluate(
    data: Any,
    text: str | None = None,
    labels: str | None = None,
    systems: str | Classifier | Sequence[str | Classifier] = "embedded",
    *,
    taxonomy: TaxonomyLike | None = None,
    title: str | None = None,
    id: str | None = None,
    test: Any = None,
    seed: int = 0,
    limit: int | None = None,
    min_label_count: int = 0,
    drop_unknown_labels: bool = False,
    explain: bool = False,
    max_cost: float | None = None,
    max_tokens: int | None = None,
) -> EvaluationResult:
    """Label texts whose labels are known with each system, and measure the quality, as ``main.py evaluate`` does.

    A baseline such as ``"tfidf-lr"`` is trained first. The data is then split into 80 % train, 10 % validation and
    10 % test, stratified by label and with duplicates in one part, and every system is measured on the test part. A
    column ``split`` of the data is kept. Without a baseline, every system is measured on all rows.

    Args:
        data: a pandas DataFrame, a list of dicts, or the path of a file that ``main.py evaluate --data`` reads.
        text: the column of texts; None: ``description``.
        labels: the column of labels: lists of names, or strings with ``|``, ``;`` or ``,`` between; None: ``genres``.
        systems: names as in ``load_classifier``, names of baselines, or loaded classifiers.
        taxonomy: as in ``load_taxonomy``. None: the labels that occur in the data.
        title: a column of titles, which are read with the texts.
        id: a column of unique ids. None: ``id``, or else the index of the DataFrame or the number of the row.
        test: further labelled data in the same form, to measure on; ``data`` is then for training only.
        seed: of the split and of the training.
        limit: maximum number of texts to measure on; the same ones each time.
        min_label_count: labels with fewer training examples are left out.
        drop_unknown_labels: leave out labels that are not in the taxonomy instead of raising an error.
        explain: whether to find the evidence for the labels, and measure its share.
        max_cost: US dollars that all systems together may cost; each is then given by name.
        max_tokens: the same for prompt and completion tokens.

    Raises:
        Interrupted: the next texts would exceed ``max_cost`` or ``max_tokens``.
        InvalidDataset: a missing column, a label that is not in the taxonomy, or too few rows to split.
        UnknownName, InvalidSetting: as in ``load_classifier``.
    """
    named, cap = _listed(systems), SpendCap.of(max_cost, max_tokens, in_python=True)
    if cap and (loaded := next((one for one in named if not isinstance(one, str)), None)):
        raise InvalidSetting(f"{cap}: {loaded.name} is loaded, and its cost cannot be estimated; give it by name")
    folder = _WorkFolder()
    path, fields = as_file(data, test, folder.path / "data.jsonl", Fields(text, labels, id, title))
    closed = taxonomy_for(taxonomy, path, fields)
    parts = DataParts(path, fields, closed, min_label_count, drop_unknown_labels)
    if test is not None or any(_is_baseline(system) for system in named):
        parts = parts.divided(seed, folder.path / "split.json")
    return _measured(named, parts, seed, limit, folder, cap, explain)


def taxonomy_for(taxonomy: TaxonomyLike | None, path: Path, fields: Fields) -> Taxonomy:
    """The taxonomy as in ``load_taxonomy``; None: the labels that occur in the rows of a file."""
    if isinstance(taxonomy, str | Path | Taxonomy):
        return load_taxonomy(taxonomy)
    found = taxonomy_in(records(path, fields).rows)
    # Labels alone do not say whether a text may have several; the rows do.
    return found if taxonomy is None else Taxonomy.of(load_taxonomy(taxonomy).labels, multi=found.multi)


def _measured(
    systems: Sequence[str | Classifier], parts: DataParts, seed: int, limit: int | None, folder: _WorkFolder,
    cap: SpendCap | None, explain: bool,
) -> EvaluationResult:  # fmt: skip
    """Train the baselines, and run every system on the test part, or on all rows."""
    split, models = "test" if parts.is_divided else None, folder.path / "models"
    measured = parts.load(split)
    data = EvaluationData(parts.path, split, limit, measured.taxonomy, sample(measured.examples, limit))
    texts = [example.text for example in data.examples]
    context = SystemContext(data.taxonomy, texts, excluded=texts)
    runs, metrics = dict[str, RunResults](), dict[str, RunMetrics]()
    for name in filter(_is_baseline, systems):
        _train(name, parts, seed, models / name)
    with sharing():
        for one in systems:
            system = _system(one, context, models)
            system = explained(system, data.taxonomy) if explain else system
            meter = system.meter(cap, context.texts) if cap else None
            out = folder.path / "runs" / folder_name(system.spec)
            run = EvaluationRun(system, data, out, command=_COMMAND, meter=meter)
            metrics[system.spec] = run.execute()
            runs[system.spec] = RunResults.read(run.folder)
    return EvaluationResult(metrics, runs, data, measured.skipped, folder)


def _listed(systems: str | Classifier | Sequence[str | Classifier]) -> list[str | Classifier]:
    """The systems one by one; a string may name several, with commas between.

    Raises:
        InvalidSetting: none, or one of them twice.
    """
    if isinstance(systems, str):
        systems = [name.strip() for name in systems.split(",") if name.strip()]
    found: list[str | Classifier] = list(systems) if isinstance(systems, Sequence) else [systems]
    names = [one if isinstance(one, str) else one.name for one in found]
    if not names:
        raise InvalidSetting("systems is empty; name at least one, such as 'embedded'")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InvalidSetting(f"systems has {repeated!r} more than once; name each system once")
    return found


def _is_baseline(system: str | Classifier) -> TypeGuard[str]:
    return isinstance(system, str) and system in BASELINES


def _train(name: str, parts: DataParts, seed: int, out: Path) -> None:
    """Train a baseline on the train part, with its settings chosen on the validation part."""
    training, validation = parts.load("train"), parts.load("validation")
    plan = TrainingPlan(name, seed=seed, data=parts.path.name, command=_COMMAND)
    train(plan, training.taxonomy, training.examples, validation.examples, out)


def _system(one: str | Classifier, context: SystemContext, models: Path) -> System:
    """A system of its name, of a baseline that was trained just now, or of a loaded classifier."""
    if not isinstance(one, str):
        return System(one.name, {"model": one.name}, lambda: OpenedSystem(one))
    if _is_baseline(one):
        return replace(from_spec(f"{one}:{models / one}", context), spec=one)
    return from_spec(one, context)
