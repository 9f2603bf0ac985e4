"""Few-shot examples: the same for every text, or the nearest to each text by MiniLM."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.files import digest_of, replacing
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text

if TYPE_CHECKING:
    from llm.embedded.cosine import TextEncoder
    from similarity.encoders.tokens import Vectors

log = logging.getLogger(__name__)
ExampleSelector = Callable[[Sequence[Text], Taxonomy], list[tuple[FewShotExample, ...]]]


def no_examples(texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
    """No examples for any text."""
    return [()] * len(texts)


@dataclass(frozen=True)
class StaticExamples:
    """The same examples for every text, so that they stay in the server's prefix cache.

    Texts under another taxonomy than ``taxonomy_name``, that of the examples' labels, get no examples.
    """

    examples: tuple[FewShotExample, ...]
    taxonomy_name: str

    @property
    def kind(self) -> str:
        """The number of examples, in words."""
        return f"{len(self.examples)} examples"

    @cached_property
    def digest(self) -> str:
        """Digest of all examples."""
        return _digest([self.taxonomy_name], self.examples)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        return [self.examples if taxonomy.name == self.taxonomy_name else ()] * len(texts)


class NearestExamples:
    """The ``number`` examples most similar to each text (cosine), the nearest last, next to the text.

    Texts under another taxonomy than ``taxonomy_name``, that of the examples' labels, get no examples. Of equal
    examples, the first is used.

    Args:
        encoder: encodes texts and examples.
        examples: all examples.
        taxonomy_name: name of the taxonomy of their labels.
        number: how many of them are shown.
        folder: where the vectors of the examples are kept for the next start; None keeps them in memory only.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        examples: Sequence[FewShotExample],
        taxonomy_name: str,
        number: int,
        folder: Path | None = None,
    ) -> None:
        self._by_key = {text_key(example.text): example for example in reversed(examples)}
        self._keys = [*self._by_key][::-1]
        self._encoder, self._folder = encoder, folder
        self.taxonomy_name, self._number = taxonomy_name, number

    @property
    def kind(self) -> str:
        """The number of examples, in words."""
        return f"{self._number} nearest"

    @cached_property
    def digest(self) -> str:
        """Digest of all examples and of how they are chosen."""
        return _digest([self.taxonomy_name, self._number, self._encoder.name], self._examples)

    def __call__(self, texts: Sequence[Text], taxonomy: Taxonomy) -> list[tuple[FewShotExample, ...]]:
        """The examples for each text; neither a text nor one of the same words is its own example."""
        if not texts or taxonomy.name != self.taxonomy_name:
            return no_examples(texts, taxonomy)
        similarities = self._encoder.encode([text.body for text in texts]) @ self.vectors.T
        orders = (-similarities).argsort(axis=1, kind="stable")[:, : self._number + 1].tolist()  # one may be the text
        return [self._nearest(order, text_key(text)) for order, text in zip(orders, texts, strict=True)]

    @cached_property
    def vectors(self) -> Vectors:
        """Vectors of the examples, shape (examples, dimension); from the folder where it has them."""
        import numpy as np

        bodies = [example.text.body for example in self._examples]
        if self._folder is None:
            return self._encoder.encode(bodies)
        path = self._folder / f"examples-{digest_of(json.dumps([self._encoder.name, bodies]), 16)}.npy"
        with suppress(OSError, ValueError, EOFError):  # missing, or damaged
            kept: Vectors = np.load(path, allow_pickle=False)
            if len(kept) == len(bodies):
                return kept
        log.info("computing the vectors of %d few-shot examples, once", len(bodies))
        vectors = self._encoder.encode(bodies)
        try:
            with replacing(path) as new, new.open("wb") as file:
                np.save(file, vectors)
        except OSError as error:
            log.warning("the vectors of few-shot examples cannot be kept for the next start: %s", error)
        return vectors

    @property
    def _examples(self) -> list[FewShotExample]:
        return [self._by_key[key] for key in self._keys]

    def _nearest(self, order: Sequence[int], text: str) -> tuple[FewShotExample, ...]:
        others = [self._keys[place] for place in order if self._keys[place] != text]
        return tuple(self._by_key[key] for key in others[: self._number][::-1])


def text_key(text: Text) -> str:
    """What two texts of the same words share, whatever their case and spaces."""
    return " ".join(text.body.split()).casefold()


def examples_digest(selector: ExampleSelector, text: Text, taxonomy: Taxonomy) -> str:
    """Digest that changes with the examples of a text; does not select them where the selector has a digest."""
    if isinstance(selector, StaticExamples | NearestExamples):
        return selector.digest
    return _digest([], selector([text], taxonomy)[0])


def examples_kind(selector: ExampleSelector, taxonomy: Taxonomy) -> list[str]:
    """In words, how many examples texts under a taxonomy get; empty without examples."""
    if isinstance(selector, StaticExamples | NearestExamples) and selector.taxonomy_name == taxonomy.name:
        return [selector.kind]
    return []


def _digest(options: Sequence[object], examples: Sequence[FewShotExample]) -> str:
    return digest_of(json.dumps([*options, *map(_without_blanks, examples)]))


def _without_blanks(example: FewShotExample) -> Mapping[str, Any]:
    """Its fields; without an explanation as before examples had any, so that cached answers stay valid."""
    return {name: value for name, value in asdict(example).items() if name != "explanation" or value}
