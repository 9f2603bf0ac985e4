"""The same examples shown in other ways, to tell what a model reads from what it knows by heart.

A famous film is recognised: by its title, by its names, by its whole plot. Whoever is as good with the title alone, or
loses much where names are masked, has answered from memory (Chang et al. 2023, arXiv 2305.00118).
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
_SHORTENED = re.compile(r"\b([A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|Lt|Sgt|Capt|Col|Gen|Prof)\.$")  # a full stop that ends nothing
_ACRONYM = 4  # letters: FBI, NASA and the like name no one


def shown(examples: Sequence[Example], way: str) -> list[Example]:
    """The examples with their texts shown in a way of ``WAYS``.

    Raises:
        UnknownName: there is no such way.
        InvalidDataset: an example has no title, or no text, where the way needs one.
    """
    if way not in WAYS:
        raise UnknownName("way to show texts", way, WAYS)
    change = WAYS[way](examples)
    found = [replace(example, text=change(example.text)) for example in examples]
    if bare := next((example.id for example in found if example.text.empty), None):
        raise InvalidDataset(f"example {bare!r} has nothing to show as {way!r}; name its column by --title-field")
    return found


@dataclass(frozen=True)
class ProperNames:
    """What is taken for a name: a word that the texts write with a capital more often than without.

    Attributes:
        small: how often each word is written small.
        capital: how often with a capital where no sentence begins, so that it says something.
    """

    small: Mapping[str, int]
    capital: Mapping[str, int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> ProperNames:
        """Counted over all texts."""
        small, capital = Counter[str](), Counter[str]()
        for text in texts:
            for found in _WORD.finditer(text):
                word = found.group()
                if word[0].islower():
                    small[word] += 1
                elif not _begins(text, found.start()):
                    capital[word.casefold()] += 1
        return cls(small, capital)

    def masked(self, text: Text) -> Text:
        """Every name, and the title where the body says it, as ``[name 1]``, ``[name 2]``; a name keeps its number."""
        numbers: dict[str, int] = {}
        body, pieces, end = _without(text.title, text.body), list[str](), 0
        for words in _runs([found for found in _WORD.finditer(body) if self._is_name(body, found)], body):
            keys = [_key(found.group()) for found in words]
            number = next((numbers[key] for key in keys if key in numbers), len(set(numbers.values())) + 1)
            numbers |= dict.fromkeys(keys, number)
            pieces += [body[end : words[0].start()], f"[name {number}]", _possessive(words[-1].group())]
            end = words[-1].end()
        return Text("".join([*pieces, body[end:]]))

    def _is_name(self, text: str, found: re.Match[str]) -> bool:
        word = found.group()
        if not word[0].isupper() or (word.isupper() and 1 < len(word) <= _ACRONYM):
            return False
        if len(word) == 1:
            return text[found.end() : found.end() + 1] == "."  # an initial
        small, capital = self.small.get(word.casefold(), 0), self.capital.get(word.casefold(), 0)
        return small < capital or (not small and not _begins(text, found.start()))


def _begins(text: str, start: int) -> bool:
    """Whether a sentence begins there, where every word has a capital."""
    before = text[:start].rstrip(" \t\n\"'“”‘’([—-")
    return not before or (before[-1] in ".!?…:" and not _SHORTENED.search(before))


def _runs(found: Sequence[re.Match[str]], text: str) -> list[list[re.Match[str]]]:
    """Names that follow each other are one."""
    runs: list[list[re.Match[str]]] = []
    for one in found:
        if runs and _BETWEEN_NAMES.fullmatch(text[runs[-1][-1].end() : one.start()]):
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _key(word: str) -> str:
    return word.removesuffix(_possessive(word)).casefold()


def _possessive(word: str) -> str:
    return word[-2:] if word[-2:] in ("'s", "’s") else ""


def _without(title: str, body: str) -> str:
    """The body with the title masked where it stands as written; one short word would be found by chance."""
    return re.sub(rf"\b{re.escape(title)}\b", "[title]", body) if len(title) > 3 else body


# Name -> what makes, of all examples, the change of one text.
WAYS: Mapping[str, Callable[[Sequence[Example]], Callable[[Text], Text]]] = {
    "title+plot": lambda examples: lambda text: text,
    "plot": lambda examples: lambda text: Text(text.body),
    "masked": lambda examples: ProperNames.of([example.text.body for example in examples]).masked,
    "title": lambda examples: lambda text: Text("", text.title),
}
