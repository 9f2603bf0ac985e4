"""The review file: texts to label, with the suggested labels, their scores, and why each text was picked.

JSON lines. The first line has the taxonomy, each other line a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from llm.classifier import AnswerSource
from marquee.feedback.entries import (
    InvalidFeedback,
    RecordedAnswer,
    StoredTaxonomy,
    right_labels,
    taxonomy_as_stored,
    taxonomy_from_store,
    text_digest,
)
from prompts.errors import InvalidDataset, InvalidTaxonomy, quoted
from prompts.files import read_text, write_text_atomically
from prompts.taxonomy import Taxonomy
from prompts.text import Text

MOST_TEXTS = 1_000
"""Maximum number of texts of a review file: the page loads all of them."""
_VERSION = 1
_DIGITS = 3  # of stored doubts


@dataclass(frozen=True)
class ReviewText:
    """A text to label.

    Attributes:
        id: the id of its row in the table.
        answer: the suggestion, with the text.
        doubt: uncertainty of the suggestion, from 0 to 1.
        why: the scores in doubt, in one line.
    """

    id: str
    answer: RecordedAnswer
    doubt: float
    why: str

    @property
    def text(self) -> Text:
        """The text."""
        return self.answer.text or Text()

    def row(self) -> Mapping[str, Any]:
        """The text as a line of the file."""
        answer = self.answer
        return {
            "id": self.id,
            "title": self.text.title,
            "text": self.text.body,
            "suggested": list(answer.labels),
            "scores": dict(answer.scores),
            "score_type": answer.score_type,
            "doubt": round(self.doubt, _DIGITS),
            "why": self.why,
            **{name: value for name, value in asdict(answer.source).items() if name != "taxonomy"},
        }


@dataclass(frozen=True)
class Review:
    """Texts to label under one taxonomy.

    Attributes:
        taxonomy: the labels.
        texts: in the order in which they were picked.
        descriptions: of the labels that have one.
    """

    taxonomy: StoredTaxonomy
    texts: tuple[ReviewText, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, taxonomy: Taxonomy, texts: tuple[ReviewText, ...]) -> Review:
        """A review under a taxonomy, whose labels are kept as they are now."""
        descriptions = {one.name: one.description for one in taxonomy.predictable if one.description}
        return cls(taxonomy_from_store(taxonomy_as_stored(taxonomy)), texts, descriptions)

    @cached_property
    def _by_id(self) -> Mapping[str, ReviewText]:
        return {one.id: one for one in self.texts}

    def text(self, id: str) -> ReviewText:
        """The text with an id.

        Raises:
            InvalidDataset: there is none.
        """
        if found := self._by_id.get(id):
            return found
        close = get_close_matches(id, self._by_id, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "give an id of its texts"
        raise InvalidDataset(f"there is no text {quoted(id)} in the review file; {hint}")

    def write(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            OSError: it cannot be written.
        """
        head = {
            "review": _VERSION,
            "taxonomy": json.loads(self.taxonomy.stored),
            "descriptions": dict(self.descriptions),
        }
        lines = [json.dumps(one, ensure_ascii=False) for one in (head, *(text.row() for text in self.texts))]
        write_text_atomically(path, "\n".join(lines) + "\n")


def read_review(path: Path) -> Review:
    """Read a review file.

    Raises:
        InvalidDataset: it cannot be read, or is no review file; the message has the line.
    """
    lines = read_text(path, InvalidDataset).split("\n")  # U+2028 is a part of a text, not the end of a line
    documents = [(place, _object(f"{path}:{place}", line)) for place, line in enumerate(lines, 1) if line.strip()]
    if not documents or documents[0][1].get("review") != _VERSION:
        raise InvalidDataset(f"{path} is no review file; make one with `main.py review TABLE --out FILE`")
    (_, head), *rows = documents
    try:
        taxonomy = taxonomy_from_store(json.dumps(head["taxonomy"]))
        descriptions = {str(name): str(words) for name, words in head.get("descriptions", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError, InvalidTaxonomy):
        raise InvalidDataset(f"{path}:1 has no taxonomy that can be read; make the file again") from None
    if len(rows) > MOST_TEXTS:
        raise InvalidDataset(f"{path} has {len(rows):,} texts; a review file has {MOST_TEXTS:,} at most")
    texts = tuple(_text_of(f"{path}:{place}", row, taxonomy) for place, row in rows)
    ids = [one.id for one in texts]
    if double := next((id for id in ids if ids.count(id) > 1), None):
        raise InvalidDataset(f"{path} has two texts with the id {quoted(double)}; make the file again")
    return Review(taxonomy, texts, descriptions)


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise InvalidDataset(f"{where} is not JSON; make the review file again") from None
    if not isinstance(found, dict):
        raise InvalidDataset(f"{where} is no JSON object; make the review file again")
    return found


def _text_of(where: str, row: Mapping[str, Any], taxonomy: StoredTaxonomy) -> ReviewText:
    try:
        text = Text(row["text"], row.get("title") or "")
        suggested = right_labels(row["suggested"], taxonomy) if row["suggested"] else ()
        scores = {str(name): float(score) for name, score in (row.get("scores") or {}).items()}
        source = AnswerSource(row["model"], taxonomy.versioned_name, row.get("prompt"), row.get("strategy"))
        answer = RecordedAnswer(
            text_digest(text), taxonomy, suggested, scores, row.get("score_type"), source, text=text
        )
        return ReviewText(str(row["id"]), answer, float(row.get("doubt", 0)), str(row.get("why", "")))
    except InvalidFeedback as error:
        raise InvalidDataset(f"{where}: {error}") from None
    except KeyError as error:
        raise InvalidDataset(f"{where} has no {error}; make the review file again") from None
    except (TypeError, ValueError, AttributeError):
        raise InvalidDataset(f"{where} is no text of a review file; make the file again") from None


class LiveReview:
    """A review file that is read again when it changes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, int], Review] | None = None

    def __call__(self) -> Review:
        """The review as it is in the file now.

        Raises:
            InvalidDataset: as in ``read_review``.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise InvalidDataset(f"cannot read {self.path}: {error.strerror or error}") from None
        version = stat.st_mtime_ns, stat.st_size
        read = self._read  # threads may replace it
        if read is None or read[0] != version:
            self._read = read = version, read_review(self.path)
        return read[1]
