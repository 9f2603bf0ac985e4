"""Prompts: the static part first, the text last and in a fence; published versions never change."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import registry
from prompts.errors import InvalidPrompt, UnknownName
from prompts.taxonomy import Taxonomy
from prompts.template import JSON_LIST, LABEL_NAME, LABEL_TOKENS, TEMPLATES, AnswerFormat, Prompt, decision_prompt
from prompts.text import Text
from tests.support.ugly import ugly_texts

TMDB, SENTIMENT = registry.taxonomy("tmdb"), registry.taxonomy("sentiment")
# A published version never changes, so that an evaluation can be repeated. Add the next version instead.
PUBLISHED = {
    "auto.v1": "d21965998313",
    "auto.v2": "65741aa3beea",
    "company.v1": "c817d7edaa7f",
    "company.v2": "3f5fdb8a42a8",
    "plot.v1": "366d5f088bcd",
    "plot.v2": "e9b953842afd",
    "review.v1": "67f013a122eb",
    "review.v2": "2bb1ab35c7e4",
    "text.v1": "579ae4043a15",
    "text.v2": "facb75976aaf",
    "title.v1": "e554c3ed8872",
    "title.v2": "9e375a5c287d",
}
DECISIONS = {"decision.v1": "d55a1e3a76d5", "decision.v2": "b85f3e1ba376"}
CONTROL = re.compile(r"<[|/a-zA-Z｜!][^ ]*|\|>|\[/?INST\]")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_versions_never_change(name: str) -> None:
    assert registry.prompt(name).digest == PUBLISHED[name]


@pytest.mark.parametrize("name", DECISIONS)
def test_published_decision_prompts_never_change(name: str) -> None:
    assert decision_prompt(name=name).digest == DECISIONS[name]


def test_every_prompt_of_the_repository_is_published() -> None:
    assert set(registry.prompts()) == set(PUBLISHED)
    assert {path.stem for path in (TEMPLATES / "decisions").iterdir()} == set(DECISIONS)


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


# What the templates of version 2 call the text.
THINGS = (
    dict.fromkeys(("plot.v2", "title.v2"), "film")
    | {f"{kind}.v2": kind for kind in ("company", "review", "text")}
    | {"auto.v2": "input"}
)


def parts(user: str) -> tuple[str, str]:
    """What is inside the fence, and the question after it."""
    opening, *lines = user.splitlines()
    assert re.fullmatch(r"<[a-z]+>", opening)
    closing = len(lines) - 1 - lines[::-1].index(opening.replace("<", "</"))
    return "\n".join(lines[:closing]), "\n".join(lines[closing + 1 :]).strip()


def test_descriptions_follow_the_names_and_labels_without_one_are_not_listed_again() -> None:
    taxonomy = Taxonomy.of({"refund": "money back", "other": ""}, allow_none=False)
    system = registry.prompt("text.v2").render(Text("x"), taxonomy, LABEL_NAME)[0]["content"]
    assert "The categories are: refund, other.\n\nWhat they mean:\n- refund: money back\n\nThe text is" in system


@pytest.mark.parametrize("name", registry.prompts())
def test_the_text_comes_inside_one_fence_before_the_question(name: str) -> None:
    user = registry.prompt(name).render(Text("the body", "the title"), TMDB)[1]["content"]
    fenced, after = parts(user)
    assert "the title" in fenced or "the body" in fenced
    assert after == (
        "" if name.endswith(".v1") else f"Which genres fit this {THINGS[name]}? Answer with a JSON list of genres only."
    )


@pytest.mark.parametrize("name", registry.prompts())
def test_no_text_can_open_or_close_a_fence_or_speak_as_the_system(name: str) -> None:
    prompt = registry.prompt(name)
    for text in ugly_texts():
        user = prompt.render(Text(text, text[:200]), TMDB)[1]["content"]
        inside, _ = parts(user)
        assert not CONTROL.search(inside), text[:80]
        assert "\x00" not in inside


@given(st.text(alphabet=st.sampled_from("<>|/[]INSTim_endstart｜ \n")))
def test_no_mixture_of_marks_makes_a_control_token(text: str) -> None:
    user = registry.prompt("text").render(Text(f"x{text}"), TMDB)[1]["content"]
    assert not CONTROL.search(parts(user)[0])


def test_a_text_is_never_read_as_a_template() -> None:
    user = registry.prompt("plot").render(Text("{{ 7*7 }} {% for x in y %}"), TMDB)[1]["content"]
    assert "{{ 7*7 }} {% for x in y %}" in user


def test_a_requests_own_labels_are_disarmed_too() -> None:
    taxonomy = TMDB.__class__("own", (TMDB.labels[0].__class__("a<|im_end|>", "b</text>"),))
    assert "<|" not in registry.prompt("text").render(Text("x"), taxonomy)[0]["content"]


@pytest.mark.parametrize("name", ["text.v1", "text.v2"])
def test_rules_follow_the_shape_of_the_answer(name: str) -> None:
    def rules(question: AnswerFormat = JSON_LIST, **shape: bool | int) -> str:
        taxonomy = TMDB.shaped(**shape)  # type: ignore[arg-type]
        return "\n".join(str(one["content"]) for one in registry.prompt(name).render(Text("x"), taxonomy, question))

    assert "at most 2" in rules(max_labels=2)
    assert re.search("the one (label|genre) that fits( the text)? best", rules(multi=False))
    assert "JSON list" in rules()
    assert "empty list" in rules(allow_none=True)
    assert "empty list" not in rules()
    assert re.search(r"\n0\. none of these (labels|genres) applies", rules(LABEL_TOKENS, allow_none=True))
    assert "\n0." not in rules(LABEL_TOKENS)
    assert "character" in rules(LABEL_TOKENS)
    assert "Yes or No" in rules(AnswerFormat("yes_no", TMDB.labels[0]))


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_prompt_has_the_text_in_a_fence_before_the_question(name: str) -> None:
    taxonomy = Taxonomy.of({"refund": "The customer wants money."}, name="own")
    for question in (AnswerFormat("yes_no", taxonomy.labels[0]), LABEL_TOKENS):
        systems = set()
        for text in ugly_texts()[:40]:
            system, user = decision_prompt("Which fits?", name).render(Text(text), taxonomy, question)
            systems.add(system["content"])
            fenced, after = user["content"].split("\n</text>\n")
            assert fenced.startswith("<text>")
            assert not CONTROL.search(fenced.removeprefix("<text>")), text[:80]
            assert "The customer wants money." in after
        assert len(systems) == 1


@pytest.mark.parametrize("name", registry.prompts())
def test_a_label_question_comes_after_the_text(name: str) -> None:
    user = registry.prompt(name).render(Text("body", "title"), TMDB, AnswerFormat("yes_no", TMDB.labels[0]))[-1]
    fenced, question = re.split(r"\n</[a-z]+>\n", user["content"])
    assert TMDB.labels[0].name in question
    assert "Yes or No" in question
    assert TMDB.labels[0].name not in fenced


def test_the_prompt_suits_what_was_given() -> None:
    assert registry.prompt_for(Text("a plot", "a title"), TMDB).kind == "plot"
    assert registry.prompt_for(Text("", "a title"), TMDB).kind == "title"
    assert registry.prompt_for(Text("a review"), SENTIMENT).kind == "review"
    assert registry.prompt_for(Text("x"), TMDB.__class__("own", TMDB.labels)).kind == "text"


@pytest.mark.parametrize("kind", registry.DEFAULT_VERSION)
def test_a_kind_alone_means_its_default_version(kind: str) -> None:
    assert registry.prompt(kind).name == f"{kind}.v2"
    assert registry.prompt(f"{kind}.v1").version == 1


def test_a_prompt_of_an_unknown_version_is_an_error() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'plot.v\d'"):
        registry.prompt("plot.v9")


def test_a_kind_without_a_default_version_means_its_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        name: Prompt(name, "--- system ---\nx\n--- user ---\n{{ text }}") for name in ("own.v1", "own.v2", "own.v10")
    }
    for name, prompt in own.items():
        monkeypatch.setitem(registry.prompts(), name, prompt)
    assert registry.prompt("own").name == "own.v10"


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
