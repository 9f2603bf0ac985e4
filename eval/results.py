"""Finished evaluation runs: manifest, rows, the arrays that metrics need, and pairs of runs over the same texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.manifest import MANIFEST, Manifest, read_manifest
from eval.metrics import Labels, Numbers, indicator
from eval.rows import ROWS, RunRow, read_rows
from prompts.errors import InvalidDataset


@dataclass(frozen=True)
class RunResults:
    """The results of one run. Arrays are computed at first use; they have a row per text and a column per label."""

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]
    rows: tuple[RunRow, ...]

    @classmethod
    def read(cls, folder: Path) -> RunResults:
        """Read ``manifest.json`` and ``rows.jsonl`` of a run.

        ``folder`` may also be that of an evaluation of one system, or a file in it, such as ``metrics.json``.

        Raises:
            InvalidDataset: there is no run, a line or the manifest is damaged, an id occurs twice, or a label is not
                in the taxonomy.
        """
        folder = _only_run(folder)
        manifest, path = read_manifest(folder), folder / ROWS
        labels = _labels(manifest, folder)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidDataset(f"cannot read {path}: {error.strerror or error}; give the folder of a run") from None
        rows = tuple(_checked(read_rows(path, content), frozenset(labels)))
        if not rows:
            raise InvalidDataset(
                f"{path} has no rows; run the same evaluation again, with at least one text, or remove the folder"
            )
        return cls(folder, manifest, labels, rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def system(self) -> str:
        """The system that the manifest names, or the folder's name."""
        return str(self.manifest.get("system") or self.folder.name)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the texts."""
        return tuple(row.id for row in self.rows)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Groups of the texts: the unit of resampling."""
        return tuple(row.group for row in self.rows)

    @cached_property
    def true(self) -> Labels:
        """True labels, shape (texts, labels)."""
        return indicator([row.truth for row in self.rows], self.labels)

    @cached_property
    def predicted(self) -> Labels:
        """Predicted labels, shape (texts, labels); a text with a problem counts as one without labels."""
        return indicator([row.labels for row in self.rows], self.labels)

    @cached_property
    def scores(self) -> Numbers:
        """Scores, shape (texts, labels); NaN where a label has none."""
        values = [[row.scores.get(label, np.nan) for label in self.labels] for row in self.rows]
        return np.array(values, dtype=float).reshape(len(self), len(self.labels))

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Whether all true labels of a text are known, shape (texts,)."""
        return np.array([row.complete for row in self.rows], dtype=bool)

    @property
    def scored(self) -> bool:
        """Whether every label of every text has a score."""
        return not np.isnan(self.scores).any()

    @property
    def probable(self) -> bool:
        """Whether every label of every text has a score from 0 to 1."""
        return self.scored and bool(((self.scores >= 0) & (self.scores <= 1)).all())

    def take(self, places: Iterable[int]) -> RunResults:
        """The results of the texts at these places, in their order."""
        return replace(self, rows=tuple(self.rows[place] for place in places))

    def with_labels(self, labels: Sequence[str]) -> RunResults:
        """The results with the same labels in another order."""
        return replace(self, labels=tuple(labels))

    def known(self) -> RunResults:
        """The texts whose true labels are all known; raises ``InvalidDataset`` if there are none."""
        if not self.complete.any():
            raise InvalidDataset(
                f"no text of {self.folder} has all of its true labels known (complete is false everywhere), so nothing "
                "can be measured; choose a split whose labels are complete"
            )
        return self.take(np.flatnonzero(self.complete).tolist())


@dataclass(frozen=True)
class Pair:
    """Two runs with the same texts and labels in the same order, and all true labels known.

    ``notes`` say what a reader must know about the pairing, a sentence each.
    """

    a: RunResults
    b: RunResults
    notes: tuple[str, ...] = ()


def run_folders(folder: Path) -> list[Path]:
    """The folders of single runs: the folder itself where it has rows, else its subfolders that have.

    Raises:
        InvalidDataset: there is none.
    """
    folders = _runs_in(folder)
    if not folders:
        raise InvalidDataset(
            f"{folder} has no run: neither it nor a folder in it has a {ROWS}; "
            f"run `main.py evaluate --out {folder}` first"
        )
    return folders


def paired(a: RunResults, b: RunResults, common: bool = False) -> Pair:
    """Restrict two runs to the same texts and labels, in the order of ``a``; ``common`` drops texts of one run only.

    Raises:
        InvalidDataset: other taxonomies, other texts (without ``common``), other true labels or groups for a text,
            or no text with all of its true labels known.
    """
    if set(a.labels) != set(b.labels):
        raise InvalidDataset(
            f"the runs use different taxonomies: {_extra_labels(a, b)}; evaluate both with the same taxonomy"
        )
    place = {name: row for row, name in enumerate(b.ids)}
    shared = [row for row, name in enumerate(a.ids) if name in place]
    notes = [*_unshared(a, b, len(shared), common), *_pairing_notes(a, b)]
    first = a.take(shared)
    second = b.with_labels(a.labels).take([place[name] for name in first.ids])
    _check_same_truth(first, second)
    return _known(first, second, notes)


def _runs_in(folder: Path) -> list[Path]:
    return [folder] if (folder / ROWS).exists() else sorted(path.parent for path in folder.glob(f"*/{ROWS}"))


def _only_run(path: Path) -> Path:
    folder = path.parent if path.is_file() else path
    folders = _runs_in(folder)
    if len(folders) > 1:
        names = ", ".join(one.name for one in folders)
        raise InvalidDataset(f"{folder} has several runs ({names}); give the folder of one of them")
    return folders[0] if folders else folder


def _labels(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    taxonomy = manifest.get("taxonomy")
    names = taxonomy.get("labels") if isinstance(taxonomy, dict) else None
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not names or not are_names or len(set(names)) < len(names):
        raise InvalidDataset(f"{folder / MANIFEST}: 'taxonomy.labels' must list the taxonomy's labels, each once")
    return tuple(names)


def _checked(rows: Iterable[tuple[str, RunRow]], labels: frozenset[str]) -> Iterable[RunRow]:
    """The rows; ids must be unique and labels in the taxonomy."""
    seen: set[str] = set()
    for where, row in rows:
        unknown = [label for label in (*row.truth, *row.labels, *row.scores) if label not in labels]
        if unknown:
            raise InvalidDataset(
                f"{where}: label {unknown[0]!r} is not in the taxonomy of {MANIFEST}; the rows and the manifest "
                "belong to different runs: evaluate into an empty folder"
            )
        if row.id in seen:
            raise InvalidDataset(f"{where}: the id {row.id!r} occurs a second time; ids must be unique within a run")
        seen.add(row.id)
        yield row


def _known(a: RunResults, b: RunResults, notes: Sequence[str]) -> Pair:
    complete = a.complete & b.complete
    if not complete.any():
        raise InvalidDataset(
            f"no text has all of its true labels known in both {a.folder} and {b.folder}, so nothing can be measured; "
            "choose a split whose labels are complete"
        )
    first, second = (run.take(np.flatnonzero(complete).tolist()) for run in (a, b))
    excluded = int((~complete).sum())
    note = [f"excluded, because their true labels are not all known: {excluded}"] if excluded else []
    return Pair(first, second, (*notes, *note))


def _unshared(a: RunResults, b: RunResults, shared: int, common: bool) -> list[str]:
    if shared == len(a) == len(b):
        return []
    counts = f"texts in both runs: {shared}, only in A: {len(a) - shared}, only in B: {len(b) - shared}"
    if not shared:
        raise InvalidDataset(f"the runs have no text in common: {a.folder} and {b.folder} are over different data")
    if not common:
        raise InvalidDataset(f"{counts}; evaluate both over the same texts, or compare those in both with --common")
    return [f"{counts}; compared over those in both"]


def _pairing_notes(a: RunResults, b: RunResults) -> list[str]:
    """Differences between the runs that do not prevent a comparison."""
    expected = [(name, run, run.manifest.get("texts", len(run))) for name, run in (("A", a), ("B", b))]
    unfinished = [f"{name} has {len(run)} of its {texts} texts" for name, run, texts in expected if len(run) < texts]
    notes = {
        "data": "the data files differ, though ids and true labels agree: the texts themselves may not be the same",
        "taxonomy": "the taxonomies have the same labels but differ otherwise (descriptions, aliases, shape)",
    }
    return unfinished + [note for key, note in notes.items() if _digest(a, key) != _digest(b, key)]


def _digest(run: RunResults, key: str) -> Any:
    part = run.manifest.get(key)
    return part.get("digest") if isinstance(part, Mapping) else None


def _check_same_truth(a: RunResults, b: RunResults) -> None:
    for row, name in enumerate(a.ids):
        if (a.true[row] != b.true[row]).any():
            raise InvalidDataset(
                f"text {name!r} has other true labels in B than in A: the runs are over different data"
            )
        if a.groups[row] != b.groups[row]:
            raise InvalidDataset(
                f"text {name!r} is of group {a.groups[row]!r} in A and {b.groups[row]!r} in B; evaluate both over the "
                "same data"
            )


def _extra_labels(a: RunResults, b: RunResults) -> str:
    extra = [("A", sorted(set(a.labels) - set(b.labels))), ("B", sorted(set(b.labels) - set(a.labels)))]
    return "; ".join(f"only {name} has {', '.join(labels)}" for name, labels in extra if labels)
