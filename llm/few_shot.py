"""Labelled examples shown to the model before the text: always the same ones, or those nearest to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prompts.answer_format import FewShotExample
from prompts.errors import InvalidSetting
from prompts.files import digest_of, read_text
from prompts.taxonomy import Taxonomy
from prompts.text import Text

if TYPE_CHECKING:
    from llm.embedded.label_vectors import TextEncoder
    from similarity.encoders.minilm import Vectors

Shots = Callable[[Sequence[Text], Taxonomy], list[tuple[FewShotExample, ...]]]


def no_shots(texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
    """No examples for any text."""
    return [()] * len(texts)


@dataclass(frozen=True)
class StaticExamples:
    """The same examples for every text, so that they stay in the server's prefix cache.

    Attributes:
        shots: the examples.
        vocabulary: name of the taxonomy that they are labelled in; texts under another one see none of them.
    """

    shots: tuple[FewShotExample, ...]
    vocabulary: str

    @cached_property
    def digest(self) -> str:
        """Changes whenever other examples may be shown."""
        return _digest([self.vocabulary], self.shots)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        """The examples for each text."""
        return [self.shots if taxonomy.name == self.vocabulary else ()] * len(texts)


class NearestExamples:
    """The examples most similar to each text, the nearest last, next to the text.

    Args:
        encoder: compares texts.
        shots: the examples to choose from.
        vocabulary: name of the taxonomy that they are labelled in; texts under another one see none of them.
        number: how many to show.
    """

    def __init__(self, encoder: TextEncoder, shots: Sequence[FewShotExample], vocabulary: str, number: int) -> None:
        self._encoder, self._shots, self._vocabulary, self._number = encoder, tuple(shots), vocabulary, number
        self._vectors: Vectors | None = None

    @cached_property
    def digest(self) -> str:
        """Changes whenever other examples may be shown for a text."""
        return _digest([self._vocabulary, self._number, self._encoder.name], self._shots)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        """The examples for each text; never the text itself."""
        if not texts or taxonomy.name != self._vocabulary:
            return no_shots(texts, taxonomy)
        if self._vectors is None:
            self._vectors = self._encoder.encode([shot.text.body for shot in self._shots])
        rows = (self._encoder.encode([text.body for text in texts]) @ self._vectors.T).tolist()
        return [self._nearest(row, text) for row, text in zip(rows, texts, strict=True)]

    def _nearest(self, similarities: Sequence[float], text: Text) -> tuple[FewShotExample, ...]:
        order = sorted(range(len(similarities)), key=lambda place: -similarities[place])
        near = [self._shots[place] for place in order if self._shots[place].text.body != text.body][: self._number]
        return tuple(reversed(near))


def shots_digest(shots: Shots, text: Text, taxonomy: Taxonomy) -> str:
    """What changes whenever other examples are shown for a text; found without choosing them where that is possible."""
    if isinstance(shots, StaticExamples | NearestExamples):
        return shots.digest
    return _digest([], shots([text], taxonomy)[0])


def _digest(choice: Sequence[object], shots: Sequence[FewShotExample]) -> str:
    return digest_of(json.dumps([*choice, *map(asdict, shots)]))


def load_shots(path: Path, taxonomy: Taxonomy) -> tuple[FewShotExample, ...]:
    """Examples from a JSON-lines file with ``text`` and ``labels`` (a list).

    Raises:
        InvalidSetting: the file cannot be read, a field is missing, or a label is not in the taxonomy.
    """
    try:
        rows = [json.loads(line) for line in read_text(path, InvalidSetting).splitlines() if line.strip()]
        return tuple(FewShotExample(Text(row["text"]), _resolved(row["labels"], taxonomy)) for row in rows)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSetting(
            f"{path}: every line needs text and labels, labels of {taxonomy.name!r} ({error})"
        ) from None


def _resolved(names: Sequence[str], taxonomy: Taxonomy) -> tuple[str, ...]:
    unknown = [name for name in names if taxonomy.known(name) is None]
    if unknown:
        raise ValueError(f"unknown label {unknown[0]!r}")
    return tuple(dict.fromkeys(name for name in map(taxonomy.resolve, names) if name))
