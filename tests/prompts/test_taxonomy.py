"""Vocabularies: what a spelling means, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import shelf
from prompts.errors import InvalidTaxonomy, UnknownName
from prompts.taxonomy import Label, Taxonomy

TMDB = shelf.taxonomy("tmdb")


def of(*names: str, **shape: bool | int) -> Taxonomy:
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
def test_whatever_resolves_is_in_the_vocabulary(spelling: str) -> None:
    assert TMDB.resolve(spelling) in {None, *TMDB.names}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([Label("Drama"), Label("Drama")], "'Drama' stands twice"),
        ([Label("Sci-Fi"), Label("sci fi")], "differ only in case or punctuation"),
        ([Label("Sci-Fi", aliases=("SF",)), Label("San Francisco", aliases=("S.F.",))], "also means 'Sci-Fi'"),
        ([Label("Music"), Label("Opera", aliases=("music",))], "also means 'Music'"),
        ([Label(" ")], "empty name"),
        ([Label("Drama", aliases=("",))], "empty name or alias"),
        ([], "no label to predict"),
        ([Label("Short", predict=False)], "no label to predict"),
    ],
)
def test_a_vocabulary_that_cannot_work_is_refused_in_words(labels: list[Label], said: str) -> None:
    with pytest.raises(InvalidTaxonomy, match=said):
        Taxonomy("own", tuple(labels))


def test_labels_kept_out_of_prediction_are_known_but_never_answered() -> None:
    assert "Foreign" not in TMDB.names
    assert TMDB.resolve("Foreign") is None
    assert TMDB.known("foreign film") == "Foreign"


def test_in_order_gives_vocabulary_order_and_drops_strangers() -> None:
    assert TMDB.in_order(["War", "Action", "War", "Cooking"]) == ("Action", "War")


def test_a_single_label_vocabulary_gives_one() -> None:
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
        )
    }
    assert len(digests) == 6
    assert of("a", "b").digest == of("a", "b").digest


def test_the_shipped_vocabularies_are_whole() -> None:
    assert len(shelf.taxonomy("tmdb").labels) == 20
    assert len(shelf.taxonomy("imdb").names) == 22
    assert shelf.taxonomy("sentiment").names == ("positive", "negative")
    for taxonomy in shelf.taxonomies().values():
        assert all(label.description and label.aliases for label in taxonomy.labels), taxonomy.name


@pytest.mark.parametrize("there", ["Sci-Fi", "Science Fiction", "SF", "sci fi"])
def test_both_catalogues_know_the_same_genre_by_either_name(there: str) -> None:
    assert shelf.taxonomy("imdb").resolve(there) == "Sci-Fi"
    assert shelf.taxonomy("tmdb").resolve(there) == "Science Fiction"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labels: [{name: a}]\nmax_label: 3", "max_label: unknown key; did you mean 'max_labels'"),
        ("labels: [{name: a, descripton: x}]", "labels.0.descripton: unknown key; did you mean 'description'"),
        ("multi: true", "labels is missing; give it"),
        ("labels: [{name: 7}]", "labels.0.name"),
        ("labels: [{name: yes}]", "labels.0.name"),  # YAML reads yes as true
        ("- a\n- b", "the file is a list; give an object"),
        ("labels: [", "not YAML"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place_of_the_fault(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InvalidTaxonomy, match=said):
        shelf.load_taxonomy(path)


def test_an_unknown_name_is_told_with_the_likely_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'tmdb'"):
        shelf.taxonomy("tmbd")
