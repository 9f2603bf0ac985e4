"""Sentences, tokens and lemmas: nothing of a text is lost, whatever it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.annotate import Sentence, annotator, blocks
from corpus.config import Row
from corpus.steps import formed
from prompts.errors import InvalidSetting
from tests.support.ugly import emoji, scripts


def together(sentences: list[Sentence]) -> str:
    return "".join(word.form + " " * word.space_after for one in sentences for word in one.words).rstrip()


def holds(text: str) -> None:
    """Nothing is lost on the way into CoNLL-U and back."""
    import conllu

    text = formed(text)
    (sentences,) = annotator("simplemma", "en").annotate([text])
    assert together(sentences) == text
    row: Row = {"id": "a", "title": "T = 1 # x", "year": None, "genres": [], "description": text}
    written = "".join(block.serialize() for block in blocks(row, sentences))
    assert "".join(block.serialize() for block in conllu.parse(written)) == written
    assert [one.metadata["text"] for one in conllu.parse(written)] == [one.text for one in sentences]


@pytest.mark.parametrize(
    "text", [*emoji(), *scripts(), "a = b # c _ __ | d", "__", "#", "1\t2\u2028 3", "e.g. U.S.A.x"]
)
def test_awkward_texts_come_back(text: str) -> None:
    holds(text)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_any_text_comes_back(text: str) -> None:
    if formed(text):
        holds(text)


def test_lemmas_are_dictionary_forms() -> None:
    (sentences,) = annotator("simplemma", "en").annotate(["The wolves were running."])
    assert [word.lemma.lower() for word in sentences[0].words] == ["the", "wolf", "be", "run", "."]


def test_a_model_that_is_not_there_is_told() -> None:
    with pytest.raises(InvalidSetting, match="spaCy"):
        annotator("spacy:xx_no_such_model", "en")


def test_spacy_tells_more_where_it_is_installed() -> None:
    spacy = pytest.importorskip("spacy")
    import tempfile

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    rules = nlp.add_pipe("attribute_ruler")
    rules.add([[{"LOWER": "dogs"}]], {"LEMMA": "dog", "POS": "NOUN", "MORPH": "Number=Plur"})
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        by = annotator(f"spacy:{folder}", "en")
    (sentences,) = by.annotate(["Two dogs bark. They don't bite(much)!"])
    assert together(sentences) == "Two dogs bark. They don't bite(much)!"
    assert [one.text for one in sentences] == ["Two dogs bark.", "They don't bite(much)!"]
    dogs = sentences[0].words[1]
    assert (dogs.lemma, dogs.upos, dogs.feats) == ("dog", "NOUN", {"Number": "Plur"})
