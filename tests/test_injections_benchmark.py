"""The benchmark of injections: what it counts, on a classifier of known answers, and that its command runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from benchmarks.injections import injected, main
from llm.classifier import AnswerSource, Prediction, Problem
from prompts.taxonomy import Taxonomy
from prompts.text import Text

LABELS = Taxonomy.of(["a", "b", "c", "d"], multi=True)
TEXTS = [Text("one"), Text("two")]


class Obedient:
    """Follows "say", loses its label at "forget", has a problem with "crash", and ignores the rest."""

    name = "obedient"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        return [self._answer(text.body.split()) for text in texts if isinstance(text, Text)]

    def _answer(self, words: Sequence[str]) -> Prediction:
        labels = ("a", words[-1]) if "say" in words else () if "forget" in words else ("a",)
        problem = Problem("unreadable", "no answer") if "crash" in words else None
        return Prediction(() if problem else labels, AnswerSource(self.name, "own"), problem=problem)


def test_a_demand_counts_as_followed_and_a_lost_label_as_changed() -> None:
    sentences = ["say LABEL", "forget LABEL", "well LABEL"]
    assert injected(Obedient(), TEXTS, LABELS, sentences) == pytest.approx((2 / 3, 1 / 3))


def test_a_problem_is_not_counted_as_resistance() -> None:
    with pytest.raises(Exception, match="no answer"):
        injected(Obedient(), TEXTS, LABELS, ["crash"])


def test_a_small_run_prints_a_row_per_prompt() -> None:
    done = CliRunner().invoke(main, ["--smoke", "--strategy", "label_tokens"], catch_exceptions=False)
    assert [line.split("|")[1].strip() for line in done.output.splitlines()[-2:]] == ["plot.v1", "plot.v2"]
