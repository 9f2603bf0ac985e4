"""`main.py evaluate --suite`: the same systems over every family of a folder, with one table and one report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.arguments import PATH, collected, command_line, print_json, print_table, say
from cli.data import report_dropped
from cli.evaluation_runs import RunSelection, systems_by_folder

if TYPE_CHECKING:
    from eval.datasets import LoadedFamily
    from eval.run import EvaluationRun, System
    from llm.classifier import Prediction
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

# Options that mean something for one data set only.
_OF_ONE_DATA_SET = (
    "data", "data_format", "taxonomy", "text_field", "title_field", "labels_field", "id_field", "encoding", "separator",
    "unknown_labels", "split_file", "min_label_count", "shown", "orders", "gate",
)  # fmt: skip


@dataclass(frozen=True)
class SuiteOptions:
    """The folder of a suite, and which of its families."""

    suite: Path | None
    families: str | None

    @property
    def names(self) -> list[str]:
        """The chosen families; empty: all."""
        return [name.strip() for name in (self.families or "").split(",") if name.strip()]

    def check(self) -> None:
        """Raise ``UsageError`` if the command line has an option that does not go with these."""
        if self.suite is None:
            if self.families is not None:
                raise click.UsageError("--families chooses families of a folder; give the folder with --suite")
            return
        context = click.get_current_context()
        given = [one for one in context.command.params if one.name in _OF_ONE_DATA_SET and _is_given(context, one)]
        if given:
            raise click.UsageError(
                f"{given[0].opts[0]} is for one data set; --suite reads each family of the folder with its own labels"
            )


suite_options = collected(
    SuiteOptions,
    "of_suite",
    click.option("--suite", type=PATH, help="Folder of families, each NAME.jsonl.gz and NAME.labels.json."),
    click.option("--families", help="Families of the suite, with commas between.  [default: all]"),
)


def suite_runs(
    folder: Path, names: Sequence[str], split: str | None, limit: int | None, selection: RunSelection
) -> tuple[list[EvaluationRun], Path]:
    """The runs of all families, the commonest label as a system among them, and the folder of all runs."""
    from eval.datasets import families
    from prompts.files import check_output

    found = families(folder, names)
    top = check_output(selection.out or Path("var/runs") / folder.resolve().name, folder=True)
    return [run for family in found for run in family_runs(family.load(split), limit, selection, top)], top


def print_suite(out: Path, as_json: bool) -> None:
    """Write the report and the JSON of a suite, and print its table."""
    from eval.report import suite_results
    from eval.report.suite import table, write

    found = suite_results.read(out)
    report, *_ = write(found)
    if as_json:
        return print_json({"out": out, "report": report, **suite_results.as_json(found)})
    print_table(*table(found))
    say(f"all metrics and every answer: {out}")
    say(f"report: {report}")
    return None


def family_runs(family: LoadedFamily, limit: int | None, selection: RunSelection, top: Path) -> list[EvaluationRun]:
    """The runs of one family, in the folder of its name in ``top``; the commonest label is a system among them."""
    from eval.datasets import sample
    from eval.manifest import EvaluationData
    from eval.run import EvaluationRun, RunOptions, folder_name
    from marquee.systems import SystemContext

    dataset = family.dataset
    report_dropped(dataset)
    data = EvaluationData(family.data, family.split, limit, dataset.taxonomy, sample(dataset.examples, limit))
    texts = [example.text for example in data.examples]
    context = SystemContext(dataset.taxonomy, texts, selection.cache, excluded=texts)
    folder = top / family.name
    systems = systems_by_folder(selection, context, folder)
    placed = {folder / folder_name(one.spec) if path == folder else path: one for path, one in systems.items()}
    commonest = _commonest(family.commonest)
    placed[folder / commonest.spec] = commonest
    options = RunOptions(selection.alone, selection.batch)
    return [EvaluationRun(one, data, path, options, command_line(), say) for path, one in placed.items()]


def _commonest(label: str) -> System:
    from eval.report.suite_results import COMMONEST
    from eval.run import OpenedSystem, System

    return System(COMMONEST, {"label": label}, lambda: OpenedSystem(_OneLabel(label), "the same label for every text"))


@dataclass(frozen=True)
class _OneLabel:
    """Answers one label for every text."""

    label: str
    name: str = "commonest"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        from llm.classifier import AnswerSource, Prediction

        answer = Prediction((self.label,), AnswerSource(self.name, taxonomy.versioned_name))
        return [replace(answer) for _ in texts]


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    source = context.get_parameter_source(parameter.name or "")
    return source is click.core.ParameterSource.COMMANDLINE
