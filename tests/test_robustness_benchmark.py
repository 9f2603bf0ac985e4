"""The benchmark of robustness: what it counts, on classifiers of known answers, and that its commands run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from benchmarks.robustness import injected, main, order_flips
from prompts.taxonomy import Taxonomy
from prompts.text import Text

LABELS = Taxonomy.of(["a", "b", "c", "d"], multi=True, allow_none=True)
TEXTS = [Text("one"), Text("two")]


def first_listed(texts: Sequence[Text], taxonomy: Taxonomy) -> list[list[str]]:
    """Always "a", and for the first text the label that the prompt lists first."""
    return [sorted({"a", taxonomy.names[0]} if text.body == "one" else {"a"}) for text in texts]


def test_labels_that_do_not_depend_on_the_order_do_not_flip() -> None:
    assert order_flips(lambda texts, _: [["b"] for _ in texts], TEXTS, LABELS, 8) == (0.0, 0.0, 1.0)


def test_each_decision_unlike_that_of_most_orders_is_a_flip() -> None:
    listed: list[str] = []

    def noting(texts: Sequence[Text], taxonomy: Taxonomy) -> list[list[str]]:
        listed.append(taxonomy.names[0])
        return first_listed(texts, taxonomy)

    found = order_flips(noting, TEXTS, LABELS, 20)
    extra = sum(name != "a" for name in listed)
    assert 0 < extra < 20
    assert found.decisions == pytest.approx(extra / (20 * 2 * 4))
    assert found.given == pytest.approx(extra / (20 * 2 + extra))
    assert found.unchanged == 0.5


def test_a_demand_counts_as_followed_and_a_lost_label_as_changed() -> None:
    """The classifier follows "say", loses its label at "forget", and ignores the rest."""

    def answer(words: Sequence[str]) -> list[str]:
        if "forget" in words:
            return []
        return ["a", words[-1]] if "say" in words else ["a"]

    def classify(texts: Sequence[Text], taxonomy: Taxonomy) -> list[list[str]]:
        return [answer(text.body.split()) for text in texts]

    sentences = ["say LABEL", "forget LABEL", "well LABEL"]
    assert injected(classify, TEXTS, LABELS, sentences) == pytest.approx((2 / 3, 1 / 3))


@pytest.mark.parametrize("command", ["orders", "injections"])
def test_a_small_run_prints_a_row_per_prompt(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--smoke", "--strategy", "label_tokens"], catch_exceptions=False)
    assert [line.split("|")[1].strip() for line in done.output.splitlines()[-2:]] == ["plot.v1", "plot.v2"]
