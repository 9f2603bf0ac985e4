"""A taxonomy from unlabelled texts: groups, names by keywords and by a language model, and its YAML."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.datasets import texts_of
from llm.authoring.taxonomy_suggestion import Suggestion, suggest
from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.embedded.cosine import TextEncoder
from llm.embedded.matcher import Matcher
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy_file import as_yaml, load_taxonomy

HELPDESK = Path(__file__).parents[3] / "docs" / "examples" / "helpdesk.csv"
TEXTS = [text.body for text in texts_of(HELPDESK, "text")]


@pytest.fixture(scope="module")
def encoder(embedded: Matcher) -> TextEncoder:
    return embedded.encoder


@pytest.fixture(scope="module")
def suggestion(encoder: TextEncoder) -> Suggestion:
    return suggest(TEXTS, encoder, labels=5)


def test_the_topics_of_the_texts_are_found(suggestion: Suggestion) -> None:
    assert {name.split()[0].casefold() for name in suggestion.taxonomy} >= {"printer", "invoice", "laptop"}
    assert sum(group.texts for group in suggestion.groups) == len(TEXTS)
    assert all(group.label.description.startswith("texts about ") for group in suggestion.groups)
    assert "VPN" in suggestion.taxonomy.names  # as the texts write it
    assert not suggestion.taxonomy.multi


def test_the_taxonomy_sorts_the_texts_as_the_groups_do(suggestion: Suggestion, embedded: Matcher) -> None:
    examples = [(text, group.label.name) for group in suggestion.groups for text in group.examples]
    found = embedded.classify([text for text, _ in examples], suggestion.taxonomy)
    right = sum(one.labels == (name,) for one, (_, name) in zip(found, examples, strict=True))
    assert right >= 0.8 * len(examples)


def test_the_same_texts_give_the_same_taxonomy(suggestion: Suggestion, encoder: TextEncoder) -> None:
    again = suggest([*TEXTS, *TEXTS[:9], " "], encoder, labels=5)  # repeated and empty texts do not count
    assert as_yaml(again.taxonomy) == as_yaml(suggestion.taxonomy)


def test_the_number_of_labels_follows_the_texts(encoder: TextEncoder) -> None:
    assert 3 <= len(suggest(TEXTS, encoder).groups) <= 5
    assert len(suggest(TEXTS, encoder, labels=8).groups) == 8


@pytest.mark.parametrize(
    ("count", "labels", "said"),
    [(0, None, "3 labels need 12"), (11, None, "and there are 11"), (12, 4, "4 labels need 16 .* or fewer labels")],
)
def test_too_few_texts_are_an_error(encoder: TextEncoder, count: int, labels: int | None, said: str) -> None:
    with pytest.raises(InvalidDataset, match=said):
        suggest(TEXTS[:count], encoder, labels)


@pytest.mark.parametrize("labels", [-1, 0, 1])
def test_a_taxonomy_has_two_labels_at_least(encoder: TextEncoder, labels: int) -> None:
    with pytest.raises(InvalidSetting, match=f"labels is {labels}; give 2 or more"):
        suggest(["a", "b", "c"], encoder, labels)


def test_the_yaml_is_read_again(suggestion: Suggestion, tmp_path: Path) -> None:
    path = tmp_path / "suggested.yaml"
    path.write_text(as_yaml(suggestion.taxonomy), encoding="utf-8")
    assert load_taxonomy(path) == suggestion.taxonomy


# --- names by a language model ---


def by_model(encoder: TextEncoder, reply: Callable[[Conversation], str | Problem | None]) -> Suggestion:
    return suggest(TEXTS, encoder, 5, FakeBackend(reply))


def test_a_language_model_names_the_groups(encoder: TextEncoder) -> None:
    def reply(conversation: Conversation) -> str:
        assert conversation[1]["content"].count("\n- ") == 5 + 4  # own texts, and keywords of the other groups
        word = conversation[1]["content"].splitlines()[0].split()[1].strip(",")
        return f"<think>So.</think>```json\n{json.dumps({'name': f'The {word}', 'description': f'all on {word}'})}```"

    found = by_model(encoder, reply)
    assert all(name.startswith("The ") for name in found.taxonomy)
    assert {group.label.description for group in found.groups} == {
        f"all on {name.removeprefix('The ')}" for name in found.taxonomy
    }


def test_a_name_is_read_as_endpoints_write_it(encoder: TextEncoder) -> None:
    """The schema is wrapped where the endpoint takes no other (``OpenAICompatible``)."""
    reply = '{"labels": {"name": "Help", "description": "all kinds"}}'
    assert by_model(encoder, lambda conversation: reply).groups[0].label.name == "Help"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("I would call it Printers.", "the answer has no name"),
        ('{"name": "", "description": "x"}', "the answer has no name"),
        ('{"name": 7}', "the answer has no name"),
        (None, "the answer has no name"),
        (Problem("unreachable", "nothing answers"), "nothing answers"),
    ],
)
def test_a_group_without_a_name_keeps_that_of_its_keywords(
    encoder: TextEncoder, suggestion: Suggestion, reply: str | Problem | None, why: str
) -> None:
    found = by_model(encoder, lambda conversation: reply)
    assert found.taxonomy == suggestion.taxonomy
    assert sum(why in note for note in found.notes) == 5


def test_a_name_that_is_given_twice_gets_a_keyword(encoder: TextEncoder) -> None:
    names = list(by_model(encoder, lambda conversation: '{"name": "Help", "description": "help"}').taxonomy)
    assert names[0] == "Help"
    assert all(name.startswith("Help (") for name in names[1:])
    assert len({name.casefold() for name in names}) == 5
