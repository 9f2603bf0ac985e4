"""The rows of a run: one JSON line per text, on the disk as soon as it is known, read back after whatever happened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.datasets import Example
from llm.classifier import Prediction
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import locked, replacing

Row = Mapping[str, Any]

ROWS = "rows.jsonl"
# Failures of the moment: asked again when the run goes on. The others say something about the text or the model.
_RETRYABLE = frozenset(["busy", "unreachable"])
_DIGITS = 6


def row_of(example: Example, prediction: Prediction, seconds: float, alone: bool) -> Row:
    """One text's outcome as JSON takes it; the text itself is not in it.

    Args:
        example: what was asked about, and what is true of it.
        prediction: what was answered.
        seconds: of the call, where the text was asked about alone; else its even share of the batch's call.
        alone: whether the text was asked about alone, so that ``seconds`` is a latency.
    """
    source, usage, problem = prediction.source, prediction.usage, prediction.problem
    return {
        "id": example.id,
        "group": example.group or example.id,  # by itself where nothing belongs to it
        "truth": list(example.labels),
        "complete": example.complete,
        "labels": list(prediction.labels),
        "scores": {name: round(score, _DIGITS) for name, score in prediction.scores.items()},
        "problem": problem and {"kind": problem.kind, "detail": problem.detail},
        "dropped": list(prediction.dropped),
        "cached": prediction.cached,
        "source": {
            "model": source.model,
            "prompt": source.prompt,
            "taxonomy": source.taxonomy,
            "reading": source.reading,
        },
        "tokens": [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens],
        "seconds": round(seconds, _DIGITS),
        "alone": alone,
        "chars": len(example.text.body) + len(example.text.title),
    }


def retryable(row: Row) -> bool:
    """Whether the text got no answer for a reason that passes."""
    return row["problem"] is not None and row["problem"]["kind"] in _RETRYABLE


class Journal:
    """The file of rows: appended to batch by batch, each on the disk before the next is asked for.

    Args:
        folder: of the run; the file is ``rows.jsonl`` in it and need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ROWS

    def read(self) -> list[Row]:
        """The whole rows; a last line that the end of the process tore is left out.

        Raises:
            InvalidDataset: another line is not a row.
        """
        rows = []
        for number, line in enumerate(self._whole().splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InvalidDataset(f"{self.path}, line {number}, is no row of a run: {error}") from None
        return rows

    @property
    def torn(self) -> bool:
        """Whether the last line has no end."""
        return len(self._whole()) < len(self._bytes())

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows; they are on the disk when this returns."""
        with self.path.open("ab") as out:
            _write(out, rows)

    def replace(self, rows: Iterable[Row]) -> None:
        """Replace all rows by these; a reader finds the old file or the new one."""
        with replacing(self.path) as new, new.open("wb") as out:
            _write(out, rows)

    def _bytes(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _whole(self) -> bytes:
        held = self._bytes()
        return held[: held.rfind(b"\n") + 1]


def finished(folder: Path) -> list[Row]:
    """The rows of a run that is not under way.

    Raises:
        InvalidDataset: there are none, or a line is no row.
    """
    journal = Journal(folder)
    rows = journal.read()
    if journal.torn:
        raise InvalidDataset(
            f"{journal.path}: the last line was cut off; run the same evaluation again, which mends it"
        )
    if not rows:
        raise InvalidDataset(f"{folder} holds no rows of a run ({ROWS}); make one with `main.py evaluate`")
    return rows


def run_folders(folder: Path) -> Sequence[Path]:
    """The folders of single systems: the folder itself where it holds rows, else those in it that do.

    Raises:
        InvalidDataset: there is none.
    """
    if (folder / ROWS).exists():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{ROWS}"))
    if not found:
        raise InvalidDataset(f"{folder} holds no run: neither it nor a folder in it has a {ROWS}")
    return found


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run's folder to this process; the hold ends with the process, however that ends.

    Raises:
        InvalidSetting: another process holds it.
    """
    busy = InvalidSetting(f"another evaluation is writing to {folder}; wait for it, or give another --out")
    with locked(folder / ".lock", timeout=0, busy=busy):
        yield


def _write(out: Any, rows: Iterable[Row]) -> None:
    out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    out.flush()
    os.fsync(out.fileno())
