"""Bulk labelling against the classifier by itself, on a Ray cluster against one process, and by the number of rows.

Absolute figures hang on the machine and on who else uses it; what counts are ratios between contenders that took turns
in one run. ``benchmarks.bulk_killed`` measures what a kill costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import click

from benchmarks.measure import spread, table
from benchmarks.texts import Plots, plots, vocabulary
from bulk.inputs import TextColumns, input_files
from bulk.job import ClassifierSpec, Job
from bulk.progress import Progress
from bulk.run import run
from bulk.runners import LocalRunner, Runner
from eval.manifest import peak_megabytes
from llm.classifier import AnswerSource, Classifier, Prediction
from prompts.taxonomy import Taxonomy
from prompts.text import Text

_PARTS = ("embedded", "rows", "ray")
_SIZES = (10_000, 100_000, 1_000_000)


class Free:
    """Answers at no cost, so that what is left is the cost of everything else."""

    name = "free"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        source, names = AnswerSource(self.name, taxonomy.versioned_name), taxonomy.names
        scores = {name: round(1 / (2 + place), 4) for place, name in enumerate(names)}
        return [Prediction(names[:2], source, scores)] * len(texts)


@dataclass
class AnswerTimes:
    """When texts were answered; steady from the first batch on, when everything is loaded."""

    began: float = field(default_factory=time.perf_counter)
    marks: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """Record the progress of a run."""
        if progress.texts > (self.marks[-1][1] if self.marks else 0):
            self.marks.append((time.perf_counter(), progress.texts))

    @property
    def steady(self) -> float:
        """Texts a second between the first batch and the last."""
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        return (last - first) / max(1e-9, end - start)

    @property
    def waited(self) -> float:
        """Seconds until the first batch was answered."""
        return self.marks[0][0] - self.began


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Plots: .jsonl, .jsonl.gz or a folder with TMDB's.")
@click.option("--plots", "count", default=4_096, show_default=True, help="Plots of a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; each contender has one turn in each.")
@click.option("--parts", default=",".join(_PARTS), show_default=True, help="Which parts, with commas between.")
@click.option("--smoke", is_flag=True, help="Few rows, one round: whether it runs.")
@click.option("--measure-rows", type=int, hidden=True)
def main(data: Path | None, count: int, rounds: int, parts: str, smoke: bool, measure_rows: int | None) -> None:
    """Measure documents a second of bulk labelling against the classifier by itself, by rows and on a Ray cluster."""
    if measure_rows is not None:
        return click.echo(json.dumps(_of_rows(measure_rows)))
    if smoke:
        count, rounds = 96, 1
    given, wanted = plots(data, count), parts.split(",")
    reports: dict[str, Callable[[], str]] = {
        "embedded": lambda: embedded(given, rounds),
        "rows": lambda: by_rows((1_000, 3_000) if smoke else _SIZES),
        "ray": lambda: on_ray(given, rounds),
    }
    for part in wanted:
        click.echo(f"{reports[part]()}\n")
    return None


# --- against the classifier by itself ---


def embedded(given: Plots, rounds: int) -> str:
    """Bulk's documents a second as a share of the classifier's own over the same texts at once."""
    from llm.embedded.matcher import matcher

    classifier, taxonomy = matcher(), vocabulary()
    classifier.classify(given.texts[:32], taxonomy)
    alone, whole = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        file = _written(Path(folder), given.texts)
        for number in range(rounds):
            start = time.perf_counter()
            classifier.classify(given.texts, taxonomy)
            alone.append(len(given.texts) / (time.perf_counter() - start))
            start = time.perf_counter()
            job = _job(file, Path(folder) / f"{number}.jsonl", classifier, taxonomy)
            run(job, LocalRunner(job.classifier.open, taxonomy))
            whole.append(len(given.texts) / (time.perf_counter() - start))
    share = [one / other for one, other in zip(whole, alone, strict=True)]
    rows = [
        ["the classifier by itself", spread(alone), "1"],
        ["bulk, from file to file", spread(whole), spread(share, 2)],
    ]
    target = [["bulk's share of the classifier's own documents a second", "≥ 0.9", f"{median(share):.2f}"]]
    return "\n\n".join(
        (
            f"Embedded classifier, {given.origin}; {rounds} rounds.",
            table(("who", "documents/s", "share"), rows),
            table(("target", "wanted", "found"), target),
        )
    )


def _written(folder: Path, texts: Sequence[str]) -> Path:
    """A file of plots, each different: what is repeated would be asked about once."""
    path = folder / "plots.jsonl"
    lines = (json.dumps({"id": n, "description": f"{text} [{n}]"}) + "\n" for n, text in enumerate(texts))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _job(file: Path, out: Path, classifier: Classifier, taxonomy: Taxonomy) -> Job:
    asked = ClassifierSpec(classifier.name, {}, lambda: classifier)
    return Job(input_files(str(file)), TextColumns("description", None, "id"), taxonomy, asked, out)


# --- by the number of rows ---


def by_rows(sizes: Sequence[int]) -> str:
    """What a row costs beside the model, and the peak of memory, each size in a process of its own."""
    found = {size: _measured(size) for size in sizes}
    first = found[sizes[0]]
    rows = [
        [
            f"{size:,}",
            f"{one['rows_a_second']:,.0f}",
            f"{first['rows_a_second'] / one['rows_a_second']:.2f}",
            f"{one['peak_mb']:,.0f}",
            f"{one['peak_mb'] / first['peak_mb']:.2f}",
        ]
        for size, one in found.items()
    ]
    heads = ("rows", "rows/s", "seconds a row, times the first", "peak MB", "times the first")
    return "Without a model: strategy, keeping, writing.\n\n" + table(heads, rows)


def _measured(size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.bulk", "--measure-rows", str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _of_rows(size: int) -> dict[str, float]:
    taxonomy, classifier = vocabulary(), Free()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for number in range(size):
                words = f"Plot {number} of somebody who goes somewhere and meets somebody else. " * 5
                lines.write(json.dumps({"id": number, "description": words}) + "\n")
        start = time.perf_counter()
        job = _job(file, Path(folder) / "out.jsonl", classifier, taxonomy)
        run(job, LocalRunner(job.classifier.open, taxonomy))
        taken = time.perf_counter() - start
    return {"rows_a_second": size / taken, "peak_mb": peak_megabytes()}


# --- on a Ray cluster ---


def on_ray(given: Plots, rounds: int) -> str:
    """Steady documents a second of one process, of one actor and of two, each on one core."""
    from bulk.ray_cluster import RayRunner

    paces: dict[str, list[AnswerTimes]] = {"one process": [], "Ray, one worker": [], "Ray, two workers": []}
    one_core = patch.dict(os.environ, OMP_NUM_THREADS="1")  # as Ray sets it for an actor of one core
    with one_core, tempfile.TemporaryDirectory() as folder, _two_nodes() as cluster:
        file = _written(Path(folder), given.texts)
        for number in range(rounds):
            for who, workers in zip(paces, (0, 1, 2), strict=True):
                job = _ray_job(file, Path(folder) / f"{number}-{workers}.jsonl", len(given.texts))
                here: Runner = LocalRunner(job.classifier.open, job.taxonomy)
                on_ray = RayRunner(job.classifier.open, job.taxonomy, job.folder, cluster(workers))
                paces[who].append(pace := AnswerTimes())
                run(job, on_ray if workers else here, pace)
    return _ray_report(paces, given, rounds)


def _ray_job(file: Path, out: Path, count: int) -> Job:
    from llm.embedded.matcher import matcher

    batch = max(4, min(128, count // 16))  # as many pieces of work as a long run has
    asked = ClassifierSpec("embedded", {}, matcher)
    return Job(input_files(str(file)), TextColumns("description", None, "id"), vocabulary(), asked, out, batch)


@contextmanager
def _two_nodes() -> Iterator[Callable[[int], Any]]:
    """A cluster of two nodes on this machine."""
    from tests.engines.ray_nodes import Nodes

    nodes = Nodes()
    try:
        with nodes.cluster(1).connected():
            yield nodes.cluster
    finally:
        nodes.stop()


def _ray_report(paces: dict[str, list[AnswerTimes]], given: Plots, rounds: int) -> str:
    steady = {who: [pace.steady for pace in some] for who, some in paces.items()}
    plain, one, two = steady.values()
    overhead = [before / after - 1 for before, after in zip(plain, one, strict=True)]
    gain = [after / before for before, after in zip(one, two, strict=True)]
    rows = [[who, spread(steady[who]), spread([pace.waited for pace in some])] for who, some in paces.items()]
    targets = [
        ["overhead of Ray with one worker", "≤ 0.25", f"{median(overhead):.2f}"],
        ["two workers, times one", "≥ 1.6", f"{median(gain):.2f}"],
    ]
    return "\n\n".join(
        (
            f"Ray on two nodes of this machine, {given.origin}; {rounds} rounds; a core each.",
            table(("who", "documents/s", "seconds to the first answers"), rows),
            table(("target", "wanted", "found"), targets),
        )
    )


if __name__ == "__main__":
    main()
