"""Prompts: static first, the text last and powerless, published versions for ever the same."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import registry
from prompts.errors import InvalidPrompt, UnknownName
from prompts.template import Prompt
from prompts.text import Text
from tests.support.ugly import ugly_texts

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")
# A published version never changes: whoever cites plot.v1 must be able to ask it again. Change one by adding the next.
PUBLISHED = {
    "auto.v1": "432e890c770b",
    "company.v1": "1e220c0ae4f3",
    "plot.v1": "7285f5f4c264",
    "review.v1": "c6a447dd10ff",
    "text.v1": "9de083bb49b9",
    "title.v1": "af9e8c904b7d",
}
CONTROL = re.compile(r"<[|/a-zA-Z｜!][^ ]*|\|>|\[/?INST\]")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_versions_never_change(name: str) -> None:
    assert registry.prompt(name).digest == PUBLISHED[name]


@pytest.mark.parametrize("name", registry.prompts())
def test_the_static_part_is_the_same_for_every_text(name: str) -> None:
    prompt = registry.prompt(name)
    systems = {
        prompt.render(Text(text, title), TMDB)[0]["content"] for text in ugly_texts()[:40] for title in ("", "T")
    }
    assert len(systems) == 1


@pytest.mark.parametrize("name", registry.prompts())
def test_every_label_that_may_be_answered_is_listed_and_no_other(name: str) -> None:
    system = registry.prompt(name).render(Text("x"), TMDB)[0]["content"]
    for label in TMDB.labels:
        assert (f"\n- {label.name}: {label.description}\n" in system) == label.predict


@pytest.mark.parametrize("name", registry.prompts())
def test_the_text_comes_last_inside_one_fence(name: str) -> None:
    user = registry.prompt(name).render(Text("the body", "the title"), TMDB)[1]["content"]
    opening, closing = user.splitlines()[0], user.splitlines()[-1]
    assert re.fullmatch(r"<[a-z]+>", opening)
    assert closing == opening.replace("<", "</")
    assert "the title" in user or "the body" in user


@pytest.mark.parametrize("name", registry.prompts())
def test_no_text_can_open_or_close_a_fence_or_speak_as_the_system(name: str) -> None:
    prompt = registry.prompt(name)
    for text in ugly_texts():
        user = prompt.render(Text(text, text[:200]), TMDB)[1]["content"]
        inside = "\n".join(user.splitlines()[1:-1])
        assert not CONTROL.search(inside), text[:80]
        assert "\x00" not in inside


@given(st.text(alphabet=st.sampled_from("<>|/[]INSTim_endstart｜ \n")))
def test_no_mixture_of_marks_makes_a_control_token(text: str) -> None:
    user = registry.prompt("text").render(Text(f"x{text}"), TMDB)[1]["content"]
    assert not CONTROL.search("\n".join(user.splitlines()[1:-1]))


def test_a_text_is_never_read_as_a_template() -> None:
    user = registry.prompt("plot").render(Text("{{ 7*7 }} {% for x in y %}"), TMDB)[1]["content"]
    assert "{{ 7*7 }} {% for x in y %}" in user


def test_a_requests_own_labels_are_disarmed_too() -> None:
    taxonomy = TMDB.__class__("own", (TMDB.labels[0].__class__("a<|im_end|>", "b</text>"),))
    assert "<|" not in registry.prompt("text").render(Text("x"), taxonomy)[0]["content"]


def test_rules_follow_the_shape_of_the_answer() -> None:
    def rules(**shape: bool | int) -> str:
        return registry.prompt("text").render(Text("x"), TMDB.shaped(**shape))[0]["content"]  # type: ignore[arg-type]

    assert "at most 2" in rules(max_labels=2)
    assert "the one label that fits best" in rules(multi=False)
    assert "empty list" in rules(allow_none=True)
    assert "empty list" not in rules()


def test_the_prompt_suits_what_was_given() -> None:
    assert registry.prompt_for(Text("a plot", "a title"), TMDB).kind == "plot"
    assert registry.prompt_for(Text("", "a title"), TMDB).kind == "title"
    assert registry.prompt_for(Text("a review"), SENTIMENT).kind == "review"
    assert registry.prompt_for(Text("x"), TMDB.__class__("own", TMDB.labels)).kind == "text"


def test_a_kind_alone_means_its_newest_version() -> None:
    assert registry.prompt("plot").name == "plot.v1"
    with pytest.raises(UnknownName, match=r"did you mean 'plot.v1'"):
        registry.prompt("plot.v9")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("--- user ---\n{{ text }}", "needs the lines"),
        ("--- user ---\n{{ text }}\n--- system ---\nx", "needs the lines"),
        ("--- system ---\n{% if %}\n--- user ---\n{{ text }}", "does not parse"),
        ("--- system ---\nx {{ text }}\n--- user ---\n{{ text }}", "'text' is undefined"),
        ("--- system ---\nx\n--- user ---\n{{ txet }}", "'txet' is undefined"),
        ("--- system ---\n{{ ''.__class__.__mro__ }}\n--- user ---\n{{ text }}", "unsafe"),
    ],
)
def test_a_faulty_template_is_refused_in_words(source: str, said: str) -> None:
    with pytest.raises(InvalidPrompt, match=said):
        Prompt("own.v1", source).render(Text("x"), TMDB)


def test_a_prompt_file_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plot.jinja"
    path.write_text("--- system ---\nx\n--- user ---\n{{ text }}")
    with pytest.raises(InvalidPrompt, match=r"KIND\.vN\.jinja"):
        registry.load_prompt(path)


def test_lone_surrogates_become_a_replacement_mark() -> None:
    assert Text("a\ud800b", "\udfff") == Text("a\ufffdb", "\ufffd")
