"""LabelEmbeddingCache: what a spelling means, and what is refused."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import registry
from prompts.errors import InvalidPrompt, InvalidTaxonomy, UnknownName
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import load_taxonomy
from prompts.template import LABEL_NAME
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")


def of(*names: str, **shape: bool | int | str) -> Taxonomy:
    return Taxonomy("own", tuple(Label(name) for name in names), **shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "spelling", ["Science Fiction", "science fiction", "SCI-FI", "sci fi", "SF", "sci_fi", " Sci‑Fi. ", "**Sci-Fi**"]
)
def test_case_punctuation_and_aliases_do_not_matter(spelling: str) -> None:
    assert TMDB.resolve(spelling) == "Science Fiction"


@pytest.mark.parametrize("spelling", ["", " ", "Cooking", "Science", "Dramas and more", "🎬", "\x00"])
def test_other_words_mean_nothing(spelling: str) -> None:
    assert TMDB.resolve(spelling) is None


def test_languages_grades_and_ranges_stay_apart() -> None:
    assert of("C", "C++", "C#").resolve("c++") == "C++"
    assert of("-1", "0", "1").resolve("-1") == "-1"
    assert of("1.5", "15").resolve("1.5") == "1.5"
    assert of("+", "-").resolve("-") == "-"
    assert of("👍", "👎").resolve("👎") == "👎"
    assert of("R&B").resolve("r and b") == "R&B"


@given(st.text(max_size=40))
def test_whatever_resolves_is_in_the_taxonomy(spelling: str) -> None:
    assert TMDB.resolve(spelling) in {None, *TMDB.names}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([Label("Drama"), Label("Drama")], "'Drama' occurs twice"),
        ([Label("Sci-Fi"), Label("sci fi")], "differ only in case or punctuation"),
        ([Label("Sci-Fi", aliases=("SF",)), Label("San Francisco", aliases=("S.F.",))], "also means 'Sci-Fi'"),
        ([Label("Music"), Label("Opera", aliases=("music",))], "also means 'Music'"),
        ([Label(" ")], "empty name"),
        ([Label("Drama", aliases=("",))], "empty name or alias"),
        ([], "no label to predict"),
        ([Label("Short", predict=False)], "no label to predict"),
    ],
)
def test_a_taxonomy_that_cannot_work_is_refused_in_words(labels: list[Label], said: str) -> None:
    with pytest.raises(InvalidTaxonomy, match=said):
        Taxonomy("own", tuple(labels))


def test_labels_kept_out_of_prediction_are_known_but_never_answered() -> None:
    assert "Foreign" not in TMDB.names
    assert TMDB.resolve("Foreign") is None
    assert TMDB.known("foreign film") == "Foreign"


def test_in_order_gives_taxonomy_order_and_drops_strangers() -> None:
    assert TMDB.in_order(["War", "Action", "War", "Cooking"]) == ("Action", "War")


def test_a_single_label_taxonomy_gives_one() -> None:
    assert of("a", "b", multi=False, max_labels=5).max_labels == 1


def test_shaped_changes_the_answer_and_not_the_labels() -> None:
    assert TMDB.shaped(max_labels=2).max_labels == 2
    assert TMDB.shaped(multi=False).max_labels == 1
    assert of("a", "b", "c", multi=False).shaped(multi=True).max_labels == 3
    assert TMDB.shaped() is TMDB
    assert TMDB.shaped(multi=True, max_labels=TMDB.max_labels) is TMDB
    assert TMDB.shaped(max_labels=2) is TMDB.shaped(max_labels=2), "spelled out once, not for every request"
    with pytest.raises(InvalidTaxonomy, match="max_labels cannot be 3"):
        TMDB.shaped(multi=False, max_labels=3)
    assert (TMDB.attribute, TMDB.shaped(attribute="style").attribute) == ("genre", "style")


@pytest.mark.parametrize("attribute", ["", " ", " genre", "genre\n", "a\nb", "x" * 51, 7])
def test_an_attribute_is_a_word_or_two_wherever_it_is_given(tmp_path: Path, attribute: Any) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps({"labels": ["a", "b"], "attribute": attribute}))
    calls: list[Callable[[], Taxonomy]] = [
        lambda: Taxonomy.of(["a", "b"], attribute=attribute),
        lambda: Hierarchy.of({"a": ["b"]}, attribute=attribute),
        lambda: TMDB.shaped(attribute=attribute),
        lambda: load_taxonomy(path),
    ]
    for refused in calls:
        with pytest.raises(InvalidTaxonomy, match=r"attribute:? is "):
            refused()
    assert Taxonomy.of(["a", "b"], attribute="tone of voice").attribute == "tone of voice"
    assert Hierarchy.of({"a": ["b"]}, attribute="x" * 50).step("").attribute == "x" * 50


def test_the_digest_changes_with_anything_that_matters() -> None:
    digests = {
        taxonomy.digest
        for taxonomy in (
            of("a", "b"),
            of("b", "a"),
            of("a", "b", multi=False),
            of("a", "b", max_labels=1),
            of("a", "b", allow_none=True),
            Taxonomy("own", (Label("a", "first"), Label("b"))),
            of("a", "b", attribute="topic"),
        )
    }
    assert len(digests) == 7
    assert of("a", "b").digest == of("a", "b").digest


@pytest.mark.parametrize(
    ("attribute", "plural"),
    [
        ("label", "labels"),
        ("category", "categories"),
        ("day", "days"),
        ("class", "classes"),
        ("answer type", "answer types"),
    ],
)
def test_a_prompt_names_what_the_labels_are_about(attribute: str, plural: str) -> None:
    taxonomy = replace(Taxonomy.of(["a", "b"]), attribute=attribute)
    system, user = registry.prompt("text.v2").render(Text("x"), taxonomy, LABEL_NAME)
    assert system["content"].startswith(f"You classify texts by {attribute}.\nThe {plural} are: a, b.\n\nThe text")
    assert user["content"].endswith(f"What is the {attribute} of this text? Answer with the {attribute} only.")


def test_digests_are_older_than_the_attribute() -> None:
    """Stored answers, thresholds and models name a taxonomy by its digest."""
    stored = Taxonomy.of(["a", "b"], multi=True, allow_none=True)
    assert stored.digest == "43b522e5fd76"
    assert replace(stored, attribute="topic").digest != stored.digest


def test_the_shipped_taxonomies_are_whole() -> None:
    assert len(registry.taxonomy("tmdb").labels) == 20
    assert len(registry.taxonomy("imdb").names) == 22
    assert registry.taxonomy("sentiment").names == ("positive", "negative")
    for taxonomy in registry.taxonomies().values():
        assert all(label.description and label.aliases for label in taxonomy.labels), taxonomy.name


@pytest.mark.parametrize("there", ["Sci-Fi", "Science Fiction", "SF", "sci fi"])
def test_both_catalogues_know_the_same_genre_by_either_name(there: str) -> None:
    assert registry.taxonomy("imdb").resolve(there) == "Sci-Fi"
    assert registry.taxonomy("tmdb").resolve(there) == "Science Fiction"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labels: [{name: a}]\nmax_label: 3", "max_label: unknown key; did you mean 'max_labels'"),
        ("labels: [{name: a, descripton: x}]", r"labels.0.descripton: unknown key; did you mean 'description'"),
        ("multi: true", "labels is missing; give it"),
        ("labels: [{name: [7]}]", "labels.0.name"),
        ("labels: [{name: null}]", "labels.0.name"),
        ("labels: [{name: a}]\nlabels: [{name: b}]", r"own\.yaml:2: the key 'labels' is given twice, first in line 1"),
        ("labels:\n  - name: a\n    name: b", r"own\.yaml:3: the key 'name' is given twice"),
        ("multi: true\nlabels: [a]\nmulti: false", r"own\.yaml:3: the key 'multi' is given twice"),
        ("labels:\n  - {name: a, aliases: [b], aliases: [c]}", r"own\.yaml:2: the key 'aliases' is given twice"),
        ("- a\n- b", "the file is a list; give an object"),
        ("labels: [", r"own\.yaml:1 is not YAML"),
        ("multi: true\nlabels:\n  - name: a\n name: b", r"own\.yaml:4 is not YAML"),
        ("labels: [a]\n# \x00", r"own\.yaml:2 is not text in UTF-8"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place_of_the_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InvalidTaxonomy, match=said):
        load_taxonomy(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("labels: [billing, crash]", ("billing", "crash")),
        ("labels: [0, 1]", ("0", "1")),
        ("labels: [{name: 0}, {name: 1, aliases: [yes, 7]}]", ("0", "1")),
        ("labels:\n  - name: no\n  - name: yes\n  - off", ("no", "yes", "off")),
        ("labels: [1.0, 1.50, .5]", ("1.0", "1.50", ".5")),
        ("labels: [2024-01-31, 12:30, 0x1F, 1e3]", ("2024-01-31", "12:30", "0x1F", "1e3")),
        ("labels: [true, False, 'null']", ("true", "False", "null")),
        ("\ufefflabels: [a, b]", ("a", "b")),
    ],
)
def test_names_are_the_words_that_the_file_shows(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    assert load_taxonomy(tmp_path / "own.yaml").names == names


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("labels: [a, é]".encode("utf-16"), 1),
        ("subject: film\nlabels: [é]".encode("latin-1"), 2),
        ("labels: [a]\n".encode("utf-16-le"), 1),
        (b"multi: true\n\nlabels: [a\x00]", 3),
    ],
)
@pytest.mark.parametrize("name", ["own.yaml", "own.v1.jinja"])
def test_a_file_in_another_encoding_is_refused_with_its_name_and_the_line(
    tmp_path: Path, content: bytes, line: int, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((InvalidTaxonomy, InvalidPrompt), match=f"{path}:{line} is .*save the file as UTF-8"):
        load_taxonomy(path) if name.endswith(".yaml") else registry.load_prompt(path)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of taxonomies and prompts of which one file each can be used."""
    monkeypatch.setattr(registry, "TAXONOMIES", tmp_path)
    monkeypatch.setattr(registry, "TEMPLATES", tmp_path)
    (tmp_path / "good.yaml").write_text("labels: [a, b]")
    (tmp_path / "good.v1.jinja").write_text("--- system ---\n{{ taxonomy.name }}\n--- user ---\n{{ text }}\n")
    _forget()
    yield tmp_path
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    registry.forget()


@pytest.mark.parametrize("content", [b"labels: [", b"labels: []", b"\xff\xfe", b"", b"- a", b"labels: [a, a]"])
def test_one_faulty_taxonomy_is_reported_and_the_others_work(
    folders: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (folders / "bad.yaml").write_bytes(content)
    assert list(registry.taxonomies()) == ["good"]
    assert registry.taxonomy("good").names == ("a", "b")
    assert "bad" in caplog.text
    with pytest.raises(InvalidTaxonomy, match="bad"):
        registry.taxonomy("bad")


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("bad.v1.jinja", b"no sections", "bad"),
        ("bad.v1.jinja", b"--- system ---\n{% if %}\n--- user ---\n", "bad.v1"),
        ("bad.v2.jinja", "--- system ---\né\n--- user ---\n".encode("latin-1"), "bad"),
        ("Bad.jinja", b"", "Bad"),
    ],
)
def test_one_faulty_prompt_is_reported_and_the_others_work(
    folders: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes, asked: str
) -> None:
    (folders / name).write_bytes(content)
    assert list(registry.prompts()) == ["good.v1"]
    assert registry.prompt("good").name == "good.v1"
    assert name.partition(".")[0] in caplog.text
    with pytest.raises(InvalidPrompt):
        registry.prompt(asked)


def test_an_unknown_name_is_told_with_the_likely_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'tmdb'"):
        registry.taxonomy("tmbd")
