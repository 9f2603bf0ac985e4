"""Estimates: the requests that are rehearsed are those that are sent, with every wrapper of the settings."""

from typing import Any

import pytest

import marquee
from llm.backends.backend import Conversation, FakeBackend
from llm.calibration.thresholds import ThresholdStore
from llm.embedded.matcher import Matcher, matcher
from llm.few_shot import no_examples
from llm.spending.costs import preview
from marquee.estimates import estimate, requests
from marquee.factory import RequestOptions, classifiers, language_model
from marquee.settings import read_settings
from marquee.wrappers import candidates_of
from prompts.hierarchy import Hierarchy, cut
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from similarity.micro_batching import Admission

TREE = Hierarchy.of(
    {group: [f"{group} {part}" for part in ("repair", "sale", "rental", "theft", "history", "colour")]
     for group in ("car", "house", "dog", "camera", "violin")},
    name="tree", multi=False,
)  # fmt: skip
FLAT = Taxonomy.of([f"{label.own_name} question" for label in TREE.predictable], multi=False)
SHORT = Taxonomy.of(["car", "house"], multi=False)
TEXTS = [Text("My violin was stolen from the concert hall."), Text("The camera does not focus.")]


@pytest.fixture(scope="module")
def embedded() -> Matcher:
    return matcher()


def sent_and_rehearsed(
    embedded: Matcher, taxonomy: Taxonomy, strategy: str, texts: list[Text] = TEXTS, **settings: Any
) -> tuple[list[Conversation], list[Conversation]]:
    """The conversations that a recording backend gets, and those of the rehearsal."""
    seen: list[Conversation] = []

    def reply(conversation: Conversation) -> str:
        seen.append(conversation)
        return "[]"

    def weights(conversation: Conversation) -> dict[str, float]:
        seen.append(conversation)
        return {"A": 0.9, "Yes": 0.9}

    found = read_settings(cache=False, strategy=strategy, **settings)
    backend, options = FakeBackend(reply, weights=weights), RequestOptions()
    model = language_model(backend, found, options, ThresholdStore())
    rehearsed = requests(model, found, embedded, texts, taxonomy)
    assert seen == []  # nothing was sent
    classifiers(backend, found, embedded, no_examples, Admission(9))(options).classify(texts, taxonomy)
    return seen, [one for request in rehearsed for one in request.conversations]


@pytest.mark.parametrize("strategy", ["json_list", "label_tokens", "yes_no"])
@pytest.mark.parametrize("taxonomy", [SHORT, FLAT, TREE, cut(TREE, level=1)], ids=["short", "flat", "tree", "level 1"])
def test_what_is_rehearsed_is_what_is_sent(embedded: Matcher, taxonomy: Taxonomy, strategy: str) -> None:
    sent, rehearsed = sent_and_rehearsed(embedded, taxonomy, strategy)
    assert sorted(map(repr, rehearsed)) == sorted(map(repr, sent))


def test_label_orders_and_a_cascade_are_rehearsed(embedded: Matcher) -> None:
    sent, rehearsed = sent_and_rehearsed(embedded, SHORT, "label_tokens", label_orders=3)
    assert (len(rehearsed), rehearsed) == (6, sent)
    certain = [Text("The car broke down: the engine, the wheels and the brakes of my car.")]
    sent, rehearsed = sent_and_rehearsed(embedded, SHORT, "label_tokens", certain, cascade_margin=0.01)
    assert rehearsed == sent == []


def test_a_descent_begins_with_the_step_that_is_sent_and_follows_the_embedded_classifier(embedded: Matcher) -> None:
    sent, rehearsed = sent_and_rehearsed(embedded, TREE, "label_tokens", TEXTS[:1], hierarchy_beam=2)
    assert rehearsed[0] == sent[0]
    assert 2 <= len(rehearsed) <= 3
    assert any("violin theft" in message["content"] for one in rehearsed[1:] for message in one)


def test_many_texts_are_estimated_from_a_sample_where_each_is_read_by_the_embedded_classifier(
    embedded: Matcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marquee.estimates._SAMPLE", 2)
    settings = read_settings(strategy="label_tokens")
    model = language_model(FakeBackend(weights=lambda conversation: {}), settings, RequestOptions(), ThresholdStore())
    texts = [Text(f"text {number} of nine") for number in range(9)]
    assert estimate(model, settings, embedded, texts, TREE).requests == 9
    whole = preview(model, requests(model, settings, embedded, texts, SHORT))
    assert estimate(model, settings, embedded, texts, SHORT) == whole
    assert estimate(model, settings, embedded, [], TREE).requests == 0


@pytest.mark.parametrize(
    ("taxonomy", "beam", "candidates"),
    [(SHORT, 0, 0), (FLAT, 0, 20), (TREE, 0, 20), (cut(TREE, level=1), 0, 20), (TREE, 2, 0)],
    ids=["short", "flat", "tree", "level 1", "descent"],
)
def test_the_shortlist_of_a_hierarchy_is_that_of_its_leaves_or_steps(
    taxonomy: Taxonomy, beam: int, candidates: int
) -> None:
    assert candidates_of(read_settings(hierarchy_beam=beam), taxonomy) == candidates


def test_the_cost_of_a_hierarchy_is_that_of_its_shortlist_or_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = marquee.estimate_cost(TEXTS, FLAT, system="llm:label_tokens", model="gpt-4o-mini").prompt_tokens
    monkeypatch.setenv("MARQUEE_HIERARCHY_BEAM", "1")
    descent = marquee.estimate_cost(TEXTS, TREE, system="llm:label_tokens", model="gpt-4o-mini")
    assert (descent.requests, descent.written_tokens) == (4, 4)
    monkeypatch.setenv("MARQUEE_MAX_CANDIDATE_LABELS", "0")
    assert marquee.estimate_cost(TEXTS, FLAT, system="llm:label_tokens", model="gpt-4o-mini").prompt_tokens > whole
