"""Reads a run's folder back into arrays, as metrics and statistics want them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.metrics import Labels, Numbers, named_indicator
from prompts.errors import InvalidDataset


@dataclass(frozen=True)
class Run:
    """A run's outcome; every array has a row per text, in the order of ``rows.jsonl``.

    Attributes:
        folder: where it was read from.
        labels: names that may be answered, in vocabulary order: the columns.
        ids: of the texts.
        groups: texts of one group depend on each other (the same film twice) and are drawn together; the id itself
            where a row names no group.
        true: shape (texts, labels).
        predicted: shape (texts, labels); a text with a problem counts as one without labels.
        scores: shape (texts, labels), NaN where a label has none.
        complete: whether all true labels of a text are known, shape (texts,).
        problems: whether a text could not be answered, shape (texts,).
        manifest: how the run was made.
    """

    folder: Path
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    true: Labels
    predicted: Labels
    scores: Numbers
    complete: NDArray[np.bool_]
    problems: NDArray[np.bool_]
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def system(self) -> str:
        """Who answered, as the manifest names it, or the folder's name."""
        return str(self.manifest.get("system") or self.folder.name)

    @property
    def scored(self) -> bool:
        """Whether every label of every text has a score."""
        return not np.isnan(self.scores).any()

    @property
    def probable(self) -> bool:
        """Whether every label of every text has a score that could be a probability."""
        return self.scored and bool(((self.scores >= 0) & (self.scores <= 1)).all())

    def rows(self, places: Sequence[int]) -> Run:
        """The run over some of its texts, in the order given."""
        at = np.asarray(places, dtype=int)
        return replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            groups=tuple(self.groups[place] for place in places),
            true=self.true[at],
            predicted=self.predicted[at],
            scores=self.scores[at],
            complete=self.complete[at],
            problems=self.problems[at],
        )

    def columns(self, labels: Sequence[str]) -> Run:
        """The run with its labels in another order."""
        at = [self.labels.index(label) for label in labels]
        return replace(
            self,
            labels=tuple(labels),
            true=self.true[:, at],
            predicted=self.predicted[:, at],
            scores=self.scores[:, at],
        )

    def known(self) -> Run:
        """The run over the texts whose true labels are all known: what is missing elsewhere is unknown, not false.

        Raises:
            InvalidDataset: no text has all of its labels known.
        """
        if not self.complete.any():
            raise InvalidDataset(
                f"no text of {self.folder} has all of its true labels known (complete is false everywhere), so nothing "
                "can be measured; choose a split whose labels are complete"
            )
        return self.rows(np.flatnonzero(self.complete).tolist())


def read_run(folder: Path) -> Run:
    """Read ``rows.jsonl`` and ``manifest.json`` of a run.

    Args:
        folder: of the run, or of an evaluation of one system, which holds its run; a file in it, such as its
            ``metrics.json``, names it too.

    Raises:
        InvalidDataset: no run is there, a line or the manifest is broken, an id stands twice, or a label is none of
            the vocabulary.
    """
    folder = _folder(folder)
    manifest = _manifest(folder / "manifest.json")
    labels = _labels(manifest, folder)
    path = folder / "rows.jsonl"
    found = [_Row.read(row, f"{path}, line {line}", labels) for line, row in enumerate(_lines(path), 1)]
    if not found:
        raise InvalidDataset(f"{path} holds no row; the run had no text or was stopped before its first answer")
    _distinct([row.id for row in found], path)
    return Run(
        folder,
        labels,
        tuple(row.id for row in found),
        tuple(row.group for row in found),
        named_indicator([row.truth for row in found], labels),
        named_indicator([row.labels for row in found], labels),
        np.array([[row.scores.get(label, np.nan) for label in labels] for row in found], dtype=float),
        np.array([row.complete for row in found], dtype=bool),
        np.array([row.problem for row in found], dtype=bool),
        manifest,
    )


@dataclass(frozen=True)
class _Row:
    id: str
    group: str
    truth: Sequence[str]
    labels: Sequence[str]
    scores: Mapping[str, float]
    complete: bool
    problem: bool

    @classmethod
    def read(cls, row: Mapping[str, Any], where: str, labels: Sequence[str]) -> _Row:
        name = str(_field(row, "id", lambda found: isinstance(found, str | int), where))
        truth, answered = (_field(row, key, _are_names, where) for key in ("truth", "labels"))
        scores = _field({"scores": row.get("scores") or {}}, "scores", _are_scores, where)
        strange = [label for label in (*truth, *answered, *scores) if label not in labels]
        if strange:
            raise InvalidDataset(
                f"{where}: label {strange[0]!r} is none of the vocabulary in manifest.json; the rows and the manifest "
                "belong to different runs: evaluate anew into an empty folder"
            )
        group = row.get("group")
        complete = row.get("complete", True)
        return cls(
            name,
            name if group is None else str(group),
            truth,
            answered,
            scores,
            bool(complete),
            bool(row.get("problem")),
        )


def _folder(named: Path) -> Path:
    folder = named.parent if named.is_file() else named
    inside = [] if (folder / "rows.jsonl").exists() else sorted(path.parent for path in folder.glob("*/rows.jsonl"))
    if len(inside) > 1:
        names = ", ".join(one.name for one in inside)
        raise InvalidDataset(f"{folder} holds several runs ({names}); give the folder of one of them")
    return inside[0] if inside else folder


def _manifest(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidDataset(
            f"cannot read {path}: {error.strerror or error}; give the folder of a run, as main.py evaluate writes it"
        ) from None
    except ValueError as error:
        raise InvalidDataset(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidDataset(f"{path} holds no JSON object")
    return found


def _labels(manifest: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    taxonomy = manifest.get("taxonomy")
    names = taxonomy.get("labels") if isinstance(taxonomy, dict) else None
    if not names or not _are_names(names) or len(set(names)) < len(names):
        raise InvalidDataset(
            f"{folder / 'manifest.json'} does not list the vocabulary's labels, each once, under taxonomy"
        )
    return tuple(names)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            return [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    except OSError as error:
        raise InvalidDataset(f"cannot read {path}: {error.strerror or error}; is this the folder of a run?") from None


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InvalidDataset(f"{where} is no JSON object; the run was cut off there: run the same evaluation again")
    return row


def _field(row: Mapping[str, Any], key: str, fits: Callable[[Any], bool], where: str) -> Any:
    if key not in row or not fits(row[key]):
        raise InvalidDataset(f"{where}: {key!r} is missing or not what a run writes")
    return row[key]


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def _are_scores(found: Any) -> bool:
    # NaN is not equal to itself; as a score it would pass for none at all.
    return isinstance(found, dict) and all(isinstance(one, int | float) and one == one for one in found.values())


def _distinct(ids: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InvalidDataset(f"{path}: the id {name!r} stands twice; ids must be unique within a run")
        seen.add(name)
