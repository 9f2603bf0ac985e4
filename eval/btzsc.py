"""The public benchmark BTZSC: 22 English data sets with one label per text (Aarab, ICLR 2026, arXiv 2603.11991).

Its data are pairs of a text and a hypothesis, such as "This text is about sport.", with 1 where the hypothesis is true.
The rows of a text follow each other, one per hypothesis. The package ``btzsc`` 0.1.2 (PyPI, MIT licence) defines the
evaluation that is computed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from eval.datasets import Example, LoadedDataset, LoadedFamily
from eval.datasets.example import Record
from eval.datasets.split import groups
from eval.metrics import Labels, Metric, Numbers, confusion, divide, f1
from eval.public_benchmark import BenchmarkData, PublicBenchmark, PublishedModel
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.installation import missing
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from prompts.yaml_file import read_yaml
from tabular import Row, open_table

REPOSITORY = "btzsc/btzsc"
REVISION = "fef2a2ac62b69c58670047dddf045c53d7c3cb5e"  # of the data; a later one may have other texts
TASK_GROUPS = {
    "sentiment": "amazonpolarity imdb appreviews yelpreviews rottentomatoes financialphrasebank".split(),
    "emotion": "emotiondair empathetic".split(),
    "intent": "banking77 biasframes_intent massive".split(),
    "topic": (
        "agnews yahootopics trueteacher manifesto capsotu biasframes_offensive biasframes_sex "
        "wikitoxic_toxicaggregated wikitoxic_obscene wikitoxic_threat wikitoxic_insult"
    ).split(),
}
_PUBLISHED = Path(__file__).parent / "btzsc_published.yaml"
_COLUMNS = ("text", "hypothesis", "labels")
_FILES = "test-*.parquet"
_HUB_SECONDS = 10
_DOWNLOAD = (
    f"hf download {REPOSITORY} --repo-type dataset --revision {REVISION} --include '*/{_FILES}' --exclude 'all/*' "
    "--local-dir btzsc-data"
)


@dataclass(frozen=True)
class HypothesisPair:
    """A row of the data."""

    where: str
    text: str
    hypothesis: str
    is_true: bool

    @classmethod
    def of(cls, row: Row) -> HypothesisPair:
        """Check the cells of a row; ``InvalidDataset`` where one has another type."""
        text, hypothesis, label = (row.cells[name] for name in _COLUMNS)
        for name, cell in (("text", text), ("hypothesis", hypothesis)):
            if not isinstance(cell, str):
                raise InvalidDataset(f"{row.where}: {name!r} is {_shown(cell)}; it must be a string")
        if isinstance(label, float | str) or label not in (0, 1):
            raise InvalidDataset(f"{row.where}: 'labels' is {_shown(label)}; it must be 0 or 1")
        return cls(row.where, text, " ".join(hypothesis.split()), bool(label))


@dataclass(frozen=True)
class PairedText:
    """A text, and the places of its true hypotheses."""

    where: str
    text: str
    true: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[HypothesisPair]) -> PairedText:
        """Make it of the rows of a text."""
        return cls(rows[0].where, rows[0].text, tuple(place for place, pair in enumerate(rows) if pair.is_true))


def read(folder: Path, name: str) -> BenchmarkData:
    """Read a data set: ``NAME/test-*.parquet``, as the hub has it, or ``NAME.parquet``.

    The labels are the hypotheses in their order. The true label of a text is its first true hypothesis, and the first
    of all where none is true, as in the package ``btzsc``.

    Raises:
        InvalidDataset: no such file, a missing column, a cell of another type, or rows that do not have the hypotheses
            of the first text in the same order.
    """
    files = _files(folder, name)
    if not files:
        raise InvalidDataset(
            f"{folder} has no data set {name!r}: neither {name}/{_FILES} nor {name}.parquet; choose others with "
            f"--datasets, or get the data with `{_DOWNLOAD}`"
        )
    grouped = _grouped(_pairs(files))
    first = next(grouped, ())
    if len(first) < 2:
        raise InvalidDataset(f"{files[0]} must have rows of at least two hypotheses for its first text")
    labels = [pair.hypothesis for pair in first]
    texts = [PairedText.of(rows) for rows in chain([first], grouped)]
    taxonomy = Taxonomy.of([Label(label) for label in labels], name=name, multi=False, allow_none=False)
    examples = _examples(texts, labels)
    commonest = Counter(example.labels[0] for example in examples).most_common(1)[0][0]
    data = files[0] if len(files) == 1 else folder / name
    return BenchmarkData(
        LoadedFamily(name, data, "test", LoadedDataset(examples, taxonomy), commonest), tuple(_notes(name, texts))
    )


def download(names: Sequence[str]) -> Path:
    """The folder of data sets in the cache of Hugging Face's hub; those that are not there are downloaded.

    Raises:
        InvalidSetting: the hub cannot be reached, or HF_HUB_OFFLINE forbids it.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ModuleNotFoundError as error:
        raise missing("`main.py benchmark btzsc` without --local", "local") from error
    fetch = partial(
        snapshot_download, REPOSITORY, repo_type="dataset", revision=REVISION,
        allow_patterns=[f"{name}/{_FILES}" for name in names],
    )  # fmt: skip
    with suppress(Exception):  # not all of it is there, or the cache is of another version of the library
        folder = Path(fetch(local_files_only=True))
        if all(_files(folder, name) for name in names):
            return folder
    try:
        HfApi().dataset_info(REPOSITORY, revision=REVISION, timeout=_HUB_SECONDS)  # the download tries six times
        return Path(fetch())
    except Exception as error:  # no network, no space, a proxy, offline mode: every layer has its own errors
        raise InvalidSetting(_why_not_downloaded(error)) from error


def published() -> list[PublishedModel]:
    """The published figures in ``btzsc_published.yaml``."""
    body = read_yaml(_PUBLISHED, InvalidDataset)
    return [PublishedModel(name, one["kind"], one["parameters"], one["macro_f1"]) for name, one in body.items()]


def _files(folder: Path, name: str) -> list[Path]:
    whole = folder / f"{name}.parquet"
    return sorted((folder / name).glob(_FILES)) or [whole] * whole.is_file()


def _why_not_downloaded(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        why, remedy = "HF_HUB_OFFLINE is set, and the hub's cache does not have all of it", "set HF_HUB_OFFLINE=0"
    else:
        cause = error.__cause__ or error
        why = str(cause).strip().partition("\n")[0] or type(cause).__name__
        remedy = f"try again where {constants.ENDPOINT} can be reached"
    return (
        f"the data of BTZSC cannot be downloaded ({why}); {remedy}, or run `{_DOWNLOAD}` on another machine, copy the "
        "folder here, and give it with --local"
    )


def _pairs(files: Iterable[Path]) -> Iterator[HypothesisPair]:
    for file in files:
        table = open_table(file)
        table.require(*_COLUMNS)
        yield from map(HypothesisPair.of, table.rows())


def _grouped(pairs: Iterable[HypothesisPair]) -> Iterator[tuple[HypothesisPair, ...]]:
    """The rows of each text: the next text begins where the first hypothesis occurs again."""
    first: tuple[HypothesisPair, ...] | None = None
    rows: list[HypothesisPair] = []
    for pair in pairs:
        if rows and pair.hypothesis == rows[0].hypothesis:
            first = first or tuple(rows)
            yield _checked(rows, first)
            rows = []
        rows.append(pair)
    if rows:
        yield _checked(rows, first or tuple(rows))


def _checked(rows: Sequence[HypothesisPair], first: Sequence[HypothesisPair]) -> tuple[HypothesisPair, ...]:
    """The rows of a text; they must have one text, and the hypotheses of the first text in the same order."""
    other = next((pair for pair in rows if pair.text != rows[0].text), None)
    if other is not None:
        raise InvalidDataset(
            f"{other.where}: another text begins before the first hypothesis occurs again; a text needs one row per "
            "hypothesis, one after the other"
        )
    if [pair.hypothesis for pair in rows] != [pair.hypothesis for pair in first]:
        raise InvalidDataset(
            f"{rows[0].where}: the text does not have the {len(first)} hypotheses of the first text in the same order; "
            "the benchmark reads them by their places"
        )
    return tuple(rows)


def _examples(texts: Sequence[PairedText], labels: Sequence[str]) -> tuple[Example, ...]:
    """Equal texts are one group, which the bootstrap resamples as a unit; their ids are their numbers."""
    records = [
        Record(one.where, str(number), Text(one.text), (labels[one.true[0] if one.true else 0],))
        for number, one in enumerate(texts, 1)
    ]
    pairs = zip(records, groups(records), strict=True)
    return tuple(Example(one.id, one.text, tuple(one.labels), group, split="test") for one, group in pairs)


def _notes(name: str, texts: Sequence[PairedText]) -> Iterator[str]:
    none, several = sum(not one.true for one in texts), sum(len(one.true) > 1 for one in texts)
    if none:
        yield f"{name}: texts without a true hypothesis: {none:,} of {len(texts):,}; they count as the first label."
    if several:
        yield f"{name}: texts with several true hypotheses: {several:,} of {len(texts):,}; the first one counts."


def _shown(cell: Any) -> str:
    return "empty" if cell is None else f"{cell!r:.40}"


def _per_label(true: Labels, predicted: Labels) -> Numbers:
    return np.concatenate(confusion(true, predicted), axis=1)


def _mean_of_occurring(sums: Numbers) -> Numbers:
    tp, fp, fn = np.split(sums, 3, axis=-1)
    occurs = (tp + fp + fn > 0).sum(axis=-1).astype(float)
    return divide(f1(tp, fp, fn).sum(axis=-1), occurs)


# ``eval.metrics`` takes the mean over all labels of the taxonomy instead.
MACRO_F1 = Metric(_per_label, _mean_of_occurring)

BTZSC = PublicBenchmark(
    name="btzsc",
    title="BTZSC",
    groups=TASK_GROUPS,
    metric_name="macro-F1",
    metric_about=(
        "mean of the F1 of the labels that are true or predicted for some text of the data set (scikit-learn's "
        "f1_score with average='macro' and zero_division=0). A text without an answer is wrong."
    ),
    metric=MACRO_F1,
    read=read,
    download=download,
    published=published,
    rules=(
        "The labels are the benchmark's hypotheses, which all published models read too; nothing else describes them.",
        "The mean is over data sets, so that a task group of more data sets weighs more.",
        "A text without a true hypothesis counts as the first label, as in the package btzsc 0.1.2.",
        "The protocol is zero-shot: a system that was trained on a data set is not comparable on it.",
    ),
    source=(
        "Data: hub data set btzsc/btzsc, revision fef2a2a. Published figures: btzsc/_baselines/f1_scores.csv of the "
        "package btzsc 0.1.2 (MIT licence). Paper: Aarab, ICLR 2026, arXiv 2603.11991."
    ),
)
