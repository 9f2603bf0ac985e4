"""A classifier that goes by words, quick enough for thousands of rows, and jobs around it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulk.answer_store import LocalRunner
from bulk.inputs import input_files, text_columns
from bulk.job import ClassifierSpec, Job
from bulk.progress import Progress, Summary
from bulk.run import run
from llm.classifier import AnswerSource, Prediction, Problem, Usage
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text

TAXONOMY = Taxonomy("kinds", (Label("War"), Label("Love"), Label("Sea, deep")), max_labels=3, allow_none=True)
SIGNS = {"War": "sword", "Love": "heart", "Sea, deep": "ship"}


@dataclass
class ByWords:
    """Gives the labels whose sign stands in a text.

    Attributes:
        requests: batches of texts that it received.
        problems: by a word that a text holds, why such a text gets no answer.
    """

    requests: list[list[str]] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    name: str = "by-words"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a label's score hangs on the whole batch, as those of padded batches do."""
        bodies = [Text.of(text).body for text in texts]
        sys.audit("bulk.requests", len(bodies))
        self.requests.append(bodies)
        return [self._one(body, len(bodies), taxonomy) for body in bodies]

    def _one(self, body: str, company: int, taxonomy: Taxonomy) -> Prediction:
        source = AnswerSource(self.name, taxonomy.versioned_name)
        if problem := next((one for word, one in self.problems.items() if word in body), None):
            return Prediction((), source, problem=problem)
        labels = tuple(name for name in taxonomy.names if SIGNS[name] in body)
        scores = {name: len(body) / (1 + company) + (name in labels) for name in taxonomy.names}
        return Prediction(labels, source, scores, usage=Usage(len(body), 0, 1))


def job_of(given: Path | str, out: Path, batch: int = 8, prefix: str = "", **settings: Any) -> Job:
    """A job over some files, of a classifier by words."""
    source = input_files(str(given), [out])
    classifier = ClassifierSpec("words", settings, ByWords)
    return Job(source, text_columns(source), TAXONOMY, classifier, out, batch, prefix)


def label(
    given: Path | str, out: Path, classifier: ByWords | None = None,
    on_progress: Callable[[Progress], object] = lambda _: None, batch: int = 8, **options: Any,
) -> Summary | None:  # fmt: skip
    """Label some files by words."""
    classifier = classifier or ByWords()
    runner = LocalRunner(lambda: classifier, TAXONOMY, patience=0)
    return run(job_of(given, out, batch), runner, on_progress, **options)


def rows(count: int, different: int | None = None) -> list[dict[str, Any]]:
    """Rows of plots, the texts of which repeat after so many."""
    signs = ["a sword", "a heart", "a ship", "a sword and a heart", "nothing"]
    texts = [f"Plot {n} has {signs[n % 5]}." for n in range(different or count)]
    return [{"id": f"f{n}", "plot": texts[n % len(texts)], "year": n} for n in range(count)]


def write_lines(path: Path, some: Sequence[Mapping[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What a file of JSON lines holds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
