"""`main.py distil`: train the embedded classifier on the labels of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import (
    PATH,
    OutputPath,
    ProgressLine,
    collected,
    command_line,
    json_option,
    print_json,
    say,
    tracked,
)
from cli.data import DataOptions, column_options, report_dropped
from cli.evaluate import print_costs
from cli.group import examples
from cli.names import complete_systems

if TYPE_CHECKING:
    from eval.baselines import Trained
    from eval.datasets import Example, LoadedDataset
    from eval.run import EvaluationRun
    from training.distillation import Answers, TeacherLabels

_STUDENT, _BEFORE = "student", "embedded before"
_ENCODING = ("minilm-mlp", "hybrid")


@dataclass(frozen=True)
class DistilOptions:
    """The options for teacher and student."""

    teacher: str
    student: str
    encoder: str | None
    trials: int | None
    alone: int
    batch: int
    cache: bool
    seed: int
    partial: bool


@click.command(
    short_help="Train the embedded classifier on a model's labels.",
    epilog=examples(
        "distil texts.csv --out var/student --taxonomy tickets --dry-run", "distil texts.csv --out var/student"
    ),
)
@click.argument("table", type=PATH)
@click.option("--out", type=OutputPath(folder=True), required=True, help="Folder for answers, student and report.")
@column_options
@collected(
    DistilOptions,
    "plan",
    click.option(
        "--teacher",
        default="llm",
        shell_complete=complete_systems,
        help="System that labels, as in `evaluate --systems`.",
    ),
    click.option("--student", default="minilm-mlp", help="Model to train, as in `train`."),
    click.option(
        "--encoder", type=click.Choice(["matcher", "minilm"]), help="minilm-mlp, hybrid: encoder.  [default: matcher]"
    ),
    click.option("--trials", type=click.IntRange(1), help="minilm-mlp, hybrid: trials of the search.  [default: 12]"),
    click.option("--alone", type=click.IntRange(0), default=20, help="Texts to send one by one, for latency."),
    click.option("--batch", type=click.IntRange(1), default=32, help="Batch size for the others."),
    click.option("--cache/--no-cache", default=True, help="Whether cached answers may be used."),
    click.option("--seed", type=int, default=0, help="Seed of the split and of everything random."),
    click.option("--partial", is_flag=True, help="Continue without the texts that have no answer."),
)
@click.option("--limit", type=click.IntRange(1), help="Maximum number of texts; always the same ones.")
@click.option("--dry-run", is_flag=True, help="Print the number of tokens and the price; send nothing.")
@json_option
def distil(table: Path, out: Path, options: DataOptions, plan: DistilOptions, dry_run: bool, as_json: bool) -> None:
    """Label the texts of TABLE with the language model, and train the embedded classifier on its labels.

    With --labels-field, the table's own labels measure teacher and student; they are never used for training. Runs are
    resumable: run the same command again after a crash.
    """
    from training.distillation import labels_of_teacher, split_by_film

    loaded = _loaded(table, options)
    run = _run(table, loaded.examples, out / "teacher", options, plan, plan.teacher)
    if dry_run:
        return print_costs([run], as_json)
    rows = run.collect(ProgressLine("teacher:", len(run.pending())).advance)
    labelled = labels_of_teacher(loaded.examples, rows, options.taxonomy, plan.partial)
    splits = split_by_film(labelled.examples, plan.seed)
    student = _train(out / _STUDENT, table.name, labelled, splits, run, plan)
    answers = _test_answers(out, table, splits["test"], options, plan)
    provenance = _provenance(run, labelled, student, len(loaded.examples), splits)
    report = _report(out, loaded, splits["test"], {"data": table.name, **provenance}, answers)
    print_json(report) if as_json else _print_agreement(report)
    say(f"serve it with `main.py serve --trained {out / _STUDENT}`")
    return None


def _loaded(table: Path, options: DataOptions) -> LoadedDataset:
    """All texts; with the table's own labels only if their column is named."""
    from eval.datasets import pool, sample

    fields = replace(options.fields, labels=options.labels_field or "")
    loaded = pool(table, options.taxonomy, fields, **options.as_arguments())
    report_dropped(loaded)
    return replace(loaded, examples=tuple(sample(loaded.examples, options.limit)))


def _run(
    table: Path, examples: Sequence[Example], folder: Path, options: DataOptions, plan: DistilOptions, spec: str
) -> EvaluationRun:  # fmt: skip
    """A run of one system over texts."""
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, RunOptions
    from marquee.systems import SystemContext, from_spec

    context = SystemContext(options.taxonomy, [example.text for example in examples], plan.cache)
    material = EvaluationData(table, None, options.limit, options.taxonomy, examples)
    batches = RunOptions(plan.alone, plan.batch)
    return EvaluationRun(from_spec(spec, context), material, folder, batches, command_line(), say)


def _train(
    folder: Path, data: str, labelled: TeacherLabels, splits: Mapping[str, Sequence[Example]], run: EvaluationRun,
    plan: DistilOptions,
) -> Trained:  # fmt: skip
    """Train the student on the labels of the teacher."""
    from eval.baselines import TrainingPlan, train
    from eval.manifest import read_manifest

    settings = {name: value for name in ("encoder", "trials") if (value := getattr(plan, name)) is not None}
    if plan.student in _ENCODING:
        settings = {"encoder": "matcher", **settings}
    manifest = read_manifest(run.folder)
    teacher = {
        "system": run.system.spec,
        "setup": manifest["setup"],
        "decode_rule": manifest["decode_rule"],
        "doubt": labelled.doubt,
    }
    # Micro: labels that the teacher hardly ever gave should not move the thresholds.
    how: dict[str, Any] = {"objective": "micro", "seed": plan.seed, "data": data, "command": run.command}
    training = TrainingPlan(plan.student, settings, **how, teacher=teacher)
    return train(
        training, run.data.taxonomy, splits["train"], splits["validation"], folder, tracked, labelled.soft
    )  # fmt: skip


def _test_answers(
    out: Path, table: Path, examples: Sequence[Example], options: DataOptions, plan: DistilOptions
) -> dict[str, Answers]:  # fmt: skip
    """The answers for the test texts of the student, and of the embedded classifier before the training."""
    from training.distillation import Answers

    answers = {}
    for name, spec in ((_STUDENT, f"{_STUDENT}:{out / _STUDENT}"), (_BEFORE, "embedded")):
        run = _run(table, examples, out / "held-out" / name.replace(" ", "-"), options, plan, spec)
        run.reset()  # an earlier run may be that of another student
        run.execute(ProgressLine(f"{name}:", len(examples)).advance)
        answers[name] = Answers.of(run.folder)
    return answers


def _provenance(
    run: EvaluationRun, labelled: TeacherLabels, student: Trained, texts: int, splits: Mapping[str, Sequence[Example]]
) -> dict[str, Any]:  # fmt: skip
    """Teacher, student, and their numbers of texts."""
    from eval.results import RunResults

    source = RunResults.read(run.folder).rows[0].source
    return {
        "taxonomy": student.taxonomy.versioned_name,
        "teacher": {
            "name": source.model, "system": run.system.spec, "strategy": source.strategy,
            "prompt": source.prompt, "doubt": labelled.doubt,
        },
        "student": {"kind": student.kind, "folder": _STUDENT},
        "texts": {
            "table": texts, "answered": len(labelled.examples), "unanswered": dict(labelled.unanswered),
            **{name: len(examples) for name, examples in splits.items()},
        },
    }  # fmt: skip


def _report(
    out: Path, loaded: LoadedDataset, test: Sequence[Example], provenance: Mapping[str, Any],
    answers: Mapping[str, Answers],
) -> Mapping[str, Any]:  # fmt: skip
    """Write the report of teacher and student, and return it."""
    from training.distillation import Answers, compared, write

    ids = {example.id for example in test}
    teacher = Answers.of(out / "teacher")
    teacher = replace(teacher, labels={id: labels for id, labels in teacher.labels.items() if id in ids})
    gold = [example for example in loaded.examples if example.id in ids and example.complete]
    report = {**provenance, **compared(teacher, answers, gold, loaded.taxonomy)}
    for path in write(out, report):
        say(f"report: {path}")
    return report


def _print_agreement(report: Mapping[str, Any]) -> None:
    for name, metrics in report["agreement with the teacher"].items():
        click.echo(f"{name}, against the teacher: {', '.join(f'{key} {value:.3f}' for key, value in metrics.items())}")
    for metric, share in report.get("kept", {}).items():
        click.echo(f"kept of the teacher's {metric}: {share:.0%}")
