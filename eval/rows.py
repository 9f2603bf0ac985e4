"""One row of ``rows.jsonl``: the outcome of one text, and the only parser and writer of such lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.datasets import Example
from llm.classifier import AnswerSource, Prediction, Problem, Usage
from prompts.errors import InvalidDataset

ROWS = "rows.jsonl"
# Temporary failures: a resumed run classifies these texts again. The others say something about the text or the model.
_RETRYABLE = frozenset(["busy", "unreachable"])
_DIGITS = 6


@dataclass(frozen=True)
class RunRow:
    """The outcome of one text; the text itself is not in it. Fields that older runs lack have defaults.

    Attributes:
        id: of the text.
        group: texts of one group depend on each other (the same film twice); the id where there is no group.
        truth: true labels.
        labels: predicted labels.
        scores: by label.
        complete: whether a label missing from ``truth`` is false; otherwise it is unknown.
        problem: why there is no prediction.
        dropped: output outside the taxonomy.
        cached: whether the prediction came from a cache.
        source: model, prompt, taxonomy and strategy of the prediction.
        usage: tokens.
        seconds: a latency where ``alone``; otherwise an even share of the batch's time.
        alone: whether the text was a batch of one.
        chars: length of body and title.
    """

    id: str
    group: str
    truth: tuple[str, ...]
    labels: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    complete: bool = True
    problem: Problem | None = None
    dropped: tuple[str, ...] = ()
    cached: bool = False
    source: AnswerSource = AnswerSource("", "")
    usage: Usage = Usage()
    seconds: float = 0.0
    alone: bool = False
    chars: int | None = None

    @classmethod
    def of(cls, example: Example, prediction: Prediction, seconds: float, alone: bool) -> RunRow:
        """The row of an example and its prediction."""
        return cls(
            example.id,
            example.group or example.id,
            tuple(example.labels),
            prediction.labels,
            {name: round(score, _DIGITS) for name, score in prediction.scores.items()},
            example.complete,
            prediction.problem,
            prediction.dropped,
            prediction.cached,
            prediction.source,
            prediction.usage,
            round(seconds, _DIGITS),
            alone,
            len(example.text.body) + len(example.text.title),
        )

    @property
    def retryable(self) -> bool:
        """Whether the text has no prediction for a temporary reason."""
        return self.problem is not None and self.problem.kind in _RETRYABLE

    def as_line(self) -> str:
        """The row as one line of JSON, with its line end."""
        source, usage, problem = self.source, self.usage, self.problem
        values = {
            "id": self.id,
            "group": self.group,
            "truth": self.truth,
            "complete": self.complete,
            "labels": self.labels,
            "scores": self.scores,
            "problem": problem and {"kind": problem.kind, "detail": problem.detail},
            "dropped": self.dropped,
            "cached": self.cached,
            "source": {
                "model": source.model,
                "prompt": source.prompt,
                "taxonomy": source.taxonomy,
                "strategy": source.strategy,
            },
            "tokens": [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens],
            "seconds": self.seconds,
            "alone": self.alone,
            "chars": self.chars,
        }
        return json.dumps(values, ensure_ascii=False) + "\n"


def read_rows(path: Path, content: bytes) -> Iterator[tuple[str, RunRow]]:
    """Parse the content of a ``rows.jsonl``; yields each row's place (``path:line``) and the row.

    Raises:
        InvalidDataset: a line is not a row; the message names file, line and field.
    """
    lines = content.split(b"\n")  # not splitlines: JSON strings may hold U+2028, a line end for Python
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        last = number == len(lines)
        if line or not last:
            yield where, _row(_object(line, where, last), where)


def _object(line: bytes, where: str, unfinished: bool) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    if unfinished:
        raise InvalidDataset(f"{where}: the line is cut off; run the same evaluation again to complete it")
    raise InvalidDataset(f"{where}: not a JSON object; restore the file, or run the evaluation into an empty folder")


def _row(found: Mapping[str, Any], where: str) -> RunRow:
    def value(key: str, fits: Callable[[Any], bool], *default: Any) -> Any:
        given = found.get(key, *default[:1])
        if default and (given is None or given == default[0]):
            return default[0]
        if key not in found or not fits(given):
            raise InvalidDataset(f"{where}: {key!r} is missing or not what a run writes")
        return given

    name = str(value("id", _is_name))
    problem, source = value("problem", _is_problem, None), value("source", _is_source, {})
    return RunRow(
        name,
        str(value("group", _is_name, name)),
        tuple(value("truth", _are_names)),
        tuple(value("labels", _are_names)),
        value("scores", _are_scores, {}),
        value("complete", _is_bool, True),
        Problem(problem["kind"], problem.get("detail") or "") if problem else None,
        tuple(value("dropped", _are_names, [])),
        value("cached", _is_bool, False),
        AnswerSource(
            source.get("model") or "", source.get("taxonomy") or "", source.get("prompt"), source.get("strategy")
        ),
        Usage(*value("tokens", _are_tokens, [0, 0, 0])),
        float(value("seconds", _is_number, 0.0)),
        value("alone", _is_bool, False),
        value("chars", _is_number, None),
    )


def _is_name(found: Any) -> bool:
    return isinstance(found, str | int)


def _is_bool(found: Any) -> bool:
    return isinstance(found, bool)


def _is_number(found: Any) -> bool:
    # NaN is not equal to itself; as a score it would be read as a missing one.
    return isinstance(found, int | float) and found == found


def _are_names(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(name, str) for name in found)


def _are_scores(found: Any) -> bool:
    return isinstance(found, dict) and all(map(_is_number, found.values()))


def _are_tokens(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 3 and all(map(_is_number, found))


def _is_problem(found: Any) -> bool:
    return isinstance(found, dict) and isinstance(found.get("kind"), str)


def _is_source(found: Any) -> bool:
    return isinstance(found, dict) and all(one is None or isinstance(one, str) for one in found.values())
