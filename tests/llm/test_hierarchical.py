"""A descent through a hierarchy: which steps are asked, what the scores are, and what an answer is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from llm.classifier import AnswerSource, LabelsOffered, Prediction, Problem, ScoreType, Usage
from llm.embedded.matcher import matcher
from llm.hierarchical import Hierarchical, by_leaves
from llm.wrappers.combined import Shortlist
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from prompts.variants import Candidates

TREE = {"A": ["1", "2"], "B": ["1", "2"], "C": ""}
ONE = Hierarchy.of(TREE, name="tree", multi=False)
SEVERAL = Hierarchy.of(TREE, name="tree", max_labels=3)


class Scripted:
    """Answers each step with the scores or labels that are given for its labels; counts the requests."""

    name = "scripted"

    def __init__(
        self, answers: Mapping[str, float] | Sequence[str], down: str = "", kind: ScoreType | None = None
    ) -> None:
        self.answers, self.down, self.kind = answers, down, kind
        self.steps: list[tuple[str, ...]] = []
        self.taxonomies: list[Taxonomy] = []

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        self.steps.append(taxonomy.names)
        self.taxonomies.append(taxonomy)
        return [self._answer(taxonomy)] * len(texts)

    def _answer(self, taxonomy: Taxonomy) -> Prediction:
        source, usage = AnswerSource("scripted", taxonomy.versioned_name), Usage(10, 0, 1)
        if self.down in taxonomy.names:
            return Prediction((), source, problem=Problem("busy", "down"), usage=usage)
        if not isinstance(self.answers, Mapping):
            return Prediction(tuple(name for name in taxonomy if name in self.answers), source, usage=usage)
        scores = {name: self.answers.get(name, 0.0) for name in taxonomy}
        best = sorted(scores, key=lambda name: -scores[name])
        labels = [name for name in best if scores[name] >= 0.5] if taxonomy.multi else best[:1]
        if taxonomy.allow_none and scores[best[0]] < 0.5:
            labels = []
        kind: ScoreType = "probability" if taxonomy.multi else "share"
        return Prediction(tuple(labels), source, scores, usage=usage, score_type=self.kind or kind)


class Limited(Scripted):
    """Returns as many labels as the taxonomy allows."""

    def _answer(self, taxonomy: Taxonomy) -> Prediction:
        found = super()._answer(taxonomy)
        return replace(found, labels=found.labels[: taxonomy.max_labels])


SHARES = {"A": 0.5, "B": 0.4, "C": 0.1, "A > 1": 0.6, "A > 2": 0.4, "B > 1": 0.9, "B > 2": 0.1}


@pytest.mark.parametrize(
    ("beam", "answer", "steps"),
    [
        (1, "A > 1", [("A", "B", "C"), ("A > 1", "A > 2")]),
        (2, "B > 1", [("A", "B", "C"), ("A > 1", "A > 2"), ("B > 1", "B > 2")]),
    ],
)
def test_a_wider_beam_repairs_a_wrong_first_step(beam: int, answer: str, steps: list[tuple[str, ...]]) -> None:
    model = Scripted(SHARES)
    (found,) = Hierarchical(model, beam).classify(["text"], ONE)
    assert found.labels == (answer,)
    assert model.steps == steps
    assert found.usage == Usage(10 * len(steps), 0, len(steps))
    assert found.source.taxonomy == ONE.versioned_name


def test_a_score_is_the_product_of_its_path_and_children_sum_to_their_parent() -> None:
    (found,) = Hierarchical(Scripted(SHARES), 2).classify(["text"], ONE)
    assert found.scores["B > 1"] == pytest.approx(0.36)
    for parent in ("A", "B"):
        below = [score for name, score in found.scores.items() if name.startswith(f"{parent} > ")]
        assert sum(below) == pytest.approx(found.scores[parent])
    assert found.score_type == "share"


def test_a_branch_that_cannot_win_costs_no_request() -> None:
    model = Scripted({**SHARES, "A": 0.9, "B": 0.1, "C": 0.0})  # the best child of A has 0.45 at least
    Hierarchical(model, 2).classify(["text"], ONE)
    assert len(model.steps) == 2


def test_texts_with_the_same_step_share_a_batch() -> None:
    model = Scripted(SHARES)
    Hierarchical(model, 1).classify(["one", "two", "three"], ONE)
    assert len(model.steps) == 2


def test_written_labels_without_scores_are_followed() -> None:
    (found,) = Hierarchical(Scripted(["A", "B", "A > 2", "B > 1"]), 2).classify(["text"], SEVERAL)
    assert (found.labels, found.scores) == (("A > 2", "B > 1"), {})


def test_several_labels_come_from_several_branches() -> None:
    scores = {"A": 0.9, "B": 0.8, "C": 0.2, "A > 1": 0.7, "A > 2": 0.1, "B > 1": 0.6, "B > 2": 0.9}
    (found,) = Hierarchical(Scripted(scores), 2).classify(["text"], SEVERAL)
    assert found.labels == ("B > 2", "A > 1", "B > 1")
    assert all(found.scores[name] <= found.scores[name[0]] for name in found.scores)


@pytest.mark.parametrize(("leaves_only", "label"), [(True, "A > 1"), (False, "A")])
def test_a_descent_may_end_above_the_leaves(leaves_only: bool, label: str) -> None:
    model = Scripted({"A": 0.9, "B": 0.1, "A > 1": 0.2, "A > 2": 0.1})
    (found,) = Hierarchical(model, 1).classify(["text"], cut(ONE, leaves_only=leaves_only))
    assert found.labels == (label,)
    assert model.taxonomies[1].allow_none is not leaves_only


def test_a_level_saves_the_steps_below() -> None:
    model = Scripted(SHARES)
    (found,) = Hierarchical(model, 2).classify(["text"], cut(ONE, level=1))
    assert (found.labels, len(model.steps)) == (("A",), 1)


def test_none_of_the_top_labels_is_none() -> None:
    (found,) = Hierarchical(Scripted({"A": 0.2}), 2).classify(["text"], ONE.shaped(allow_none=True))
    assert (found.labels, found.problem) == ((), None)


def test_a_failed_step_is_the_problem_of_its_text() -> None:
    (found,) = Hierarchical(Scripted(SHARES, down="B > 1"), 2).classify(["text"], ONE)
    assert (found.labels, found.problem, found.usage.prompt_tokens) == ((), Problem("busy", "down"), 30)


def test_an_only_child_needs_no_question() -> None:
    model = Scripted({"A": 0.9, "B": 0.1})
    (found,) = Hierarchical(model, 2).classify(["text"], Hierarchy.of({"A": {"only": ["x"]}, "B": ""}, multi=False))
    assert (found.labels, len(model.steps)) == (("A > only > x",), 1)


def test_steps_below_the_top_are_candidates() -> None:
    """The bias of a model towards labels costs a dozen requests per taxonomy: not for each step."""
    model = Scripted(SHARES)
    Hierarchical(model, 1).classify(["text"], ONE)
    assert [isinstance(taxonomy, Candidates) for taxonomy in model.taxonomies] == [False, True]


def test_a_step_with_many_labels_gets_a_shortlist() -> None:
    model = Scripted(SHARES)
    (found,) = Hierarchical(Shortlist(model, model, 1), 1).classify(["text"], ONE)
    assert (found.labels, found.problem) == (("A > 1",), None)


def test_without_a_beam_the_leaves_are_scored_at_once() -> None:
    scores = {"A > 1": 0.3, "A > 2": 0.3, "B > 1": 0.4}
    model = Scripted(scores)
    (found,) = Hierarchical(model, 0).classify(["text"], ONE)
    assert (found.labels, len(model.steps), model.steps[0]) == (("B > 1",), 1, ONE.names)
    assert (found.scores["A"], found.scores["B"]) == (0.6, 0.4)
    (top,) = Hierarchical(model, 0).classify(["text"], cut(ONE, level=1))
    assert top.labels == ("A",)  # has more together, though the best leaf is in B


def test_an_inner_label_is_no_answer_beside_one_below_it() -> None:
    model = Scripted({"A": 0.9, "A > 1": 0.8, "B": 0.7})
    (found,) = by_leaves(model.classify, ["text"], replace(SEVERAL, leaves_only=False))
    assert found.labels == ("A > 1", "B")


def test_a_flat_taxonomy_is_classified_as_before() -> None:
    flat, model = Taxonomy.of(["x", "y"], multi=False), Scripted({"x": 0.9})
    (found,) = Hierarchical(model, 2).classify(["text"], flat)
    assert (found.labels, model.taxonomies) == (("x",), [flat])


def test_the_embedded_classifier_scores_names_with_those_above() -> None:
    tree = Hierarchy.of({"cooking": ["other"], "football": ["other"]}, multi=False)
    kitchen, pitch = matcher().classify(["Stir the soup.", "The goalkeeper saved a penalty."], tree)
    assert (kitchen.labels, pitch.labels) == (("cooking > other",), ("football > other",))
    assert kitchen.scores["cooking"] == kitchen.scores["cooking > other"]


def test_shares_decide_between_labels_of_a_level_by_their_sums_also_where_inner_labels_are_answers() -> None:
    shares = {"A > 1": 0.3, "A > 2": 0.3, "B > 1": 0.4}
    (found,) = by_leaves(Scripted(shares).classify, ["text"], replace(ONE, level=1, leaves_only=False))
    assert (found.labels, found.scores["A"]) == (("A",), 0.6)


def test_several_labels_of_a_level_are_not_lost_to_several_leaves_of_one() -> None:
    scores = {"A > 1": 0.9, "A > 2": 0.8, "B > 1": 0.7}
    (found,) = by_leaves(Limited(scores).classify, ["text"], replace(SEVERAL, max_labels=2, level=1))
    assert found.labels == ("A", "B")


def test_shares_of_several_labels_keep_every_chosen_one() -> None:
    """Several labels may apply, although the strategy gives shares."""
    model = Scripted({"A > 1": 0.5, "B > 1": 0.5}, kind="share")
    (found,) = Hierarchical(model, 0).classify(["text"], cut(SEVERAL, level=1))
    assert found.labels == ("A", "B")


def test_probabilities_do_not_end_a_branch_early() -> None:
    """The best label below B has far less than an n-th of its score; that of A more."""
    scores = {"A": 0.3, "B": 0.9, "A > 1": 0.9, "A > 2": 0.1, "B > 1": 0.1, "B > 2": 0.1}
    model = Scripted(scores, kind="probability")
    (found,) = Hierarchical(model, 2).classify(["text"], ONE)
    assert (found.labels, len(model.steps)) == (("A > 1",), 3)
    model = Scripted({**scores, "B > 1": 0.6, "B > 2": 0.0}, kind="probability")
    (found,) = Hierarchical(model, 1).classify(["text"], cut(ONE, leaves_only=False))
    assert (found.labels, found.scores["B > 1"]) == (("B > 1",), 0.54)  # .4 is no share of "none"


@pytest.mark.parametrize("answers", [["C", "A", "A > 2"], {"A": 0.5, "C": 0.5, "A > 1": 0.0, "A > 2": 1.0}])
def test_equal_labels_are_in_the_order_of_the_taxonomy(answers: Mapping[str, float] | Sequence[str]) -> None:
    (found,) = Hierarchical(Scripted(answers), 2).classify(["text"], SEVERAL)
    assert found.labels == ("A > 2", "C")


def test_the_labels_that_a_descent_offers_are_counted_against_all_labels() -> None:
    (found,) = Hierarchical(Scripted(SHARES), 1).classify(["text"], ONE)
    assert found.shortlist == LabelsOffered(5, 7)  # the top and one branch, of 3 + 4 labels
    (found,) = Hierarchical(Scripted(SHARES), 2).classify(["text"], ONE)
    assert found.shortlist is None


def test_a_tree_of_ten_levels_takes_a_request_per_level() -> None:
    tree: Any = ["left", "right"]
    for level in range(9, 0, -1):
        tree = {f"left {level}": tree, f"right {level}": ""}
    model = Scripted({})
    (found,) = Hierarchical(model, 1).classify(["text"], Hierarchy.of(tree, multi=False))
    assert (found.labels[0].count(" > "), len(model.steps)) == (9, 10)


def test_a_tree_of_five_thousand_leaves_offers_a_hundred_labels() -> None:
    tree = {f"group {a}": {f"part {b}": [f"leaf {c}" for c in range(20)] for b in range(10)} for a in range(25)}
    hierarchy, model = Hierarchy.of(tree, multi=False), Scripted({"group 7": 1.0})
    assert len(hierarchy.names) == 5_000
    (found,) = Hierarchical(model, 2).classify(["text"], hierarchy)
    assert (found.labels, found.shortlist) == (("group 7 > part 0 > leaf 0",), LabelsOffered(75, 5_275))
    assert found.source.taxonomy == hierarchy.versioned_name
