"""From a path to examples: rows are read, put on their sides, labelled from a taxonomy, grouped and chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.datasets.example import Example, LoadedDataset
from eval.datasets.fields import Fields
from eval.datasets.grouping import film, groups
from eval.datasets.label_filter import without_rare
from eval.datasets.record import Record
from eval.datasets.registry import records
from eval.datasets.split_file import BARRED, digest_of, read_frozen
from prompts.errors import InvalidDataset
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import TableDialect
from tabular.cells import separated

OF_THE_TEST_HALF = "of a film that the test half has"
NO_TEXT = "without a text"
NO_LABEL = "without a label that may be answered"


def load(
    path: Path,
    taxonomy: Taxonomy,
    fields: Fields = Fields(),
    split: str | None = None,
    *,
    format: str | None = None,
    split_file: Path | None = None,
    min_label_count: int = 0,
    drop_unknown: bool = False,
) -> LoadedDataset:
    """Read examples from a file or folder of any known format.

    Args:
        path: the file or folder.
        taxonomy: the taxonomy; every label of the data must be known to it.
        fields: names of the columns.
        split: keep the rows of this split only.
        format: a name in ``FORMATS``; by default the first that fits.
        split_file: frozen split of this very data, in place of its own.
        min_label_count: labels that fewer training examples have are kept out of prediction.
        drop_unknown: leave labels that the taxonomy does not know out, and count them, instead of refusing them.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such file, a line that cannot be read, a missing column, an unknown label, a frozen split
            of other data, or nothing left.
    """
    found = records(path, fields, format)
    rows = read_frozen(split_file).applied(found.rows) if split_file else found.rows
    changed = Counter(found.changed)
    everything = labelled(rows, taxonomy, drop_unknown, changed)
    rare = without_rare(everything, taxonomy, min_label_count)
    wanted = [example for example in rare.examples if split is None or example.split == split]
    kept = tuple(example for example in wanted if not _missing(example))
    if not kept:
        raise InvalidDataset(_nothing(path, split, rows))
    left_out = found.left_out + Counter(filter(None, map(_missing, wanted)))
    return LoadedDataset(kept, rare.taxonomy, left_out, changed, rare.kept, rare.dropped, digest_of(rows))


def texts_of(
    path: Path, field: str | None = None, limit: int | None = None, format: str | None = None,
    title: str | None = None, dialect: TableDialect = TableDialect(),
) -> list[Text]:  # fmt: skip
    """The first texts alone of a file or folder, whether they are labelled or not.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such file, a line that cannot be read, or a missing column.
    """
    fields = Fields(text=field, labels="", title=title, dialect=dialect)
    return [row.text for row in records(path, fields, format).rows[:limit]]


def pool(
    path: Path, taxonomy: Taxonomy, fields: Fields, *, format: str | None = None, drop_unknown: bool = False
) -> LoadedDataset:
    """Every row with a text as an example, whether it has labels or not; one without counts as one of unknown labels.

    Args:
        path: the file or folder.
        taxonomy: the taxonomy.
        fields: names of the columns; with empty ``labels`` nobody's labels are read.
        format: a name in ``FORMATS``; by default the first that fits.
        drop_unknown: leave labels that the taxonomy does not know out, and count them, instead of refusing them.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such file, a line that cannot be read, a missing column, an unknown label, or no text at all.
    """
    found = records(path, fields, format)
    changed = Counter(found.changed)
    everything = labelled(found.rows, taxonomy, drop_unknown, changed)
    kept = tuple(replace(one, complete=one.complete and bool(one.labels)) for one in everything if not one.text.empty)
    if not kept:
        raise InvalidDataset(f"{path.name} holds no text")
    left_out = found.left_out + Counter({NO_TEXT: len(everything) - len(kept)})
    return LoadedDataset(kept, taxonomy, left_out, changed, digest=digest_of(found.rows))


def labelled(rows: Sequence[Record], taxonomy: Taxonomy, drop_unknown: bool, changed: Counter[str]) -> list[Example]:
    """Every row as an example, those without a text or a label too; what was dropped is added to ``changed``.

    Raises:
        InvalidDataset: a label that the taxonomy does not know.
    """
    return [
        Example(
            row.id, row.text, _labels(row, taxonomy, drop_unknown, changed), group, row.complete, row.truncated,
            row.extra, row.split, film(row.title, row.year),
        )
        for row, group in zip(rows, groups(rows), strict=True)
    ]  # fmt: skip


def _labels(row: Record, taxonomy: Taxonomy, drop_unknown: bool, changed: Counter[str]) -> tuple[str, ...]:
    known = []
    for spelling in separated(row.labels, taxonomy.known):
        name = taxonomy.known(spelling)
        if name is None and not drop_unknown:
            raise InvalidDataset(
                f"{row.where}: label {spelling!r} is not in taxonomy {taxonomy.name!r}; "
                "choose another taxonomy, or leave such labels out with --unknown-labels drop"
            )
        if name is None:
            changed[f"the unknown label {spelling!r} dropped"] += 1
        else:
            known.append(name)
    return taxonomy.in_order(known)


def _missing(example: Example) -> str | None:
    """Why an example is none."""
    if example.split == BARRED:
        return OF_THE_TEST_HALF
    if example.text.empty:
        return NO_TEXT
    return None if example.labels else NO_LABEL


def _nothing(path: Path, split: str | None, rows: Sequence[Record]) -> str:
    if split is None:
        return f"{path.name} holds no labelled example"
    sides = ", ".join(sorted({row.split for row in rows if row.split}))
    mend = f"its splits: {sides}" if sides else "it has no splits; make them with `main.py split` and give --split-file"
    return f"{path.name} holds no labelled example with split {split!r}; {mend}"
