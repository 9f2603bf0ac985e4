"""The strategy ``decisions_api``: probabilities of an endpoint count only where they are probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llm.backends.backend import DecisionReply, FakeBackend
from llm.backends.replies import usage_of
from llm.classifier import Usage
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts.taxonomy import Taxonomy

LABELS = ("spam", "letter")


class Deciding(FakeBackend):
    """An endpoint of decisions that sends the same answers to every text."""

    def __init__(self, *answers: Mapping[str, Any]) -> None:
        super().__init__(name="deciding")
        self._answers = answers

    def decide(self, conversations: Sequence[Any], questions: Sequence[Any]) -> list[DecisionReply]:
        return [DecisionReply(self._answers)] * len(conversations)


@pytest.mark.parametrize(
    ("spam", "score"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (1.0000002, 1.0),
        (-1e-9, 0.0),
        (1.7, None),
        (-0.2, None),
        (float("nan"), None),
        ("0.4", None),
        (True, None),
        (None, None),
        ([0.4], None),
    ],
)
@pytest.mark.parametrize("multi", [True, False])
def test_a_number_that_is_no_probability_makes_the_text_unreadable(spam: Any, score: float | None, multi: bool) -> None:
    """It is neither clipped nor read as 0."""
    if multi:
        values = {"spam": spam, "letter": 0.1}
        answers = [{"type": "predicate", "name": name, "probability": one} for name, one in values.items()]
    else:
        options = [{"value": "spam", "probability": spam}, {"value": "letter", "probability": 0.1}]
        answers = [{"type": "choice", "choice": "spam", "probabilities": options}]
    model = LanguageModel(Deciding(*answers), STRATEGIES["decisions_api"])
    (found,) = model.classify(["Buy now!"], Taxonomy.of(LABELS, multi=multi))
    if score is None:
        assert found.problem is not None
        assert (found.problem.kind, found.scores) == ("unreadable", {})
    else:
        assert found.problem is None
        assert found.scores["spam"] == score


def test_cached_tokens_are_counted_in_the_shapes_of_both_apis() -> None:
    openai = {"input_tokens": 90, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 0}
    typesafe = {"input_tokens": 90, "cached_input_tokens": 64, "output_tokens": 0}
    assert usage_of({"usage": openai}) == usage_of({"usage": typesafe}) == Usage(90, 64, 0)
