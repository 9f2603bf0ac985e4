"""Sentences, tokens and lemmas of a text, from spaCy where a model of it is installed, else from simplemma."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from prompts.errors import InvalidSetting

AUTO, SIMPLEMMA = "auto", "simplemma"
_SPACY = "spacy:"
_MODELS = (
    "{}_core_web_trf",
    "{}_core_web_lg",
    "{}_core_web_md",
    "{}_core_web_sm",
    "{}_core_news_lg",
    "{}_core_news_sm",
)
_NO_WORD = frozenset(("PUNCT", "SYM", "SPACE"))


@dataclass(frozen=True)
class Word:
    """A token, as CoNLL-U has it; None where nobody told.

    Attributes:
        form: as the text has it.
        lemma: its dictionary form.
        space_after: whether a space follows in the text.
        head: place of the word that it hangs on, from 1; 0 for the root.
    """

    form: str
    lemma: str
    space_after: bool
    upos: str | None = None
    xpos: str | None = None
    feats: dict[str, str] = field(default_factory=dict)
    head: int | None = None
    deprel: str | None = None

    @property
    def is_word(self) -> bool:
        """Whether it is more than a mark."""
        return any(map(str.isalnum, self.form)) and self.upos not in _NO_WORD


@dataclass(frozen=True)
class Sentence:
    """A sentence; its words and their spaces give ``text`` again, and ``space_after`` how the next one follows."""

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Annotator:
    """Takes texts apart.

    Attributes:
        name: which library and model.
        versions: of both.
        annotate: the sentences of each text; texts hold single spaces only.
    """

    name: str
    versions: dict[str, str]
    annotate: Callable[[Iterable[str]], Iterator[list[Sentence]]]


def annotator(wanted: str, language: str) -> Annotator:
    """The annotator of a setting.

    Args:
        wanted: ``auto``, ``simplemma``, or ``spacy:`` and the name or folder of a model.
        language: ISO 639 code.

    Raises:
        InvalidSetting: spaCy, the model or the language is not there.
    """
    if wanted.startswith(_SPACY):
        return _spacy(wanted.removeprefix(_SPACY))
    model = _installed(language) if wanted == AUTO else None
    return _spacy(model) if model else _simplemma(language)


def _simplemma(language: str) -> Annotator:
    import simplemma

    try:
        simplemma.lemmatize("word", language)
    except ValueError:
        raise InvalidSetting(f"simplemma has no lemmas for language {language!r}") from None

    def annotate(texts: Iterable[str]) -> Iterator[list[Sentence]]:
        return (_taken_apart(text, language) for text in texts)

    return Annotator(SIMPLEMMA, {"simplemma": version("simplemma")}, annotate)


def _taken_apart(text: str, language: str) -> list[Sentence]:
    from simplemma import lemmatize, simple_tokenizer, split_sentences

    sentences = []
    for start, end in _places(text, split_sentences(text, language)):
        sentence = text[start:end]
        words = []
        for first, last in _places(sentence, simple_tokenizer(sentence)):
            form, follows = sentence[first:last], text[start + last : start + last + 1]
            lemma = " ".join(lemmatize(form, language).split()) or form
            words.append(Word(form, lemma, follows in ("", " ")))
        sentences.append(Sentence(sentence, tuple(words)))
    return sentences


def _places(text: str, pieces: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where pieces stand in a text; what stands between two of them and is no space is a piece too: nothing is lost."""
    edges = [(0, 0)]
    for piece in pieces:
        start = text.find(piece, edges[-1][1])
        if piece and start >= 0:
            edges.append((start, start + len(piece)))
    edges.append((len(text), len(text)))
    for (_, before), (start, end) in pairwise(edges):
        at = before
        for gap in text[before:start].split():
            at = text.index(gap, at)
            yield at, at + len(gap)
            at += len(gap)
        if end > start:
            yield start, end


def _installed(language: str) -> str | None:
    """The best of spaCy's models that is installed."""
    try:
        from spacy.util import is_package
    except ImportError:
        return None
    names = (name.format(language) for name in _MODELS)
    return next((name for name in names if is_package(name)), None)


def _spacy(model: str) -> Annotator:
    try:
        import spacy
    except ImportError:
        raise InvalidSetting("spaCy is not installed: pip install spacy, or take lemmatiser: simplemma") from None
    try:
        nlp = spacy.load(model)
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"spaCy has no model {model!r}: {str(error).splitlines()[0]}") from None
    if not {"parser", "senter", "sentencizer"} & set(nlp.pipe_names):
        nlp.add_pipe("sentencizer")

    def annotate(texts: Iterable[str]) -> Iterator[list[Sentence]]:
        return ([_sentence(span) for span in doc.sents] for doc in nlp.pipe(texts))

    versions = {"spacy": spacy.__version__, "model": f"{nlp.meta['name']} {nlp.meta['version']}"}
    return Annotator(f"{_SPACY}{model}", versions, annotate)


def _sentence(span: Any) -> Sentence:
    """One of spaCy's sentences, whose parts of speech and heads may be untold."""
    parsed = span.doc.has_annotation("DEP")
    return Sentence(
        span.text.strip(),
        tuple(
            Word(
                token.text, token.lemma_ or token.text, bool(token.whitespace_) or token.i + 1 == len(span.doc),
                token.pos_ or None, token.tag_ or None, dict(token.morph.to_dict()),
                (0 if token.head.i == token.i else token.head.i - span.start + 1) if parsed else None,
                (("root" if token.dep_ == "ROOT" else token.dep_) or None) if parsed else None,
            )
            for token in span
            if not token.is_space
        ),
    )  # fmt: skip
