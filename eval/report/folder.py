"""The folders of an evaluation, read back: one system a folder, each with rows, figures and a manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.flips import ORDER
from prompts.errors import InvalidDataset

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]
# How a text may be shown to a model, to find out what it knows by heart: a folder's name ends in one of these.
VARIANTS = ("title+plot", "plot", "masked", "title")


@dataclass(frozen=True)
class Answer:
    """One row of ``rows.jsonl``, as far as the report needs it.

    Attributes:
        complete: whether a label missing from ``truth`` is false; otherwise it is unknown.
        problem: kind of the problem, where there is one.
        tokens: of the prompt, of these cached, written.
        seconds: a latency only where ``alone``.
        chars: length of the text, where the row tells it.
    """

    id: str
    truth: tuple[str, ...]
    labels: tuple[str, ...]
    scores: Mapping[str, float]
    complete: bool = True
    problem: str | None = None
    model: str = ""
    prompt: str | None = None
    reading: str | None = None
    tokens: tuple[int, ...] = (0, 0, 0)
    seconds: float = 0.0
    alone: bool = False
    chars: int | None = None


@dataclass(frozen=True)
class System:
    """What one system answered, and the figures of it. Matrices have the shape (texts, labels).

    As in ``metrics.json``, only texts count whose true labels are all known; ``set_aside`` counts the others.
    """

    name: str
    metrics: Mapping[str, float]
    manifest: Mapping[str, Any]
    answers: tuple[Answer, ...]
    vocabulary: tuple[str, ...]
    order: Mapping[str, Any] | None = None
    set_aside: int = 0

    def figure(self, *names: str) -> float | None:
        """The first of these figures that ``metrics.json`` has, however its name is spelt."""
        spelt = {_plain(name): value for name, value in self.metrics.items()}
        return next((spelt[_plain(name)] for name in names if _plain(name) in spelt), None)

    @property
    def variant(self) -> str:
        """How the texts were shown (one of ``VARIANTS``), empty where the name does not say."""
        end = self.name.rpartition("@")[2]
        return end if "@" in self.name and end in VARIANTS else ""

    @property
    def base(self) -> str:
        """The name without its variant."""
        return self.name.removesuffix(f"@{self.variant}") if self.variant else self.name

    @property
    def trivial(self) -> bool:
        """Whether it is a rule that looks at no text."""
        return self.name.partition(":")[0] in TRIVIAL

    @property
    def prompted(self) -> bool:
        """Whether a language model was asked."""
        return any(answer.prompt or answer.reading for answer in self.answers)

    @cached_property
    def truth(self) -> Flags:
        """What is true."""
        return self._flags([answer.truth for answer in self.answers])

    @cached_property
    def given(self) -> Flags:
        """What was answered; a text with a problem has no label."""
        return self._flags([answer.labels for answer in self.answers])

    @cached_property
    def scores(self) -> Numbers:
        """Scores, NaN where there is none."""
        rows = [[answer.scores.get(name, np.nan) for name in self.vocabulary] for answer in self.answers]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.vocabulary))

    @property
    def scored(self) -> bool:
        """Whether there is any score."""
        return bool(np.isfinite(self.scores).any())

    @property
    def probable(self) -> bool:
        """Whether its scores lie between 0 and 1, as probabilities do."""
        return self.scored and float(np.nanmin(self.scores)) >= 0 and float(np.nanmax(self.scores)) <= 1

    def _flags(self, sets: Sequence[Sequence[str]]) -> Flags:
        return np.array([[name in names for name in self.vocabulary] for names in sets], dtype=bool).reshape(
            len(sets), len(self.vocabulary)
        )


@dataclass(frozen=True)
class Evaluation:
    """Systems that answered the same texts under the same vocabulary, best micro-F1 first."""

    systems: tuple[System, ...]
    vocabulary: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def compared(self) -> tuple[System, ...]:
        """Systems that saw the texts as they are; all, where there are none but variants."""
        return tuple(system for system in self.systems if not system.variant) or self.systems

    def place(self, system: System) -> int | None:
        """Number of a system's colour: negative for trivial rules, which are grey, and None for variants."""
        if system not in self.compared:
            return None
        alike = [other for other in self.compared if other.trivial == system.trivial]
        return -1 - alike.index(system) if system.trivial else alike.index(system)

    @property
    def widest(self) -> System:
        """The system that answered most texts."""
        return max(self.compared, key=lambda system: len(system.answers))

    @property
    def single(self) -> bool:
        """Whether every text has one true label, and no system gives more."""
        most = max(int(system.given.sum(axis=1).max(initial=0)) for system in self.systems)
        return most <= 1 and bool((self.widest.truth.sum(axis=1) == 1).all())


def read(out: Path) -> Evaluation:
    """Read the folders of an evaluation; ``out`` may also be the folder of one system.

    Raises:
        InvalidDataset: nothing there, a file that is not what it should be, or systems that cannot be compared.
    """
    folders = [out] if (out / "rows.jsonl").is_file() else sorted(path.parent for path in out.glob("*/rows.jsonl"))
    if not folders:
        raise InvalidDataset(f"{out} holds no rows.jsonl, nor do its folders; run `main.py evaluate --out {out}` first")
    found = _named_apart([_system(folder, out) for folder in folders])
    vocabulary = _same_vocabulary(found)
    _same_truth(found)
    found = [replace(system, vocabulary=vocabulary) for system in found]
    systems = sorted(found, key=lambda system: (-(system.figure("micro-F1", "accuracy") or 0.0), system.name))
    return Evaluation(tuple(systems), vocabulary, tuple(_doubts(found)))


def _system(folder: Path, out: Path) -> System:
    manifest, metrics = _json(folder / "manifest.json"), _json(folder / "metrics.json")
    every = tuple(_answers(folder / "rows.jsonl"))
    answers = tuple(answer for answer in every if answer.complete)
    if not answers:
        said = "has no text whose true labels are all known" if every else "is empty; let the evaluation run"
        raise InvalidDataset(f"{folder / 'rows.jsonl'} {said}, or remove the folder")
    name = str(manifest.get("system") or folder.name)
    end = folder.name.rpartition("@")[2]
    if "@" in folder.name and end in VARIANTS and not name.endswith(f"@{end}"):
        name = f"{name}@{end}"
    numbers = {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}
    order = _json(folder / ORDER) or None
    return System(name, numbers, manifest, answers, _vocabulary(manifest, every), order, len(every) - len(answers))


def _vocabulary(manifest: Mapping[str, Any], answers: Sequence[Answer]) -> tuple[str, ...]:
    """Labels of the manifest; those that occur, where it names none."""
    taxonomy = manifest.get("taxonomy")
    stated = taxonomy.get("labels", []) if isinstance(taxonomy, dict) else []
    names = tuple(str(label["name"] if isinstance(label, dict) else label) for label in stated)
    used = sorted({name for answer in answers for name in (*answer.truth, *answer.labels)})
    stray = [name for name in used if names and name not in names]
    if stray:
        raise InvalidDataset(f"rows name the label {stray[0]!r}, which the manifest's taxonomy does not have")
    return names or tuple(used)


def _answers(path: Path) -> Iterator[Answer]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield _answer(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidDataset(f"{path}, line {number} is not a row of an evaluation: {error!r}") from None


def _answer(row: Mapping[str, Any]) -> Answer:
    source, problem = row.get("source") or {}, row.get("problem")
    return Answer(
        id=str(row["id"]),
        truth=tuple(row["truth"]),
        labels=tuple(row["labels"]),
        scores=row.get("scores") or {},
        complete=row.get("complete", True),
        problem=problem["kind"] if problem else None,
        model=source.get("model") or "",
        prompt=source.get("prompt"),
        reading=source.get("reading"),
        tokens=tuple(row.get("tokens") or (0, 0, 0)),
        seconds=row.get("seconds") or 0.0,
        alone=row.get("alone", False),
        chars=row.get("chars"),
    )


def _json(path: Path) -> dict[str, Any]:
    """An object from a file; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidDataset(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidDataset(f"{path} should hold an object, not a {type(found).__name__}")
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _named_apart(systems: list[System]) -> list[System]:
    twice = [name for name, count in Counter(system.name for system in systems).items() if count > 1]
    if twice:
        raise InvalidDataset(f"two folders hold a system called {twice[0]!r}; keep one of them")
    return systems


def _same_vocabulary(systems: Sequence[System]) -> tuple[str, ...]:
    stated = [system for system in systems if system.manifest.get("taxonomy")]
    if any(set(system.vocabulary) != set(stated[0].vocabulary) for system in stated):
        names = ", ".join(system.name for system in stated)
        raise InvalidDataset(f"{names} answered under different vocabularies; report them apart")
    for system in systems if stated else ():
        stray = set(system.vocabulary) - set(stated[0].vocabulary)
        if stray:
            raise InvalidDataset(
                f"{system.name} names labels that {stated[0].name} does not have: {sorted(stray)[0]!r}"
            )
    if stated:
        return stated[0].vocabulary
    return tuple(sorted({name for system in systems for name in system.vocabulary}))


def _same_truth(systems: Sequence[System]) -> None:
    seen: dict[str, tuple[str, frozenset[str]]] = {}
    for system in systems:
        for answer in system.answers:
            first, truth = seen.setdefault(answer.id, (system.name, frozenset(answer.truth)))
            if truth != frozenset(answer.truth):
                raise InvalidDataset(f"{first} and {system.name} have different true labels for {answer.id!r}")


def _doubts(systems: Sequence[System]) -> Iterator[str]:
    """What a reader must know before comparing figures."""
    every = {answer.id for system in systems for answer in system.answers}
    for system in sorted(systems, key=lambda system: system.name):
        own = {answer.id for answer in system.answers}
        if own != every:
            yield f"{system.name} answered {len(own):,} of {len(every):,} texts; its figures are of those alone."
        if system.set_aside:
            yield f"{system.name}: {system.set_aside:,} texts whose true labels may be incomplete stand in no figure."
        if not system.metrics:
            yield f"{system.name} has no metrics.json: its run is unfinished, or waits for `--rescore`."
        if not system.manifest:
            yield f"{system.name} has no manifest.json: nothing tells under which settings it ran."


TRIVIAL = {"prior", "random"}
