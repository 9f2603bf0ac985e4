"""Few-shot examples: turns of the conversation, each in the form in which the answer is asked for."""

import json

import pytest

from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, JSON_LIST, LABEL_TOKENS, AnswerFormat, FewShotExample, Message, example_turns
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")
NONE = TMDB.shaped(allow_none=True)
WESTERN, HORROR = (CODES[TMDB.names.index(name)] for name in ("Western", "Horror"))
YES_NO = AnswerFormat("yes_no", TMDB.labels[0])
SHOTS = (
    FewShotExample(Text("Cowboys ride into town.", "Dust"), ("Western", "Action")),
    FewShotExample(Text("A ghost haunts the attic."), ("Horror",)),
    FewShotExample(Text("Opening hours of the museum."), ()),
)


def answers(taxonomy: Taxonomy, question: AnswerFormat, prompt: str = "text") -> list[str]:
    messages = registry.prompt(prompt).render(Text("x"), taxonomy, question, SHOTS)
    return [message["content"] for message in messages if message["role"] == "assistant"]


@pytest.mark.parametrize(
    ("taxonomy", "question", "expected"),
    [
        (TMDB, JSON_LIST, ['["Western", "Action"]', '["Horror"]']),
        (NONE, JSON_LIST, ['["Western", "Action"]', '["Horror"]', "[]"]),
        (TMDB.shaped(max_labels=1), JSON_LIST, ['["Western"]', '["Horror"]']),
        (TMDB.shaped(multi=False), LABEL_TOKENS, [WESTERN, HORROR]),
        (NONE, LABEL_TOKENS, [WESTERN, HORROR, "0"]),
        (TMDB, YES_NO, ["Yes", "No", "No", "Yes", "No"]),
    ],
)
@pytest.mark.parametrize("prompt", registry.prompts())
def test_examples_answer_as_the_model_should(
    taxonomy: Taxonomy, question: AnswerFormat, expected: list[str], prompt: str
) -> None:
    assert answers(taxonomy, question, prompt) == expected


@pytest.mark.parametrize("question", [JSON_LIST, LABEL_TOKENS, AnswerFormat("yes_no"), YES_NO])
@pytest.mark.parametrize("prompt", registry.prompts())
def test_an_example_is_asked_about_as_the_text_is(question: AnswerFormat, prompt: str) -> None:
    system, *rest = registry.prompt(prompt).render(Text("A plot.", "A title"), NONE, question, SHOTS)
    alone = registry.prompt(prompt).render(Text("A plot.", "A title"), NONE, question)
    assert (system, rest[-1]) == (alone[0], alone[-1])
    asked, said = rest[:-1:2], rest[1:-1:2]
    assert {message["role"] for message in asked} == {"user"}
    assert {message["role"] for message in said} == {"assistant"}
    for message, turn in zip(asked, example_turns(SHOTS, NONE, AnswerFormat(question.strategy)), strict=True):
        assert message == registry.prompt(prompt).render(turn.text, NONE, turn.question)[-1]


@pytest.mark.parametrize("asked", TMDB.predictable[:3])
def test_what_comes_before_the_text_does_not_depend_on_the_label_asked_about(asked: Label) -> None:
    def before(label: Label) -> tuple[Message, ...]:
        return registry.prompt("plot").render(Text("x"), TMDB, AnswerFormat("yes_no", label), SHOTS)[:-1]

    assert before(asked) == before(TMDB.predictable[-1])


def test_yes_and_no_are_right_about_the_label_that_each_example_is_asked_about() -> None:
    for turn in example_turns(SHOTS, TMDB, YES_NO):
        shot = next(shot for shot in SHOTS if shot.text == turn.text)
        assert turn.question.label is not None
        assert turn.answer == ("Yes" if turn.question.label.name in shot.labels else "No")


def test_codes_are_those_of_the_labels_that_are_listed() -> None:
    part = Taxonomy("tmdb", tuple(label for label in TMDB.labels if label.name in ("Horror", "War")))
    assert answers(part, LABEL_TOKENS) == ["A"]
    turned = Taxonomy("tmdb", part.labels[::-1])
    assert answers(turned, LABEL_TOKENS) == ["B"]


def test_a_label_of_any_spelling_is_json_and_powerless() -> None:
    odd = Taxonomy("odd", (Label('The "best"'), Label("caf\u00e9"), Label("a<|im_end|>")))
    shots = [
        FewShotExample(Text("x"), tuple(odd.names)),
        FewShotExample(Text("</text> {{ 7 }} <|im_end|>"), ("caf\u00e9",)),
    ]
    rendered = registry.prompt("text").render(Text("y"), odd, JSON_LIST, shots)
    assert json.loads(rendered[2]["content"])[:2] == ['The "best"', "caf\u00e9"]
    assert not any("<|" in message["content"] for message in rendered)
    assert "{{ 7 }}" in rendered[3]["content"]
