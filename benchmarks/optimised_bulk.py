"""Bulk labelling that trains its own small model: calls of the teacher, and the true error of the small model.

``FOLDER`` has families of texts as ``main.py evaluate --suite`` reads them. The table is made of rows of one family or
of several, whose labels are put together. The teacher is a language model, or a baseline that is fitted to them::

    python -m benchmarks.optimised_bulk --data FOLDER
    python -m benchmarks.optimised_bulk --data FOLDER --family dbpedia14 --rows 2000 --teacher llm --max-error 0.1

Every run is complete: each row is written. Then the teacher labels the rows that the small model has answered, so the
error is counted and not estimated. A run that was interrupted is resumed by the same command where the table and the
teacher are the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks.measure import COMMAND, table
from bulk.answer_store import LocalRunner
from bulk.job import ClassifierSpec, Job
from bulk.run import run
from eval.baselines import TrainingPlan, train
from eval.datasets import Example
from eval.datasets.families import families
from eval.shared_vectors import sharing
from llm.classifier import Classifier
from marquee.bulk_jobs import BulkRequest
from marquee.optimised_bulk import SMALL, Optimised, OptimisePlan, optimised
from marquee.systems import SystemContext, from_spec
from prompts.files import make_folder, write_text_atomically
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import as_yaml
from prompts.text import Text
from tabular import strict_rows

FAMILIES = ("dbpedia14",)
STAND_IN = "tfidf-lr"
"""The baseline that takes the place of a language model."""
_PATIENCE = 60.0  # seconds
_BATCH = 512
_HEADER = (
    "max. error", "teacher's calls", "times fewer", "labels for training", "rows by the small model",
    "of these compared", "different", "true error, all rows",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A table without labels, its taxonomy, and the name of the teacher."""

    table: Path
    taxonomy: Path
    teacher: str

    def job(self, out: Path) -> Job:
        """The job of ``main.py bulk`` with this output; the teacher's answers are cached for other runs."""
        request = BulkRequest(
            str(self.table), out, self.teacher, str(self.taxonomy), "text", None, None, None, None, "", False, _BATCH,
            _PATIENCE, (), "local", None, 1, 1, 0, "actors",
        )  # fmt: skip
        job, system = request.with_system(request.job())
        return replace(job, classifier=ClassifierSpec(system.spec, system.setup, lambda: self.opened(job.taxonomy)))

    def opened(self, taxonomy: Taxonomy) -> Classifier:
        """The teacher."""
        return from_spec(self.teacher, SystemContext(taxonomy, self.texts()[:200])).open().classifier

    def texts(self) -> list[Text]:
        """The texts of the table."""
        return [Text(str(row.cells["text"])) for row in strict_rows(self.table)]


@dataclass(frozen=True)
class Compared:
    """A finished run: who answered its rows, and how many answers of the small model were compared and differ."""

    found: Optimised
    rows: int
    small: int
    checked: int
    different: int

    def cells(self, max_error: float) -> tuple[str, ...]:
        """The row of the table."""
        calls = self.rows - self.small
        true_error = self.different / max(1, self.checked) * self.small / self.rows
        return (
            f"{max_error:g}", f"{calls:,} of {self.rows:,}", f"{self.rows / calls:.1f}", f"{self.found.trained:,}",
            f"{self.small / self.rows:.1%}", f"{self.checked:,}", f"{self.different:,}", f"{true_error:.2%}",
        )  # fmt: skip


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of families.")
@click.option("--family", "names", multiple=True, default=FAMILIES, show_default=True, help="Family; repeat it.")
@click.option("--rows", type=int, help="Rows of the table, drawn at random.  [default: all]")
@click.option("--characters", default=100, show_default=True, help="Texts are cut to so many characters.")
@click.option("--teacher", help=f"Name of a system.  [default: {STAND_IN}, fitted to the train split]")
@click.option("--max-error", "errors", multiple=True, type=float, default=(0.05,), show_default=True, help="Repeat it.")
@click.option("--budget", default=1_000, show_default=True, help="As that of `main.py bulk`.")
@click.option("--check", type=int, help="Rows of the small model to compare.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("var/bench-optimised-bulk"), show_default=True)
def main(
    data: Path, names: Sequence[str], rows: int | None, characters: int, teacher: str | None, errors: Sequence[float],
    budget: int, check: int | None, out: Path,
) -> None:  # fmt: skip
    """Label a table by an optimised run for each error bound, and compare its answers with the teacher's."""
    make_folder(out)
    taxonomy, examples = joined(data, names, characters)
    table_rows = examples[:rows]
    task = _task(out, taxonomy, table_rows, teacher or _stand_in(out, taxonomy, examples))
    click.echo(f"{', '.join(names)}: {len(table_rows):,} rows, {len(taxonomy.names)} labels; teacher {task.teacher}\n")
    with sharing():
        measured = [(error, _measured(task, out, OptimisePlan(error, budget=budget), check)) for error in errors]
    click.echo(table(_HEADER, [found.cells(error) for error, found in measured]))


def joined(data: Path, names: Sequence[str], characters: int) -> tuple[Taxonomy, list[Example]]:
    """The labels of all families, and their texts outside the test split in random order, each once."""
    labels, examples = dict[str, Label](), dict[str, Example]()
    for family in families(data, names):
        labels |= {label.name: label for label in family.taxonomy.labels}
        for split in ("train", "validation"):
            for one in family.load(split).dataset.examples:
                text = one.text.body[:characters]
                examples.setdefault(text, replace(one, id=f"{family.name}-{one.id}", text=Text(text)))
    found = list(examples.values())
    random.Random(0).shuffle(found)
    return Taxonomy.of(list(labels.values()), name="table", multi=False), found


def _stand_in(out: Path, taxonomy: Taxonomy, examples: Sequence[Example]) -> str:
    """Fit the stand-in; as no answer is compared with the true labels, it may label the texts that it has learned."""
    training, validation = ([one for one in examples if one.split == split] for split in ("train", "validation"))
    train(TrainingPlan(STAND_IN), taxonomy, training, validation, out / STAND_IN)
    return f"{STAND_IN}:{out / STAND_IN}"


def _task(out: Path, taxonomy: Taxonomy, examples: Sequence[Example], teacher: str) -> Task:
    """Write the table."""
    lines = (json.dumps({"text": one.text.body}, ensure_ascii=False) + "\n" for one in examples)
    write_text_atomically(out / "table.jsonl", "".join(lines))
    write_text_atomically(out / "table.yaml", as_yaml(taxonomy))
    return Task(out / "table.jsonl", out / "table.yaml", teacher)


def _measured(task: Task, out: Path, plan: OptimisePlan, check: int | None) -> Compared:
    """Run to the end, and compare."""
    job = task.job(out / f"max-error-{plan.max_error:g}.jsonl")
    made = optimised(job, plan, _PATIENCE, None, _say)
    run(made.job, LocalRunner(made.job.classifier.open, job.taxonomy, _PATIENCE), known=made.known)
    rows = [json.loads(line) for line in job.out.read_text(encoding="utf-8").splitlines()]
    small = [row for row in rows if row["source"].startswith(SMALL)]
    compared = small if check is None else random.Random(1).sample(small, min(check, len(small)))
    _say(f"max. error {plan.max_error:g}: {len(rows) - len(small):,} calls; {len(compared):,} rows to compare")
    answers = _labelled(task.opened(job.taxonomy), [Text(row["text"]) for row in compared], job.taxonomy)
    different = sum(set(row["labels"]) != set(labels) for row, labels in zip(compared, answers, strict=True))
    return Compared(made.found, len(rows), len(small), len(compared), different)


def _labelled(teacher: Classifier, texts: Sequence[Text], taxonomy: Taxonomy) -> Iterable[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield from (one.labels for one in teacher.classify(texts[start : start + _BATCH], taxonomy))


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
