"""Labels with parents: paths, what may be answered, and scores of the labels above."""

from dataclasses import replace
from pathlib import Path

import pytest

from prompts.errors import InvalidTaxonomy
from prompts.hierarchy import Hierarchy, cut
from prompts.label_tree import NestedLabel
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import as_yaml, load_taxonomy

SHOP = Hierarchy.of(
    {
        "Electronics": {"Cameras": "for photographs", "Phones": ["Smartphones", "Other"]},
        "Clothing": ["Shoes", "Other"],
        "Books": "",
    },
    name="shop",
    multi=False,
)
LEAVES = (
    "Electronics > Cameras",
    "Electronics > Phones > Smartphones",
    "Electronics > Phones > Other",
    "Clothing > Shoes",
    "Clothing > Other",
    "Books",
)


def branches(*pairs: tuple[str, str]) -> list[NestedLabel]:
    return [NestedLabel(Label(name), parent) for name, parent in pairs]


def test_answers_are_the_paths_of_the_leaves() -> None:
    assert SHOP.names == LEAVES
    assert SHOP.depth == 3
    assert [label.description for label in SHOP.labels if label.description] == ["for photographs"]


def test_parents_may_be_named_by_their_own_name_or_path_in_any_order() -> None:
    named = branches(
        ("Smartphones", "Phones"), ("Phones", "Electronics"), ("Electronics", ""), ("Cases", "electronics > phones")
    )
    found = Hierarchy.of_branches("shop", named)
    assert found.names == ("Electronics > Phones > Smartphones", "Electronics > Phones > Cases")


def test_a_child_may_have_the_name_of_its_parent() -> None:
    assert Hierarchy.of_branches("x", branches(("Company", ""), ("Company", "Company"))).names == ("Company > Company",)


@pytest.mark.parametrize(
    ("level", "leaves_only", "names"),
    [
        (None, True, LEAVES),
        (1, True, ("Electronics", "Clothing", "Books")),
        (2, True, ("Electronics > Cameras", "Electronics > Phones", "Clothing > Shoes", "Clothing > Other", "Books")),
        (1, False, ("Electronics", "Clothing", "Books")),
    ],
)
def test_the_level_says_what_is_answered(level: int | None, leaves_only: bool, names: tuple[str, ...]) -> None:
    assert cut(SHOP, level, leaves_only).names == names


def test_every_label_may_be_answered_without_leaves_only() -> None:
    assert len(cut(SHOP, leaves_only=False).names) == len(SHOP.labels) == 9


def test_a_label_that_is_never_predicted_takes_those_below_it_with_it() -> None:
    labels = [NestedLabel(Label("A", predict=False)), NestedLabel(Label("a1"), "A"), NestedLabel(Label("B"))]
    assert Hierarchy.of_branches("x", labels).names == ("B",)


@pytest.mark.parametrize(
    ("spelling", "level", "name"),
    [
        ("electronics > CAMERAS", None, "Electronics > Cameras"),
        ("cameras", None, "Electronics > Cameras"),  # the only label of this own name
        ("Other", None, None),
        ("Clothing > Other", None, "Clothing > Other"),
        ("Electronics", None, None),  # is no answer
        ("Smartphones", 1, "Electronics"),
        ("Clothing > Shoes", 1, "Clothing"),
    ],
)
def test_spellings_mean_answers(spelling: str, level: int | None, name: str | None) -> None:
    assert cut(SHOP, level).resolve(spelling) == name


def test_shares_add_up_and_probabilities_are_at_least_those_below() -> None:
    scores = {LEAVES[0]: 0.5, LEAVES[1]: 0.2, LEAVES[2]: 0.1, LEAVES[3]: 0.15, LEAVES[5]: 0.05}
    summed, highest = SHOP.with_inner(scores, shares=True), SHOP.with_inner(scores, shares=False)
    assert list(summed)[:3] == ["Electronics", "Electronics > Cameras", "Electronics > Phones"]
    assert (summed["Electronics"], summed["Electronics > Phones"], summed["Clothing"]) == (0.8, 0.3, 0.15)
    assert (highest["Electronics"], highest["Electronics > Phones"]) == (0.5, 0.2)


def test_another_shape_keeps_the_tree() -> None:
    shaped = cut(SHOP.shaped(multi=True, max_labels=2), level=2)
    assert isinstance(shaped, Hierarchy)
    assert (shaped.multi, shaped.max_labels, shaped.level) == (True, 2, 2)
    assert shaped.digest != SHOP.digest


def test_a_group_whose_labels_are_never_predicted_is_no_answer_unless_inner_labels_are() -> None:
    labels = [
        NestedLabel(Label("A")), NestedLabel(Label("a1", predict=False), "A"), NestedLabel(Label("B")),
        NestedLabel(Label("b1"), "B"),
    ]  # fmt: skip
    found = Hierarchy.of_branches("x", labels)
    assert (found.names, list(found.children)) == (("B > b1",), ["", "B"])
    assert cut(found, level=1).names == ("B",)
    assert cut(found, leaves_only=False).names == ("A", "B", "B > b1")


@pytest.mark.parametrize("labels", [[("A", False), ("a", True)], [("A", True), ("a", False)]])
def test_a_tree_without_an_answer_is_an_error(labels: list[tuple[str, bool]]) -> None:
    (above, first), (below, second) = labels
    with pytest.raises(InvalidTaxonomy, match="has predict: false; remove it from one"):
        Hierarchy.of_branches(
            "x", [NestedLabel(Label(above, predict=first)), NestedLabel(Label(below, predict=second), "A")]
        )


def test_a_file_of_a_hierarchy_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = cut(SHOP.shaped(multi=True, max_labels=2), 2, leaves_only=False)
    written = replace(written, attribute="department")
    (tmp_path / "shop.yaml").write_text(as_yaml(written), encoding="utf-8")
    assert load_taxonomy(tmp_path / "shop.yaml") == written


def test_flat_taxonomies_keep_their_digest() -> None:
    """Cached answers and runs of earlier versions stay valid."""
    assert Taxonomy("x", (Label("a", "first"), Label("b")), multi=False).digest == "eb4456f31ef7"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("Cameras", "Electroncs"), ("Electronics", "")], r"'Electroncs' of 'Cameras' is no label \(did you mean"),
        ([("a", "b"), ("b", "a")], "'a' is below itself"),
        ([("a", ""), ("x", "a"), ("b", ""), ("x", "b"), ("y", "x")], "may be 'a > x' or 'b > x'; write the whole path"),
        ([("a > b", ""), ("c", "")], "has ' > ' in it"),
        ([("a", ""), ("b", "a"), ("B.", "a")], "'a > b' and 'a > B.' differ only in case"),
        ([(str(i + 1), str(i) if i else "") for i in range(13)], "12 levels at most"),
        ([(str(i), str(i + 1) if i < 999 else "") for i in range(1000)], "12 levels at most"),
    ],
)
def test_impossible_trees_are_errors_in_words(pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(InvalidTaxonomy, match=message):
        Hierarchy.of_branches("x", branches(*pairs))


def test_a_level_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InvalidTaxonomy, match="'shop' has 3 levels; level cannot be 4; give 1 to 3"):
        cut(SHOP, 4)
    with pytest.raises(InvalidTaxonomy, match="has no label with a parent"):
        cut(Taxonomy.of(["a", "b"]), 1)
