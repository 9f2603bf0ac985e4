"""Lessons: the very messages that are sent, the very answers that are read, and nothing else in the loss."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from eval.datasets import Example
from llm.backends.causal_lm import CausalLM
from llm.backends.causal_lm_loading import load
from llm.backends.list_grammar import ListGrammar, ListWriter
from llm.backends.local_backend import LocalBackend
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from llm.strategies.json_list import JSONList, read_answer
from prompts import registry
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from tests.support.tiny_qwen2 import build
from training.lora.config import Form, PromptSetup
from training.lora.lessons import INCOMPLETE, SHORTENED, TOO_LONG, tokenised

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")
LONG = 4_096


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    return load(str(build(tmp_path_factory.mktemp("lessons") / "tiny")), "cpu", "float32")


def example(*labels: str, text: str = "A sheriff sings.", name: str = "1", **more: Any) -> Example:
    return Example(name, Text(text, "Rio"), labels, **more)


def test_the_messages_are_those_that_the_language_model_sends(base: CausalLM) -> None:
    some = [example("Western", "Music"), example("War", text="A trench.", name="2")]
    forms: tuple[Form, ...] = ("json_list", "label_tokens", "label_likelihood")
    for form in forms:
        model = LanguageModel(LocalBackend.from_loaded(base, "tiny"), STRATEGIES[form])
        sent = [model.conversations(one.text, TMDB)[0] for one in some]
        taught = tokenised(base, PromptSetup(TMDB, form), some, LONG)
        assert [lesson.prompt_ids for lesson in taught.examples] == base.tokens(sent)


def test_a_list_is_taught_in_taxonomy_order_as_the_engine_writes_it_and_the_reader_reads_it(base: CausalLM) -> None:
    (lesson,) = tokenised(base, PromptSetup(TMDB, "json_list"), [example("Western", "Music", "Drama")], LONG).examples
    said = [tokens[0] for tokens in lesson.target_ids]
    assert all(len(tokens) == 1 for tokens in lesson.target_ids)
    assert said[-1] == base.tokenizer.eos_token_id
    assert base.decode(said[:-1]) == '["Drama","Music","Western"]'
    assert read_answer(base.decode(said[:-1]), TMDB).labels == ("Drama", "Music", "Western")
    walk = ListWriter(ListGrammar(JSONList().constraint(TMDB).schema, base.encode, base.decode))
    for token in said[:-1]:
        assert token in walk.allowed()
        walk.take(token, 0.0)
    assert (walk.done, walk.text) == (True, '["Drama","Music","Western"]')


def test_none_is_an_empty_list_or_the_code_of_none(base: CausalLM) -> None:
    free = replace(TMDB, allow_none=True)
    (listed,) = tokenised(base, PromptSetup(free, "json_list"), [example()], LONG).examples
    assert base.decode([tokens[0] for tokens in listed.target_ids[:-1]]) == "[]"
    (coded,) = tokenised(base, PromptSetup(free, "label_tokens"), [example()], LONG).examples
    assert coded.target_ids == ((base.code("0"),),)


def test_under_letters_every_true_labels_code_is_right_at_one_place(base: CausalLM) -> None:
    (lesson,) = tokenised(base, PromptSetup(TMDB, "label_tokens"), [example("Action", "Animation")], LONG).examples
    assert lesson.target_ids == ((base.code("A"), base.code("C")),)


def test_names_are_taught_at_the_places_where_they_part(base: CausalLM) -> None:
    orders = Taxonomy("orders", tuple(map(Label, ("change", "change order", "change address", "refund"))))
    first, order, address, refund = (base.encode(name) for name in orders.names)
    assert (order[:1], address[:1]) == (first, first), "the names share a token"
    end = base.tokenizer.eos_token_id

    def taught(*labels: str) -> list[tuple[int, Any]]:
        lessons = tokenised(base, PromptSetup(orders, "label_likelihood"), [example(*labels)], LONG).examples
        return [(len(lesson.prompt_ids) - len(lessons[0].prompt_ids), lesson.target_ids) for lesson in lessons]

    assert taught("refund") == [(0, ((refund[0],),))]
    assert taught("change address", "refund") == [(0, ((first[0], refund[0]),)), (1, ((address[1],),))]
    assert taught("change", "change order") == [(0, ((first[0], first[0]),)), (1, ((end, order[1]),))]


def test_none_of_these_is_taught_by_its_name(base: CausalLM) -> None:
    free = replace(TMDB, allow_none=True)
    (named,) = tokenised(base, PromptSetup(free, "label_likelihood"), [example()], LONG).examples
    assert named.target_ids == ((base.encode("none of these")[0],),)


def test_yes_and_no_are_taught_equally_often_as_they_are_asked(base: CausalLM) -> None:
    some = [example("Action", "War"), example("War", name="2")]
    taught = tokenised(base, PromptSetup(TMDB, "yes_no"), some, LONG).examples
    answers = [base.decode([lesson.target_ids[0][0]]).strip() for lesson in taught]
    assert answers == ["Yes", "Yes", "No", "No", "Yes", "No"]
    model = LanguageModel(LocalBackend.from_loaded(base, "tiny"), STRATEGIES["yes_no"])
    asked = dict(zip(TMDB.names, base.tokens(model.conversations(some[0].text, TMDB)), strict=True))
    assert [lesson.prompt_ids for lesson in taught[:2]] == [asked["Action"], asked["War"]]
    others = [lesson.prompt_ids for lesson in taught[2:4]]
    assert all(other in asked.values() and other not in (asked["Action"], asked["War"]) for other in others)


def test_what_cannot_be_taught_whole_is_counted_and_said(base: CausalLM) -> None:
    narrow = replace(TMDB, max_labels=1)
    some = [
        example("Drama", "War", name="1"),
        example("Drama", name="2"),
        example("Drama", name="3", complete=False),
        example("War", "Drama", text="Fog. " * 3_000, name="4"),
        example("Drama", name="5"),
    ]
    taught = tokenised(base, PromptSetup(narrow, "json_list"), some, LONG)
    assert taught.counts == {SHORTENED: 2, INCOMPLETE: 1, TOO_LONG: 1}
    first = [base.decode([tokens[0] for tokens in lesson.target_ids[:-1]]) for lesson in taught.examples]
    assert first == ['["War"]', '["Drama"]', '["Drama"]'], "the rarer label is kept"
    assert len(tokenised(base, PromptSetup(narrow, "json_list"), some, LONG, incomplete=True).examples) == 4
    with pytest.raises(InvalidDataset, match="no training example remains: 1 with incomplete labels"):
        tokenised(base, PromptSetup(TMDB, "json_list"), some[2:3], LONG)


def test_a_taxonomy_beyond_the_letters_is_refused(base: CausalLM) -> None:
    many = Taxonomy("many", tuple(Label(f"label {number}") for number in range(53)))
    with pytest.raises(InvalidSetting, match="label_tokens supports 52 labels at most, and many has 53"):
        tokenised(base, PromptSetup(many, "label_tokens"), [example("label 1")], LONG)


def test_the_prompts_used_are_told_by_name_and_digest() -> None:
    some = [example("War"), Example("2", Text("", "Rio"), ("War",))]
    assert PromptSetup(TMDB, "json_list").prompts(some) == sorted(
        f"{name}@{registry.prompt(name).digest}" for name in ("plot.v2", "title.v2")
    )
    assert json.dumps(PromptSetup(SENTIMENT, "label_tokens", registry.prompt("text")).prompts(some)) == json.dumps(
        [f"text.v2@{registry.prompt('text').digest}"]
    )
