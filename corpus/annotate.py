"""Step 5: sentences, tokens and lemmas as CoNLL-U and in ``clean.csv``, by an installed spaCy model or simplemma."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from corpus.config import ENRICHED, SENTENCES, TABLE, Row, StepContext, StepResult
from lookup.enrich import KNOWN_GENRES
from prompts.errors import InvalidSetting
from prompts.files import replacing

if TYPE_CHECKING:
    from conllu import TokenList

_SPACY = "spacy:"
_MODELS = ("web_trf", "web_lg", "web_md", "web_sm", "news_lg", "news_sm")
_NO_WORD = frozenset(("PUNCT", "SYM", "SPACE"))


@dataclass(frozen=True)
class Word:
    """A token with the fields of CoNLL-U; None means unknown. ``head`` counts words from 1; 0 is the root."""

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
        """Whether the token is not punctuation or a symbol."""
        return any(map(str.isalnum, self.form)) and self.upos not in _NO_WORD


@dataclass(frozen=True)
class Sentence:
    """A sentence; its words and their spaces make up ``text``."""

    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Annotator:
    """A library that splits texts into sentences and tokens.

    Attributes:
        versions: versions of the library and its model.
        annotate: returns the sentences of each text; texts contain single spaces only.
    """

    versions: dict[str, str]
    annotate: Callable[[Iterable[str]], Iterator[list[Sentence]]]


def annotator(spec: str, language: str) -> Annotator:
    """The annotator of a setting: ``auto``, ``simplemma``, or ``spacy:`` and the name or folder of a model.

    Raises:
        InvalidSetting: spaCy, the model or the language is not available.
    """
    if spec.startswith(_SPACY):
        return _spacy(spec.removeprefix(_SPACY))
    model = _installed(language) if spec == "auto" else None
    return _spacy(model) if model else _simplemma(language)


def _simplemma(language: str) -> Annotator:
    import simplemma

    try:
        simplemma.lemmatize("word", language)
    except ValueError:
        raise InvalidSetting(f"simplemma has no lemmas for language {language!r}") from None

    def annotate(texts: Iterable[str]) -> Iterator[list[Sentence]]:
        return (_sentences(text, language) for text in texts)

    return Annotator({"simplemma": version("simplemma")}, annotate)


def _sentences(text: str, language: str) -> list[Sentence]:
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
    """Positions of pieces in a text. Text between two pieces that is not a space becomes a piece too."""
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
    """The largest installed spaCy model of a language."""
    try:
        from spacy.util import is_package
    except ImportError:
        return None
    return next(filter(is_package, (f"{language}_core_{model}" for model in _MODELS)), None)


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
    return Annotator(versions, annotate)


def _sentence(span: Any) -> Sentence:
    """Convert a spaCy sentence; parts of speech and heads may be missing."""
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


_PROGRESS_ROWS = 1_000


def annotate(work: StepContext) -> StepResult:
    """Step 5: write all texts as CoNLL-U, and a table of all films with their lemmas.

    CoNLL-U has one block per sentence with ``sent_id`` and ``text``. The first block of a film also has ``newdoc id``,
    ``title``, ``year`` and ``genres``. Films without a text have no block.
    """
    options, rows = work.config.annotate, work.read(ENRICHED)
    with_text = [row for row in rows if row["description"]]
    found = annotator(options.lemmatiser, options.language).annotate(row["description"] for row in with_text)
    counts = Counter({"films": len(rows), "films with a text": len(with_text)})
    lemmas: dict[str, str] = {}
    with replacing(work.path(SENTENCES)) as new, new.open("w", encoding="utf-8", newline="\n") as out:
        for place, (row, parts) in enumerate(zip(with_text, found, strict=True), 1):
            out.writelines(block.serialize() for block in blocks(row, parts))
            lemmas[row["id"]] = _lemmas(parts)
            counts += Counter(sentences=len(parts), tokens=sum(len(part.words) for part in parts))
            if place % _PROGRESS_ROWS == 0:
                work.on_progress(place, len(with_text))
    work.write(TABLE, [_flat(row, lemmas.get(row["id"], "")) for row in rows])
    return StepResult(dict(counts))


def blocks(row: Row, sentences: Sequence[Sentence]) -> Iterator[TokenList]:
    """A film's sentences in CoNLL-U's columns."""
    from conllu import TokenList
    from conllu.models import Metadata

    for place, sentence in enumerate(sentences, 1):
        above = _of_the_film(row) if place == 1 else {}
        comments = {**above, "sent_id": f"{row['id']}-{place}", "text": sentence.text}
        tokens = [_token(number, word) for number, word in enumerate(sentence.words, 1)]
        yield TokenList(tokens, Metadata(comments))


def _of_the_film(row: Row) -> dict[str, str]:
    year = {"year": str(row["year"])} if row["year"] else {}
    genres = {"genres": "|".join(row["genres"])} if row["genres"] else {}  # conllu reads no comment without a value
    source = {"text_from": row["text_from"]} if row.get("text_from") else {}
    return {"newdoc id": row["id"], "title": row["title"], **year, **genres, **source}


def _token(number: int, word: Word) -> Any:
    from conllu.models import Token

    return Token(
        id=number, form=word.form, lemma=word.lemma, upos=word.upos or "_", xpos=word.xpos,
        feats=word.feats or None, head=word.head, deprel=word.deprel or "_", deps=None,
        misc=None if word.space_after else {"SpaceAfter": "No"},
    )  # fmt: skip


def _lemmas(sentences: Sequence[Sentence]) -> str:
    return " ".join(word.lemma.lower() for one in sentences for word in one.words if word.is_word)


def _flat(row: Row, lemmas: str) -> Row:
    """A row as a table of plain cells has it."""
    lists = {name: "|".join(row.get(name) or ()) for name in ("genres", KNOWN_GENRES)}
    flags = {name: str(row[name]).lower() for name in ("complete_labels", "truncated")}
    return {**row, **lists, **flags, "lemmas": lemmas}
