"""From a path to examples: rows are read, assigned to splits, labelled from a taxonomy, grouped and filtered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from eval.datasets.example import Example, Fields, LoadedDataset, Record, sample, without_rare_labels
from eval.datasets.registry import records
from eval.datasets.split import EXCLUDED, SplitFile, assign, digest_of, film, groups
from prompts.errors import InvalidDataset
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import TableDialect
from tabular.cells import split_labels

NO_TEXT = "without a text"
_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}  # as in ``main.py split``


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
    unlabelled: bool = False,
) -> LoadedDataset:
    """Read examples from a file or folder of any known format.

    ``split`` keeps the rows of one split only, and ``split_file`` is a stored split that replaces those of the data.
    ``format`` is a name in ``FORMATS``, by default the first that matches. Labels with fewer training examples than
    ``min_label_count`` are not predictable; ``drop_unknown`` drops and counts labels that the taxonomy does not know.
    With ``unlabelled``, a text without labels is an example of "none of these labels"; otherwise it is left out.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such file, a line that cannot be read, a missing column, an unknown label, a stored split
            of other data, or no example.
    """
    found = records(path, fields, format)
    rows = SplitFile.read(split_file).applied(found.rows) if split_file else found.rows
    changed = Counter(found.changed)
    everything = LoadedDataset(_examples(rows, taxonomy, drop_unknown, changed), taxonomy, digest=digest_of(rows))
    dataset = without_rare_labels(everything, min_label_count)
    selected = [example for example in dataset.examples if split is None or example.split == split]
    reasons = [_skip_reason(example, unlabelled) for example in selected]
    kept = tuple(example for example, reason in zip(selected, reasons, strict=True) if not reason)
    if not kept:
        raise InvalidDataset(_no_example(path, split, rows))
    return replace(dataset, examples=kept, skipped=found.skipped + Counter(filter(None, reasons)), changed=changed)


def texts_of(
    path: Path,
    field: str | None = None,
    limit: int | None = None,
    format: str | None = None,
    title: str | None = None,
    dialect: TableDialect = TableDialect(),
) -> list[Text]:
    """The first texts of a file or folder, labelled or not.

    Raises:
        UnknownName: no such format.
        InvalidDataset: no such file, a line that cannot be read, or a missing column.
    """
    fields = Fields(text=field, labels="", title=title, dialect=dialect)
    return [row.text for row in records(path, fields, format).rows[:limit]]


def texts_to_learn(
    path: Path, field: str | None, limit: int, without: Sequence[Text] = (), dialect: TableDialect = TableDialect()
) -> list[Text]:
    """At most ``limit`` texts, whatever their labels: always the same ones, each once, and none of a split ``test``.

    Args:
        path: file or folder.
        field: column of the text; None: that of the format.
        limit: largest number.
        without: texts that are left out, since they are checked with.
        dialect: of a text file.

    Raises:
        InvalidDataset: no such file, a line that cannot be read, or a missing column.
    """
    rows = records(path, Fields(text=field, labels="", dialect=dialect)).rows
    left_out = set(without)
    usable = [row for row in rows if row.split != "test" and not row.text.empty and row.text not in left_out]
    return list(dict.fromkeys(row.text for row in sample(usable, None)))[:limit]


def pool(
    path: Path, taxonomy: Taxonomy, fields: Fields, *, format: str | None = None, drop_unknown: bool = False
) -> LoadedDataset:
    """Every row with a text as an example; the labels of a row without labels count as unknown.

    Arguments and errors are those of ``load``.
    """
    found = records(path, fields, format)
    changed = Counter(found.changed)
    everything = _examples(found.rows, taxonomy, drop_unknown, changed)
    kept = tuple(replace(one, complete=one.complete and bool(one.labels)) for one in everything if not one.text.empty)
    if not kept:
        raise InvalidDataset(f"{path.name} has no text")
    skipped = found.skipped + Counter({NO_TEXT: len(everything) - len(kept)})
    return LoadedDataset(kept, taxonomy, skipped, changed, digest=digest_of(found.rows))


def divide(
    path: Path,
    taxonomy: Taxonomy,
    fields: Fields,
    shares: Mapping[str, float],
    seed: int,
    *,
    format: str | None = None,
    ignore_splits: bool = False,
    drop_unknown: bool = False,
) -> tuple[SplitFile, list[Example]]:
    """Split a data set; returns the split and all rows as examples with their splits.

    A test split of the data is kept (unless ``ignore_splits``), and train and validation share the rest in proportion.
    Other rows of its films get the split ``barred``, which is never used. Other arguments are those of ``load`` and of
    ``eval.datasets.split.assign``.

    Raises:
        InvalidDataset: the data cannot be read, or has complete splits.
        InvalidSetting: shares that are not above 0 or do not sum to 1.
    """
    rows = records(path, fields, format).rows
    examples = _examples(rows, taxonomy, drop_unknown, Counter())
    fixed = {} if ignore_splits else _test_split(path, examples)
    free = [example for example in examples if example.id not in fixed]
    rest = {name: share for name, share in shares.items() if name != "test"}
    free_shares = {name: share / sum(rest.values()) for name, share in rest.items()} if fixed else shares
    splits = fixed | assign(free, free_shares, seed)
    split_file = SplitFile.of(rows, splits, seed, shares, taxonomy.name)
    return split_file, [replace(example, split=splits[example.id]) for example in examples]


def _test_split(path: Path, examples: Sequence[Example]) -> dict[str, str]:
    """The split of the test rows of the data, and of other rows of their films, by id."""
    splits = {example.split for example in examples} - {""}
    if not splits:
        return {}
    if splits - {"train", "test"} or "test" not in splits:
        raise InvalidDataset(
            f"{path.name} has splits of its own ({', '.join(sorted(splits))}); use them, or give --ignore-splits"
        )
    tested = {example.group for example in examples if example.split == "test"}
    return {
        example.id: "test" if example.split == "test" else EXCLUDED for example in examples if example.group in tested
    }


def _examples(
    rows: Sequence[Record], taxonomy: Taxonomy, drop_unknown: bool, changed: Counter[str]
) -> tuple[Example, ...]:
    """Every row as an example, even without a text or a label; dropped labels are added to ``changed``."""
    return tuple(
        Example(
            id=row.id,
            text=row.text,
            labels=_labels(row, taxonomy, drop_unknown, changed),
            group=group,
            complete=row.complete,
            truncated=row.truncated,
            extra=row.extra,
            split=row.split,
            film=film(row.title, row.year),
        )
        for row, group in zip(rows, groups(rows), strict=True)
    )


def _labels(row: Record, taxonomy: Taxonomy, drop_unknown: bool, changed: Counter[str]) -> tuple[str, ...]:
    known = []
    for spelling in split_labels(row.labels, taxonomy.known):
        name = taxonomy.known(spelling)
        if name is None and not drop_unknown:
            close = get_close_matches(spelling, taxonomy.names, n=1)
            similar = f" (did you mean {close[0]!r}?)" if close else ""
            raise InvalidDataset(
                f"{row.where}: label {spelling!r} is not in taxonomy {taxonomy.name!r}{similar}; "
                "choose another taxonomy, or drop such labels with --unknown-labels drop"
            )
        if name is None:
            changed[f"the unknown label {spelling!r} dropped"] += 1
        elif isinstance(taxonomy, Hierarchy) and name in taxonomy.children and name not in taxonomy.names:
            changed[f"{name!r} dropped, which has labels below it; leaves_only: false in the taxonomy keeps it"] += 1
        else:
            known.append(name)
    return taxonomy.in_order(known)


def _skip_reason(example: Example, unlabelled: bool) -> str | None:
    if example.split == EXCLUDED:
        return "of a film in the test split"
    if example.text.empty:
        return NO_TEXT
    return None if example.labels or unlabelled else "without a predictable label"


def _no_example(path: Path, split: str | None, rows: Sequence[Record]) -> str:
    if split is None:
        return f"{path.name} has no labelled example"
    splits = ", ".join(sorted({row.split for row in rows if row.split}))
    fix = (
        f"its splits: {splits}" if splits else "it has no splits; make them with `main.py split` and give --split-file"
    )
    return f"{path.name} has no labelled example with split {split!r}; {fix}"


@dataclass(frozen=True)
class DataParts:
    """Labelled data in a file, whole or as train, validation and test."""

    path: Path
    fields: Fields
    taxonomy: Taxonomy
    min_label_count: int
    drop_unknown: bool
    split_file: Path | None = None
    is_divided: bool = False

    def divided(self, seed: int, split_file: Path) -> DataParts:
        """With the parts that the data has itself, or else with a split that is written to a file."""
        own = {row.split for row in records(self.path, self.fields).rows}
        if {*_SHARES} <= own:
            return replace(self, is_divided=True)
        frozen, rows = divide(self.path, self.taxonomy, self.fields, _SHARES, seed, drop_unknown=self.drop_unknown)
        if missing := {*_SHARES} - {row.split for row in rows if row.labels and not row.text.empty}:
            raise InvalidDataset(
                f"{len(rows)} rows are too few: the split into {', '.join(_SHARES)} leaves {min(missing)} without a "
                "labelled text; give more rows, or a column 'split' that names the part of each row"
            )
        frozen.write(split_file)
        return replace(self, split_file=split_file, is_divided=True)

    def load(self, part: str | None) -> LoadedDataset:
        """The examples of one part, or all of them."""
        return load(
            self.path, self.taxonomy, self.fields, part, split_file=self.split_file,
            min_label_count=self.min_label_count, drop_unknown=self.drop_unknown,
        )  # fmt: skip
