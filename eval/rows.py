"""The rows of a run: one JSON line per text in ``rows.jsonl``, written batch by batch so that a run is resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, TypeAdapter, ValidationError

from eval.datasets import Example
from llm.classifier import MOST_EXPLAINED, AnswerSource, Prediction, Problem, Usage
from prompts.errors import InvalidDataset
from prompts.files import replacing

ROWS = "rows.jsonl"
# A resumed run classifies texts with these temporary failures again.
_RETRYABLE = frozenset(["busy", "unreachable"])
_DIGITS = 6


def _number(value: float) -> float:
    if value != value:  # NaN means a missing score in ``RunResults.scores``
        raise ValueError
    return value


def _problem(value: Any) -> Any:
    """A problem of any kind: earlier versions wrote kinds that are not in ``ProblemKind``."""
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        return Problem(value["kind"], value.get("detail") or "")
    return value


def _usage(value: Any) -> Any:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens")
    return dict(zip(names, value, strict=True)) if isinstance(value, list) else value


Number = Annotated[float, Field(strict=True), AfterValidator(_number)]


@dataclass(frozen=True)
class RunRow:
    """The outcome of one text, without the text itself. Fields that older runs lack have defaults.

    Attributes:
        group: texts of one group depend on each other (the same film twice); the id where there is no group.
        truth: true labels; ``labels`` are the predicted ones.
        complete: whether a label missing from ``truth`` is false; otherwise it is unknown.
        dropped: output outside the taxonomy.
        seconds: a latency where ``alone``; otherwise an even share of the batch's time.
        alone: whether the text was a batch of one.
        chars: length of body and title.
        explained: the kinds of evidence for each of the first five labels, or why there is none; None where no evidence
            was requested.
    """

    id: str
    group: str
    truth: tuple[str, ...]
    labels: tuple[str, ...]
    scores: Mapping[str, Number] = field(default_factory=dict)
    complete: StrictBool = True
    problem: Annotated[Problem | None, BeforeValidator(_problem)] = None
    dropped: tuple[str, ...] = ()
    cached: StrictBool = False
    source: AnswerSource = AnswerSource("", "")
    usage: Annotated[Usage, Field(validation_alias="tokens"), BeforeValidator(_usage)] = Usage()
    seconds: Number = 0.0
    alone: StrictBool = False
    chars: int | None = None
    explained: Mapping[str, str] | None = None

    @classmethod
    def of(
        cls, example: Example, prediction: Prediction, seconds: float, alone: bool, labels: Container[str]
    ) -> RunRow:
        """The row of an example and its prediction; only the scores of ``labels`` are kept."""
        return cls(
            example.id,
            example.group or example.id,
            tuple(example.labels),
            prediction.labels,
            {name: round(score, _DIGITS) for name, score in prediction.scores.items() if name in labels},
            example.complete,
            prediction.problem,
            prediction.dropped,
            prediction.cached,
            prediction.source,
            prediction.usage,
            round(seconds, _DIGITS),
            alone,
            len(example.text.body) + len(example.text.title),
            _explained(prediction),
        )

    @property
    def retryable(self) -> bool:
        """Whether the text has no prediction for a temporary reason."""
        return self.problem is not None and self.problem.kind in _RETRYABLE

    def as_line(self) -> str:
        """The row as one line of JSON, with its line end."""
        problem = self.problem and {"kind": self.problem.kind, "detail": self.problem.detail}
        tokens = [self.usage.prompt_tokens, self.usage.cached_tokens, self.usage.completion_tokens]
        values = vars(self) | {"problem": problem, "source": vars(self.source), "tokens": tokens}
        del values["usage"]
        if self.explained is None:
            del values["explained"]
        return json.dumps(values, ensure_ascii=False) + "\n"


def _explained(prediction: Prediction) -> Mapping[str, str] | None:
    if prediction.evidence is None:
        return None
    labels, kinds = prediction.labels[:MOST_EXPLAINED], dict[str, dict[str, None]]()
    for one in prediction.evidence:
        kinds.setdefault(one.label, {})[one.kind] = None
    return {name: ", ".join(kinds.get(name, ())) or prediction.unexplained.get(name, "") for name in labels}


_PARSER = TypeAdapter(RunRow)


class RunLog:
    """The ``rows.jsonl`` of a run that is being written; the file need not exist."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ROWS

    def read(self) -> list[RunRow]:
        """The complete rows, to resume from; raises ``InvalidDataset`` if a line but the last is not a row."""
        return [row for _, row in read_rows(self.path, self._lines()[0])]

    @property
    def torn(self) -> bool:
        """Whether the last line has no end."""
        return bool(self._lines()[1])

    def append(self, rows: Iterable[RunRow]) -> None:
        """Add rows; they are on the disk when this returns."""
        with self.path.open("ab") as out:
            _write(out, rows)

    def replace(self, rows: Iterable[RunRow]) -> None:
        """Replace all rows atomically."""
        with replacing(self.path) as new, new.open("wb") as out:
            _write(out, rows)

    def _lines(self) -> tuple[bytes, bytes]:
        """The complete lines, and the beginning of an unfinished one."""
        content = self.path.read_bytes() if self.path.exists() else b""
        end = content.rfind(b"\n") + 1
        return content[:end], content[end:]


def read_rows(path: Path, content: bytes) -> Iterator[tuple[str, RunRow]]:
    """Parse the content of a ``rows.jsonl``; yields each row's place (``path:line``) and the row.

    Raises:
        InvalidDataset: a line is not a row; names the file, the line and the field.
    """
    lines = content.split(b"\n")  # not splitlines: JSON strings may hold U+2028, a line end for Python
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        unfinished = number == len(lines)
        if line or not unfinished:
            yield where, _row(_object(line, where, unfinished), where)


def _object(line: bytes, where: str, unfinished: bool) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    if unfinished:
        raise InvalidDataset(f"{where}: the line is cut off; run the same evaluation again to complete it")
    raise InvalidDataset(f"{where}: not a JSON object; restore the file, or run the evaluation into an empty folder")


def _row(line: Mapping[str, Any], where: str) -> RunRow:
    values = {"group": line.get("id")} | {name: value for name, value in line.items() if value is not None}
    for name in ("id", "group"):
        values |= {name: str(values[name])} if isinstance(values.get(name), int) else {}
    try:
        return _PARSER.validate_python(values)
    except ValidationError as error:
        (field_name, *_) = error.errors()[0]["loc"]
        raise InvalidDataset(f"{where}: {field_name!r} is missing or has an unexpected value") from None


def _write(out: BinaryIO, rows: Iterable[RunRow]) -> None:
    out.write("".join(row.as_line() for row in rows).encode())
    out.flush()
    os.fsync(out.fileno())
