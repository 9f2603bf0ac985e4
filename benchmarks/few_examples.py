"""`main.py fit` and SetFit on the same few examples per label: quality on test texts, and seconds of training.

``FOLDER`` has families of texts as ``main.py evaluate --suite`` reads them. Examples are drawn from the split
``train``; the split ``test`` is only measured on. ``PYTHON`` is the interpreter of an environment with ``setfit``,
which fine-tunes the same MiniLM. Finished measurements are kept in ``--results`` and not repeated::

    python -m benchmarks.few_examples --data FOLDER --setfit PYTHON
"""

from __future__ import annotations

import inspect
import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import mean

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import COMMAND, clock, cpu_path, table
from eval.baselines import TrainingPlan, load
from eval.baselines.fitting import KIND, fit_table
from eval.baselines.frozen_features import encoded
from eval.datasets import Example, sample
from eval.datasets.families import SuiteFamily, families
from eval.metrics import METRICS, indicator
from marquee.loaded_models import embedded
from prompts.taxonomy import Taxonomy

FAMILIES = ("agnews", "support_tickets_bitext", "sst5", "cuad")
_METRICS = {"accuracy or micro-F1": "micro-F1", "macro-F1": "macro-F1"}  # micro-F1 of single labels is the accuracy
_OURS, _SETFIT = "fit", "SetFit"


@dataclass(frozen=True)
class FewExamples:
    """One draw of training examples of a family, and its test texts."""

    family: str
    taxonomy: Taxonomy
    per_label: int
    seed: int
    training: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True)
class FewExamplesRun:
    """What one system reached with one draw; ``seconds`` of CPU time are those of the training."""

    system: str
    family: str
    per_label: int
    seed: int
    examples: int
    seconds: float
    metrics: Mapping[str, float]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.system, self.family, self.per_label, self.seed


System = Callable[[FewExamples], tuple[float, list[tuple[str, ...]]]]  # CPU seconds, and the labels of the test texts


@click.command(context_settings=COMMAND)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of families.")
@click.option("--family", "names", multiple=True, default=FAMILIES, show_default=True, help="Family; repeat it.")
@click.option("--setfit", type=click.Path(path_type=Path), help="Python of an environment with setfit.")
@click.option("--setfit-iterations", type=int, help="num_iterations of SetFit.  [default: its own sampling]")
@click.option("--examples", "sizes", multiple=True, type=int, default=(8, 32), show_default=True, help="Per label.")
@click.option("--draws", default=3, show_default=True, help="Draws of examples.")
@click.option("--texts", default=500, show_default=True, help="Maximum number of test texts.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("var/few_examples.jsonl"), show_default=True)
@click.option("--split", default="test", show_default=True, help="Split to measure on.")
def main(
    data: Path, names: Sequence[str], setfit: Path | None, setfit_iterations: int | None, sizes: Sequence[int],
    draws: int, texts: int, results: Path, split: str,
) -> None:  # fmt: skip
    """Train on a few examples per label with `fit` and with SetFit, and compare quality and time."""
    systems: dict[str, System] = {"zero-shot": _zero_shot, "logistic regression": _regression, _OURS: _fit}
    if setfit:
        name = f"{_SETFIT}, num_iterations={setfit_iterations}" if setfit_iterations else _SETFIT
        systems[name] = lambda draw: _setfit(draw, setfit, setfit_iterations)
    done = {run.key: run for run in _read(results)}
    for family, size, seed in product(families(data, names), sizes, range(draws)):
        missing = [name for name in systems if (name, family.name, size, seed) not in done]
        if not missing:
            continue
        draw = drawn(family, size, seed, split, texts)
        for name in missing:
            run = _run(name, systems[name], draw)
            done[run.key] = run
            _append(results, run)
            click.echo(f"{' '.join(map(str, run.key))}: {run.seconds:.1f} s, {dict(run.metrics)}", err=True)
    click.echo(f"{cpu_path()}\n\n{summary(list(done.values()))}")


def summary(runs: Sequence[FewExamplesRun]) -> str:
    """A table: the mean over the draws of every family, size and system."""
    rows = []
    for family, size in dict.fromkeys((run.family, run.per_label) for run in runs):
        for system in dict.fromkeys(run.system for run in runs):
            same = [run for run in runs if (run.system, run.family, run.per_label) == (system, family, size)]
            if same:
                quality = (f"{mean(run.metrics[name] for run in same):.3f}" for name in _METRICS)
                seconds = f"{mean(run.seconds for run in same):,.1f}"
                examples = f"{mean(run.examples for run in same):,.0f}"
                rows.append((f"{family}, {size} per label", system, examples, str(len(same)), *quality, seconds))
    return table(("family", "system", "examples", "draws", *_METRICS, "CPU seconds"), rows)


def drawn(family: SuiteFamily, per_label: int, seed: int, split: str, texts: int) -> FewExamples:
    """Draw examples until every label has ``per_label`` of them or no more: the rarest label first."""
    training, test = family.load("train").dataset, family.load(split).dataset
    rows = list(training.examples)
    random.Random(f"{family.name} {seed}").shuffle(rows)
    counts, chosen = Counter[str](), dict[str, Example]()
    frequencies = Counter(label for row in rows for label in row.labels)
    for label in sorted(test.taxonomy.names, key=lambda name: (frequencies[name], name)):
        for row in rows:
            if counts[label] >= per_label:
                break
            if label in row.labels and row.id not in chosen:
                chosen[row.id] = row
                counts.update(row.labels)
    measured = tuple(sample(test.examples, texts))
    return FewExamples(family.name, test.taxonomy, per_label, seed, tuple(chosen.values()), measured)


def _run(name: str, system: System, draw: FewExamples) -> FewExamplesRun:
    seconds, labels = system(draw)
    truth = indicator([one.labels for one in draw.test], draw.taxonomy)
    predicted = indicator(labels, draw.taxonomy)
    metrics = {shown: round(METRICS[metric](truth, predicted), 4) for shown, metric in _METRICS.items()}
    size = len(draw.training)
    return FewExamplesRun(name, draw.family, draw.per_label, draw.seed, size, round(seconds, 2), metrics)


def _zero_shot(draw: FewExamples) -> tuple[float, list[tuple[str, ...]]]:
    """The embedded classifier, without the examples."""
    return 0.0, _zero_shot_labels(draw.taxonomy, tuple(one.text.joined for one in draw.test))


def _regression(draw: FewExamples) -> tuple[float, list[tuple[str, ...]]]:
    """scikit-learn's logistic regression over vectors of plain MiniLM, with its default settings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    encoder, names = embedded().encoder, draw.taxonomy.names
    truth = indicator([one.labels for one in draw.training], draw.taxonomy)
    encoder.encode(["load"])
    with clock() as seconds:
        model = OneVsRestClassifier(LogisticRegression()) if draw.taxonomy.multi else LogisticRegression()
        vectors = encoder.encode([one.text.joined for one in draw.training])
        model.fit(vectors, truth if draw.taxonomy.multi else truth.argmax(axis=1))
    found = model.predict(_vectors(tuple(one.text.joined for one in draw.test)))
    rows = found if draw.taxonomy.multi else np.eye(len(names))[found]
    return seconds.cpu, [tuple(np.array(names)[row.astype(bool)].tolist()) for row in rows]


# The draws of a family share their test texts.


@lru_cache(maxsize=1)
def _zero_shot_labels(taxonomy: Taxonomy, texts: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [answer.labels for answer in embedded().classify(texts, taxonomy)]


@lru_cache(maxsize=1)
def _vectors(texts: tuple[str, ...]) -> NDArray[np.float32]:
    return embedded().encoder.encode(texts)


def _fit(draw: FewExamples) -> tuple[float, list[tuple[str, ...]]]:
    """`main.py fit`: from the texts to the saved folder."""
    plan = TrainingPlan(KIND, data=draw.family)
    encoded(["load"], draw.taxonomy)
    with tempfile.TemporaryDirectory() as folder:
        with clock() as seconds:
            fit_table(plan, draw.taxonomy, draw.training).save(Path(folder))
        answers = load(Path(folder)).classify([one.text for one in draw.test], draw.taxonomy)
    return seconds.cpu, [answer.labels for answer in answers]


def _setfit(draw: FewExamples, python: Path, iterations: int | None) -> tuple[float, list[tuple[str, ...]]]:
    """Train and test SetFit in a process of its own environment; its start, imports and loading are not timed."""
    from similarity.encoders.tokens import weights_folder

    names = draw.taxonomy.names
    truth = indicator([one.labels for one in draw.training], draw.taxonomy)
    job = {
        "model": weights_folder(), "texts": [one.text.joined for one in draw.training], "multi": draw.taxonomy.multi,
        "labels": truth.astype(int).tolist() if draw.taxonomy.multi else truth.argmax(axis=1).tolist(),
        "test": [one.text.joined for one in draw.test], "seed": draw.seed, "iterations": iterations,
    }  # fmt: skip
    source = f"{inspect.getsource(_train_setfit)}\n_train_setfit()"
    with tempfile.TemporaryDirectory() as folder:  # -P: our packages would shadow others
        done = subprocess.run(
            [python.absolute(), "-P", "-c", source], input=json.dumps(job), capture_output=True, text=True, cwd=folder
        )
    if done.returncode:
        raise click.ClickException(f"SetFit failed: {done.stderr[-2_000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    rows = (
        result["labels"]
        if draw.taxonomy.multi
        else [[place == row for place in range(len(names))] for row in result["labels"]]
    )
    return result["seconds"], [tuple(name for name, given in zip(names, row, strict=True) if given) for row in rows]


def _train_setfit() -> None:
    """Train SetFit with its default settings on the examples of standard input; print its labels of the test texts.

    Its source runs alone in SetFit's environment.
    """
    import json
    import sys
    import time

    from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]
    from setfit import SetFitModel, Trainer, TrainingArguments  # type: ignore[import-not-found,unused-ignore]

    job = json.load(sys.stdin)
    strategy = {"multi_target_strategy": "one-vs-rest"} if job["multi"] else {}
    model = SetFitModel.from_pretrained(job["model"], local_files_only=True, **strategy)
    cap = {"num_iterations": job["iterations"]} if job["iterations"] else {}
    arguments = TrainingArguments(seed=job["seed"], report_to="none", save_strategy="no", **cap)
    examples = Dataset.from_dict({"text": job["texts"], "label": job["labels"]})
    start = time.process_time()
    Trainer(model=model, args=arguments, train_dataset=examples).train()
    seconds = time.process_time() - start
    found = model.predict(job["test"], use_labels=False)
    labels = found.tolist() if hasattr(found, "tolist") else [[int(value) for value in row] for row in found]
    print()
    print(json.dumps({"seconds": seconds, "labels": labels}))


def _read(path: Path) -> Iterator[FewExamplesRun]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield FewExamplesRun(**json.loads(line))


def _append(path: Path, run: FewExamplesRun) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


if __name__ == "__main__":
    main()
