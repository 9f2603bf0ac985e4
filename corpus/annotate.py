"""Last step: tokens and lemmas, as CoNLL-U and in ``clean.csv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from corpus.annotators import Sentence, Word, annotator
from corpus.context import ENRICHED, SENTENCES, TABLE, Row, StepContext, StepResult
from lookup.enrich import KNOWN_GENRES
from prompts.files import replacing

if TYPE_CHECKING:
    from conllu import TokenList

_TOLD_EVERY = 1_000
LEMMAS = "lemmas"


def annotate(work: StepContext) -> StepResult:
    """Take every text apart.

    CoNLL-U: one block a sentence, with ``newdoc id``, ``title``, ``year`` and ``genres`` before a film's first one and
    ``sent_id`` and ``text`` before each; films without a text have none. The table: all films, their lemmas too.
    """
    options, rows = work.config.annotate, work.read(ENRICHED)
    told = [row for row in rows if row["description"]]
    found = annotator(options.lemmatiser, options.language).annotate(row["description"] for row in told)
    counts = Counter({"films": len(rows), "films with a text": len(told)})
    lemmas: dict[str, str] = {}
    with replacing(work.path(SENTENCES)) as new, new.open("w", encoding="utf-8", newline="\n") as out:
        for place, (row, parts) in enumerate(zip(told, found, strict=True), 1):
            out.writelines(block.serialize() for block in blocks(row, parts))
            lemmas[row["id"]] = _lemmas(parts)
            counts += Counter(sentences=len(parts), tokens=sum(len(part.words) for part in parts))
            if place % _TOLD_EVERY == 0:
                work.on_progress(place, len(told))
    work.write(TABLE, [_flat(row, lemmas.get(row["id"], "")) for row in rows])
    return StepResult(dict(counts))


def blocks(row: Row, sentences: Sequence[Sentence]) -> Iterator[TokenList]:
    """A film's sentences in CoNLL-U's columns."""
    from conllu import TokenList
    from conllu.models import Metadata

    for place, sentence in enumerate(sentences, 1):
        above = _of_the_film(row) if place == 1 else {}
        told = {**above, "sent_id": f"{row['id']}-{place}", "text": sentence.text}
        tokens = [_token(number, word) for number, word in enumerate(sentence.words, 1)]
        yield TokenList(tokens, Metadata(told))


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
    return {**row, **lists, **flags, LEMMAS: lemmas}
