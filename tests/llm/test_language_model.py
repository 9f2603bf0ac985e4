"""A language model as a classifier: the laws of the seam, whatever the backend does."""

import pytest

from llm.backends.backend import Conversation, FakeBackend
from llm.classifier import Problem
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from prompts import registry
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")


def model(backend: FakeBackend, prompt: str | None = None) -> LanguageModel:
    return LanguageModel(backend, JSONList(), registry.prompt(prompt) if prompt else None)


def echo(conversation: Conversation) -> str:
    """Answers with the genre that the text names."""
    return f'["{conversation[1]["content"].split("</")[0].split()[-1]}"]'


def test_predictions_come_in_the_order_of_the_texts() -> None:
    texts = ["Drama", "War", "Horror", "Drama", "Comedy"] * 5
    assert [p.labels[0] for p in model(FakeBackend(echo)).classify(texts, TMDB)] == texts


def test_one_text_is_a_batch_of_one_and_none_is_none() -> None:
    assert len(model(FakeBackend(echo)).classify(["Drama"], TMDB)) == 1
    assert model(FakeBackend(echo)).classify([], TMDB) == []


def test_a_failing_text_does_not_fail_its_batch() -> None:
    def fails_at_war(conversation: Conversation) -> str | Problem:
        return Problem("busy", "later", 3) if "War\n" in conversation[1]["content"] else echo(conversation)

    first, second, third = model(FakeBackend(fails_at_war)).classify(["Drama", "War", "Horror"], TMDB)
    assert (first.labels, third.labels) == (("Drama",), ("Horror",))
    assert second.labels == ()
    assert second.problem == Problem("busy", "later", 3)


def test_an_empty_text_is_a_problem_and_asks_nobody() -> None:
    def never(conversation: Conversation) -> str:
        raise AssertionError("asked")

    (prediction,) = model(FakeBackend(never)).classify([" \n"], TMDB)
    assert prediction.problem is not None
    assert prediction.problem.kind == "empty"


def test_the_source_says_who_answered_to_what() -> None:
    source = model(FakeBackend(echo, "qwen")).classify(["Drama"], TMDB)[0].source
    assert source.model == "qwen"
    assert source.prompt == f"plot.v2@{registry.prompt('plot').digest}"
    assert source.taxonomy == f"tmdb@{TMDB.digest}"
    assert source.strategy == "json_list"


def test_the_prompt_follows_each_text_unless_one_is_named() -> None:
    texts = [Text("Drama"), Text("", "Drama")]
    kinds = [p.source.prompt for p in model(FakeBackend(echo)).classify(texts, TMDB)]
    assert [str(kind)[:5] for kind in kinds] == ["plot.", "title"]
    named = model(FakeBackend(echo), prompt="auto").classify(texts, TMDB)
    assert {str(p.source.prompt)[:7] for p in named} == {"auto.v2"}


def test_an_error_of_the_program_is_not_hidden_as_a_problem() -> None:
    def broken(conversation: Conversation) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model(FakeBackend(broken)).classify(["x"], TMDB)


def test_the_fingerprint_changes_with_everything_that_an_answer_depends_on() -> None:
    text = Text("a", "b")
    mine = model(FakeBackend(echo))
    prints = {
        mine.fingerprint(text, TMDB),
        mine.fingerprint(Text("a"), TMDB),
        mine.fingerprint(Text("A", "b"), TMDB),
        mine.fingerprint(text, TMDB.shaped(max_labels=2)),
        mine.fingerprint(text, registry.taxonomy("imdb")),
        model(FakeBackend(echo), prompt="auto").fingerprint(text, TMDB),
        model(FakeBackend(echo, "other")).fingerprint(text, TMDB),
    }
    assert len(prints) == 7
    assert mine.fingerprint(text, TMDB) == model(FakeBackend(echo)).fingerprint(text, TMDB)


def test_the_constraint_lists_the_taxonomy_and_bounds_the_answer() -> None:
    constraint = JSONList().constraint(TMDB)
    labels = constraint.schema
    assert labels["items"]["enum"] == list(TMDB.names)
    assert (labels["minItems"], labels["maxItems"]) == (1, 5)
    assert "uniqueItems" not in labels
    longest = '{"labels": ["' + '", "'.join(sorted(TMDB.names, key=len)[-5:]) + '"]}'
    assert len(longest.encode()) <= constraint.max_tokens < 200
    assert JSONList().constraint(TMDB.shaped(allow_none=True)).schema["minItems"] == 0
