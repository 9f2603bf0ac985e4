"""Input variants of the same examples, to measure what a model has memorised.

A well-known film is recognised by its title, its names or its plot. A model that scores as high with the title alone,
or loses much when names are masked, predicts from memory (Chang et al. 2023, arXiv 2305.00118).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.datasets import Example
from prompts.errors import InvalidDataset, UnknownName
from prompts.text import Text

_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?")
_BETWEEN_NAMES = re.compile(r"[ .]{0,2}")  # "J. R. Smith" is one name
_ABBREVIATION = re.compile(r"\b([A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|Lt|Sgt|Capt|Col|Gen|Prof)\.$")  # does not end a sentence
_ACRONYM = 4  # maximum letters of an acronym (FBI, NASA), which does not identify a film


def input_variant(examples: Sequence[Example], variant: str) -> list[Example]:
    """The examples with their texts in a variant of ``VARIANTS``.

    Raises:
        UnknownName: there is no such variant.
        InvalidDataset: an example has no title, or no text, that the variant needs.
    """
    if variant not in VARIANTS:
        raise UnknownName("input variant", variant, VARIANTS)
    change = VARIANTS[variant](examples)
    changed = [replace(example, text=change(example.text)) for example in examples]
    if empty := next((example.id for example in changed if example.text.empty), None):
        raise InvalidDataset(f"example {empty!r} has no text as {variant!r}; name its column by --title-field")
    return changed


@dataclass(frozen=True)
class ProperNames:
    """Detects names: words that are capitalised more often than not, where they do not begin a sentence."""

    small: Mapping[str, int]
    capital: Mapping[str, int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> ProperNames:
        """Counts over all texts."""
        small, capital = Counter[str](), Counter[str]()
        for text in texts:
            for match in _WORD.finditer(text):
                word = match.group()
                if word[0].islower():
                    small[word] += 1
                elif not _begins_sentence(text, match.start()):
                    capital[word.casefold()] += 1
        return cls(small, capital)

    def masked(self, text: Text) -> Text:
        """The body with ``[name 1]``, ``[name 2]`` for names, equal names with equal numbers, and ``[title]``."""
        numbers: dict[str, int] = {}
        body, pieces, end = text.body, list[str](), 0
        if len(text.title) > 3:  # shorter titles occur by chance
            body = re.sub(rf"\b{re.escape(text.title)}\b", "[title]", body)
        for words in _runs([match for match in _WORD.finditer(body) if self._is_name(body, match)], body):
            keys = [_key(match.group()) for match in words]
            number = next((numbers[key] for key in keys if key in numbers), len(set(numbers.values())) + 1)
            numbers |= dict.fromkeys(keys, number)
            pieces += [body[end : words[0].start()], f"[name {number}]", _possessive(words[-1].group())]
            end = words[-1].end()
        return Text("".join([*pieces, body[end:]]))

    def _is_name(self, text: str, match: re.Match[str]) -> bool:
        word = match.group()
        if not word[0].isupper() or (word.isupper() and 1 < len(word) <= _ACRONYM):
            return False
        if len(word) == 1:
            return text[match.end() : match.end() + 1] == "."  # an initial
        small, capital = self.small.get(word.casefold(), 0), self.capital.get(word.casefold(), 0)
        return small < capital or (not small and not _begins_sentence(text, match.start()))


def _begins_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\n\"'“”‘’([—-")
    return not before or (before[-1] in ".!?…:" and not _ABBREVIATION.search(before))


def _runs(matches: Sequence[re.Match[str]], text: str) -> list[list[re.Match[str]]]:
    """Adjacent names are one name."""
    runs: list[list[re.Match[str]]] = []
    for match in matches:
        if runs and _BETWEEN_NAMES.fullmatch(text[runs[-1][-1].end() : match.start()]):
            runs[-1].append(match)
        else:
            runs.append([match])
    return runs


def _key(word: str) -> str:
    return word.removesuffix(_possessive(word)).casefold()


def _possessive(word: str) -> str:
    return word[-2:] if word[-2:] in ("'s", "’s") else ""


# Name -> a function from all examples to the change of one text.
VARIANTS: Mapping[str, Callable[[Sequence[Example]], Callable[[Text], Text]]] = {
    "title+plot": lambda examples: lambda text: text,
    "plot": lambda examples: lambda text: Text(text.body),
    "masked": lambda examples: ProperNames.of([example.text.body for example in examples]).masked,
    "title": lambda examples: lambda text: Text("", text.title),
}
