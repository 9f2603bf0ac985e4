"""Selection of few-shot examples: the same for every text, or the nearest to each text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from prompts.errors import InvalidSetting
from prompts.files import digest_of, read_text
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text

if TYPE_CHECKING:
    from llm.embedded.label_vectors import TextEncoder
    from similarity.encoders.tokens import Vectors

ExampleSelector = Callable[[Sequence[Text], Taxonomy], list[tuple[FewShotExample, ...]]]


def no_examples(texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
    """No examples for any text."""
    return [()] * len(texts)


@dataclass(frozen=True)
class StaticExamples:
    """The same examples for every text, so that they stay in the server's prefix cache.

    Attributes:
        examples: the examples.
        taxonomy_name: taxonomy of their labels; texts under another taxonomy get no examples.
    """

    examples: tuple[FewShotExample, ...]
    taxonomy_name: str

    @cached_property
    def digest(self) -> str:
        """Changes whenever the examples change."""
        return _digest([self.taxonomy_name], self.examples)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        """The examples for each text."""
        return [self.examples if taxonomy.name == self.taxonomy_name else ()] * len(texts)


class NearestExamples:
    """The examples most similar to each text, the nearest last, next to the text.

    Args:
        encoder: encodes texts; similarity is the cosine.
        examples: the examples to choose from.
        taxonomy_name: taxonomy of their labels; texts under another taxonomy get no examples.
        number: examples per text.
    """

    def __init__(
        self, encoder: TextEncoder, examples: Sequence[FewShotExample], taxonomy_name: str, number: int
    ) -> None:
        self._encoder, self._examples = encoder, tuple(examples)
        self._taxonomy_name, self._number = taxonomy_name, number

    @cached_property
    def digest(self) -> str:
        """Changes whenever another selection is possible."""
        return _digest([self._taxonomy_name, self._number, self._encoder.name], self._examples)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        """The examples for each text; a text is never its own example."""
        if not texts or taxonomy.name != self._taxonomy_name:
            return no_examples(texts, taxonomy)
        rows = (self._encoder.encode([text.body for text in texts]) @ self._vectors.T).tolist()
        return [self._nearest(row, text) for row, text in zip(rows, texts, strict=True)]

    @cached_property
    def _vectors(self) -> Vectors:
        return self._encoder.encode([example.text.body for example in self._examples])

    def _nearest(self, similarities: Sequence[float], text: Text) -> tuple[FewShotExample, ...]:
        order = sorted(range(len(similarities)), key=lambda place: -similarities[place])
        others = (self._examples[place] for place in order if self._examples[place].text.body != text.body)
        return tuple(list(others)[: self._number][::-1])


def examples_digest(selector: ExampleSelector, text: Text, taxonomy: Taxonomy) -> str:
    """Digest that changes with the examples of a text; does not select them where the selector has a digest."""
    if isinstance(selector, StaticExamples | NearestExamples):
        return selector.digest
    return _digest([], selector([text], taxonomy)[0])


def _digest(options: Sequence[object], examples: Sequence[FewShotExample]) -> str:
    return digest_of(json.dumps([*options, *map(asdict, examples)]))


def load_examples(path: Path, taxonomy: Taxonomy) -> tuple[FewShotExample, ...]:
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
