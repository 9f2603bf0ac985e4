"""Read a finished evaluation run: its manifest, its rows, and the arrays that metrics and statistics need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.manifest import MANIFEST, Manifest, read_manifest
from eval.metrics.classification import Labels, Numbers, named_indicator
from eval.rows import ROWS, RunRow, read_rows
from prompts.errors import InvalidDataset


@dataclass(frozen=True)
class RunResults:
    """The results of one run. Arrays are computed at first use; each has a row per text, in the order of ``rows``.

    Attributes:
        folder: where it was read from.
        manifest: how the run was made.
        labels: names that may be predicted, in taxonomy order: the columns.
        rows: the outcome of each text.
    """

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]
    rows: tuple[RunRow, ...]

    @classmethod
    def read(cls, folder: Path) -> RunResults:
        """Read ``manifest.json`` and ``rows.jsonl`` of a run, each once.

        Args:
            folder: of the run, or of an evaluation of one system, which contains its run; a file in it, such as its
                ``metrics.json``, names it too.

        Raises:
            InvalidDataset: no run is there, a line or the manifest is damaged, an id occurs twice, or a label is not
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
                f"{path} holds no rows; run the same evaluation again, with at least one text, or remove the folder"
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
        """Texts of one group depend on each other and are resampled together."""
        return tuple(row.group for row in self.rows)

    @cached_property
    def true(self) -> Labels:
        """True labels, shape (texts, labels)."""
        return named_indicator([row.truth for row in self.rows], self.labels)

    @cached_property
    def predicted(self) -> Labels:
        """Predicted labels, shape (texts, labels); a text with a problem counts as one without labels."""
        return named_indicator([row.labels for row in self.rows], self.labels)

    @cached_property
    def scores(self) -> Numbers:
        """Scores, shape (texts, labels); NaN where a label has none."""
        found = [[row.scores.get(label, np.nan) for label in self.labels] for row in self.rows]
        return np.array(found, dtype=float).reshape(len(self), len(self.labels))

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Whether all true labels of a text are known, shape (texts,)."""
        return np.array([row.complete for row in self.rows], dtype=bool)

    @cached_property
    def problems(self) -> NDArray[np.bool_]:
        """Whether a text has a problem instead of a prediction, shape (texts,)."""
        return np.array([row.problem is not None for row in self.rows], dtype=bool)

    @property
    def scored(self) -> bool:
        """Whether every label of every text has a score."""
        return not np.isnan(self.scores).any()

    @property
    def probable(self) -> bool:
        """Whether every label of every text has a score from 0 to 1."""
        return self.scored and bool(((self.scores >= 0) & (self.scores <= 1)).all())

    def take(self, places: Iterable[int]) -> RunResults:
        """The results of some of the texts, in the order given."""
        return replace(self, rows=tuple(self.rows[place] for place in places))

    def with_labels(self, labels: Sequence[str]) -> RunResults:
        """The results with the same labels in another order."""
        return replace(self, labels=tuple(labels))

    def known(self) -> RunResults:
        """The results of the texts whose true labels are all known; elsewhere a missing label may be true.

        Raises:
            InvalidDataset: no text has all of its labels known.
        """
        if not self.complete.any():
            raise InvalidDataset(
                f"no text of {self.folder} has all of its true labels known (complete is false everywhere), so nothing "
                "can be measured; choose a split whose labels are complete"
            )
        return self.take(np.flatnonzero(self.complete).tolist())


def run_folders(folder: Path) -> list[Path]:
    """The folders of single runs: the folder itself where it has rows, else those in it that do.

    Raises:
        InvalidDataset: there is none.
    """
    found = _runs_in(folder)
    if not found:
        raise InvalidDataset(
            f"{folder} holds no run: neither it nor a folder in it has a {ROWS}; "
            f"run `main.py evaluate --out {folder}` first"
        )
    return found


def _runs_in(folder: Path) -> list[Path]:
    return [folder] if (folder / ROWS).exists() else sorted(path.parent for path in folder.glob(f"*/{ROWS}"))


def _only_run(named: Path) -> Path:
    folder = named.parent if named.is_file() else named
    found = _runs_in(folder)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise InvalidDataset(f"{folder} holds several runs ({names}); give the folder of one of them")
    return found[0] if found else folder


def _labels(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    taxonomy = manifest.get("taxonomy")
    names = taxonomy.get("labels") if isinstance(taxonomy, dict) else None
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not names or not listed or len(set(names)) < len(names):
        raise InvalidDataset(f"{folder / MANIFEST}: 'taxonomy.labels' must list the taxonomy's labels, each once")
    return tuple(names)


def _checked(rows: Iterable[tuple[str, RunRow]], labels: frozenset[str]) -> Iterable[RunRow]:
    """The rows, each checked for what a single line cannot show."""
    seen: set[str] = set()
    for where, row in rows:
        strange = [label for label in (*row.truth, *row.labels, *row.scores) if label not in labels]
        if strange:
            raise InvalidDataset(
                f"{where}: label {strange[0]!r} is not in the taxonomy of {MANIFEST}; the rows and the manifest "
                "belong to different runs: evaluate into an empty folder"
            )
        if row.id in seen:
            raise InvalidDataset(f"{where}: the id {row.id!r} occurs a second time; ids must be unique within a run")
        seen.add(row.id)
        yield row
