"""Labels with parents in requests, files, on the command line and from Python."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

import marquee
from main import main
from marquee.client import taxonomy_fields
from marquee.settings import read_settings
from prompts.errors import InvalidTaxonomy
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy_file import load_taxonomy
from service.app import create_app
from service.schemas.classify import ClassifyRequest
from service.services import build

TEXT = "My parcel has not arrived, where is it?"
NESTED: list[Any] = [
    {"name": "delivery", "children": [{"name": "where is the parcel"}, "change the address"]},
    {"name": "payment", "children": ["pay by card", "invoice"]},
]
NAMED: list[Any] = [
    "delivery",
    "payment",
    {"name": "where is the parcel", "parent": "delivery"},
    {"name": "change the address", "parent": "delivery"},
    {"name": "pay by card", "parent": "payment"},
    {"name": "invoice", "parent": "payment"},
]
FILE = """
multi: false
labels:
  - name: delivery
    children:
      - where is the parcel
      - name: change the address
        description: the parcel should go elsewhere
  - payment
  - name: pay by card
    parent: payment
  - name: invoice
    parent: payment
"""


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(build(read_settings(cache=False))).test_client()


@pytest.mark.parametrize("labels", [NESTED, NAMED])
def test_answers_are_paths_and_scores_have_the_labels_above(client: FlaskClient, labels: list[Any]) -> None:
    answer = client.post("/classify", json={"text": TEXT, "labels": labels, "multi": False, "scores": True}).get_json()
    assert answer["labels"] == ["delivery > where is the parcel"]
    below = answer["scores"]["delivery > where is the parcel"] + answer["scores"]["delivery > change the address"]
    assert answer["scores"]["delivery"] == pytest.approx(below, abs=1e-6)
    assert next(iter(answer["scores"])) == "delivery"


def test_a_request_chooses_the_level(client: FlaskClient) -> None:
    answer = client.post("/classify", json={"text": TEXT, "labels": NESTED, "multi": False, "level": 1}).get_json()
    assert answer["labels"] == ["delivery"]


@pytest.mark.parametrize("more", [{}, {"leaves_only": False}, {"multi": True, "max_labels": 2}])
def test_a_threshold_changes_no_score_and_gives_no_label_beside_one_below_it(
    client: FlaskClient, more: dict[str, Any]
) -> None:
    plain = {"text": TEXT, "labels": NESTED, "multi": False, "scores": True, **more}
    scores = client.post("/classify", json=plain).get_json()["scores"]
    answer = client.post("/classify", json={**plain, "threshold": 0.0}).get_json()
    assert answer["scores"] == scores
    assert scores["delivery"] >= scores["delivery > where is the parcel"]
    assert "delivery" not in answer["labels"]
    high = client.post("/classify", json={**plain, "threshold": scores["delivery"], "allow_none": True}).get_json()
    assert high["labels"] in ([], ["delivery"]) or high["scores"][high["labels"][0]] == scores["delivery"]


def test_shares_of_nested_probabilities_are_refused_in_words(client: FlaskClient) -> None:
    """The probability of an inner label includes those below it: the odds of both cannot compete."""
    fields = {"text": TEXT, "labels": NESTED, "multi": True, "score_type": "share"}
    leaves = client.post("/classify", json=fields).get_json()
    assert leaves["score_type"] == "share"
    assert leaves["scores"]["delivery"] == pytest.approx(
        leaves["scores"]["delivery > where is the parcel"] + leaves["scores"]["delivery > change the address"], abs=1e-5
    )
    nested = client.post("/classify", json={**fields, "leaves_only": False}).get_json()
    assert (nested["score_type"], "score_type 'share' is ignored" in nested["notes"][0]) == ("probability", True)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"labels": NESTED, "level": 3}, "taxonomy 'custom' has 2 levels; level cannot be 3; give 1 to 2"),
        ({"labels": ["a", "b"], "level": 1}, "has no label with a parent; leave level and leaves_only out"),
        ({"taxonomy": "news", "leaves_only": False}, "has no label with a parent"),
        ({"labels": [{"name": "a", "parent": "delivry"}, "delivery"]}, "did you mean 'delivery'?"),
        ({"labels": [{"name": "a", "subcategories": ["b"]}]}, "did you mean 'children'?"),
        ({"labels": [{"name": "a", "children": [{"name": "b", "parent": "a"}]}]}, "leave its parent out"),
        ({"labels": [{"name": "a", "children": ["b"] * 1000}]}, "1001 labels in one request; at most 1000"),
        ({"labels": [{"name": "a", "children": [{"name": 1}]}]}, "labels.0.children.0.name is 1; give a string"),
    ],
)
def test_a_wrong_hierarchy_is_one_clear_sentence(client: FlaskClient, fields: dict[str, Any], detail: str) -> None:
    response = client.post("/classify", json={"text": TEXT, **fields})
    assert response.status_code in (413, 422), response.get_json()
    assert detail in response.get_json()["detail"]


def test_labels_nested_too_deeply_are_an_error_of_the_request(client: FlaskClient) -> None:
    label: dict[str, Any] = {"name": "deepest"}
    for number in range(400):
        label = {"name": f"level {number}", "children": [label]}
    assert client.post("/classify", json={"text": TEXT, "labels": [label]}).status_code == 422


def test_a_file_has_parents_and_nested_labels(tmp_path: Path) -> None:
    file = tmp_path / "desk.yaml"
    file.write_text(FILE)
    found = load_taxonomy(file)
    assert isinstance(found, Hierarchy)
    assert found.names[:2] == ("delivery > where is the parcel", "delivery > change the address")
    result = CliRunner().invoke(main, ["classify", TEXT, "--taxonomy", str(file), "--level", "1", "--json"])
    assert json.loads(result.stdout)["labels"] == ["delivery"]


def test_python_takes_nested_dicts_and_lists() -> None:
    labels = {
        "delivery": ["where is the parcel", "change the address"],
        "payment": {"invoice": "", "card": "pay by card"},
    }
    (found,) = marquee.classify([TEXT], labels, multi=False, classifier="embedded")
    assert found.labels == ("delivery > where is the parcel",)
    (top,) = marquee.classify([TEXT], labels, multi=False, level=1, classifier="embedded")
    assert top.labels == ("delivery",)
    with pytest.raises(InvalidTaxonomy, match="is not a string"):
        marquee.classify([TEXT], {"delivery": [1]})


def test_the_client_sends_what_it_was_given() -> None:
    given = cut(Hierarchy.of({"a": ["1", "2"], "b": ["1"]}, multi=False), level=1)
    request = ClassifyRequest.model_validate({"text": TEXT, **json.loads(json.dumps(taxonomy_fields(given)))})
    assert request.resolve_taxonomy(given).names == given.names == ("a", "b")
    assert request.resolve_taxonomy(given).digest == given.digest
