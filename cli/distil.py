"""`main.py distil`: the embedded classifier, taught by the language model on texts that nobody labelled."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.data import FIELDS, columns, decorated, fields_of, tell
from cli.evaluate import bar, tell_costs
from cli.output import OutputPath
from cli.train import tracked

if TYPE_CHECKING:
    from eval.baselines import Trained
    from eval.datasets import Example, LoadedDataset
    from eval.run import EvaluationRun
    from prompts.taxonomy import Taxonomy
    from training.distillation.report import Answers
    from training.distillation.teacher_labels import TeacherLabels

_STUDENT, _BEFORE = "student", "embedded before"
_ENCODING = ("minilm-mlp", "hybrid")


@click.command(short_help="Train the embedded classifier on a model's labels.")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--out", type=OutputPath(folder=True), required=True, help="Folder for answers, student and report.")
@decorated(*columns)
@click.option("--teacher", default="llm", show_default=True, help="Who labels, as in `evaluate --systems`.")
@click.option("--student", default="minilm-mlp", show_default=True, help="Who learns, as in `train`.")
@click.option(
    "--encoder", type=click.Choice(["matcher", "minilm"]), help="minilm-mlp, hybrid: whose vectors.  [default: matcher]"
)
@click.option("--trials", type=click.IntRange(1), help="minilm-mlp, hybrid: draws of the random search.  [default: 12]")
@click.option("--limit", type=click.IntRange(1), help="At most so many texts, always the same ones.")
@click.option(
    "--alone", type=click.IntRange(0), default=20, show_default=True, help="Texts to ask about one at a time."
)
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Texts of one batch after these.")
@click.option("--cache/--no-cache", default=True, help="Whether remembered answers will do.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sides and of everything random.")
@click.option("--partial", is_flag=True, help="Go on without texts that could not be answered now.")
@click.option("--dry-run", is_flag=True, help="Tell what asking would cost, and ask nothing.")
def distil(table: Path, out: Path, dry_run: bool, seed: int, partial: bool, **options: Any) -> None:
    """Let the language model label the texts of TABLE, and teach the embedded classifier what it said.

    With --labels-field the table's own labels, where it has them, tell how good teacher and student are; they are never
    learnt from. The same command again goes on where the last one was ended.
    """
    from marquee.settings import read_settings
    from prompts import registry

    vocabulary = registry.taxonomy_at(options.pop("taxonomy") or read_settings().taxonomy)
    loaded = _loaded(table, vocabulary, options)
    run = _run(table, vocabulary, loaded.examples, out / "teacher", options)
    if dry_run:
        return tell_costs([run])
    with bar("teacher", len(run.pending())) as on_progress:
        rows = run.collect(on_progress)
    from training.distillation.teacher_labels import labels_of_teacher, split_by_film

    said = labels_of_teacher(loaded.examples, rows, vocabulary, partial)
    dealt = split_by_film(said.examples, seed)
    student = _taught(out / _STUDENT, table.name, vocabulary, said, dealt, run, seed, options)
    held = _held_against(out, table, vocabulary, dealt["test"], options)
    _report(out, loaded, dealt, {"data": table.name, **_told(run, said, student, len(loaded.examples), dealt)}, held)
    return None


def _loaded(table: Path, vocabulary: Taxonomy, options: dict[str, Any]) -> LoadedDataset:
    """All texts, with the table's own labels only where their column is named."""
    from eval.datasets import pool, sample

    names = {name: options.pop(name) for name in FIELDS}
    fields = replace(fields_of(**names), labels=names["labels_field"] or "")
    drop = options.pop("unknown_labels") == "drop"
    loaded = pool(table, vocabulary, fields, format=options.pop("data_format"), drop_unknown=drop)
    tell(loaded)
    return replace(loaded, examples=tuple(sample(loaded.examples, options["limit"])))


def _run(
    table: Path, vocabulary: Taxonomy, examples: Sequence[Example], folder: Path, options: dict[str, Any],
    spec: str | None = None,
) -> EvaluationRun:  # fmt: skip
    """One system over texts: the teacher, or who is held against it."""
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, RunOptions
    from marquee.systems import SystemContext, named
    from prompts.network import without_login

    system = named(
        spec or options["teacher"], SystemContext(vocabulary, [one.text for one in examples], options["cache"])
    )
    material = EvaluationData(table, None, options["limit"], vocabulary, examples)
    command = without_login(shlex.join(["main.py", *sys.argv[1:]]))
    asking = RunOptions(options["alone"], options["batch"])
    return EvaluationRun(system, material, folder, asking, command, lambda words: click.echo(words, err=True))


def _taught(
    folder: Path, data: str, vocabulary: Taxonomy, said: TeacherLabels, dealt: Mapping[str, Sequence[Example]],
    run: EvaluationRun, seed: int, options: Mapping[str, Any],
) -> Trained:  # fmt: skip
    """The student, trained on what the teacher said."""
    from eval.baselines import TrainingPlan, train
    from eval.manifest import read_manifest

    settings = {name: options[name] for name in ("encoder", "trials") if options[name] is not None}
    if options["student"] in _ENCODING:
        settings = {"encoder": "matcher", **settings}
    asked = read_manifest(run.folder)
    teacher = {
        "system": run.system.spec,
        "setup": asked["setup"],
        "decode_rule": asked["decode_rule"],
        "doubt": said.doubt,
    }
    # Micro: labels that the teacher hardly ever gave should not move the thresholds.
    how: dict[str, Any] = {"objective": "micro", "seed": seed, "data": data, "command": run.command}
    plan = TrainingPlan(options["student"], settings, **how, teacher=teacher)
    return train(plan, vocabulary, dealt["train"], dealt["validation"], folder, tracked, said.soft)


def _held_against(
    out: Path, table: Path, vocabulary: Taxonomy, held: Sequence[Example], options: dict[str, Any]
) -> dict[str, Answers]:
    """What the student says of the texts held back, and the embedded classifier as it was before."""
    from training.distillation.report import Answers

    found = {}
    for name, spec in ((_STUDENT, f"{_STUDENT}:{out / _STUDENT}"), (_BEFORE, "embedded")):
        run = _run(table, vocabulary, held, out / "held-back" / name.replace(" ", "-"), options, spec)
        run.reset()  # a student of the same name may be another one by now
        with bar(name, len(held)) as on_progress:
            run.execute(on_progress)
        found[name] = Answers.of(run.folder)
    return found


def _told(
    run: EvaluationRun, said: TeacherLabels, student: Trained, texts: int, dealt: Mapping[str, Sequence[Example]]
) -> dict[str, Any]:
    """Who taught whom, on how many texts."""
    from eval.results import RunResults

    source = RunResults.read(run.folder).rows[0].source
    return {
        "taxonomy": student.taxonomy.versioned_name,
        "teacher": {
            "name": source.model, "system": run.system.spec, "strategy": source.strategy,
            "prompt": source.prompt, "doubt": said.doubt,
        },
        "student": {"kind": student.kind, "folder": _STUDENT},
        "texts": {
            "table": texts, "answered": len(said.examples), "unanswered": dict(said.unanswered),
            **{name: len(some) for name, some in dealt.items()},
        },
    }  # fmt: skip


def _report(
    out: Path, loaded: LoadedDataset, dealt: Mapping[str, Sequence[Example]], on_progress: Mapping[str, Any],
    others: Mapping[str, Answers],
) -> None:  # fmt: skip
    from training.distillation.report import Answers, compared, write

    held = {one.id for one in dealt["test"]}
    teacher = Answers.of(out / "teacher")
    teacher = replace(teacher, labels={one: labels for one, labels in teacher.labels.items() if one in held})
    gold = [one for one in loaded.examples if one.id in held and one.complete]
    found = {**on_progress, **compared(teacher, others, gold, loaded.taxonomy)}
    for name, figures in found["agreement with the teacher"].items():
        told_figures = ", ".join(f"{metric} {value:.3f}" for metric, value in figures.items())
        click.echo(f"{name}, against the teacher: {told_figures}")
    for metric, share in found.get("kept", {}).items():
        click.echo(f"kept of the teacher's {metric}: {share:.0%}")
    for path in write(out, found):
        click.echo(f"report: {path}", err=True)
    click.echo(f"serve it with `main.py serve --trained {out / _STUDENT}`", err=True)
