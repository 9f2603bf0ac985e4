"""A text to label: a body, a title, or both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from numbers import Number
from typing import Any

from prompts.errors import InvalidTexts

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Missing values that are neither None nor unequal to themselves: pandas.NA, pandas.NaT, numpy.ma.masked.
_MISSING = frozenset(["NAType", "NaTType", "MaskedConstant"])
# Marks that carry meaning inside a label: C++ and C# are two languages, "50%" is not "50".
_MEANINGFUL = frozenset("#%@")
# Symbols that only dress a word up: `Drama`, Drama|Comedy. The last two choose between text and emoji.
_IDLE_SYMBOLS = frozenset("`|^~\u00b4\u00a8\ufe0e\ufe0f")
# A number keeps its sign and its inner marks: "-1" is not "1", "1.5" is not "15".
_NUMBER_MARK = re.compile(r"(?<=\d)[.,:/\-](?=\d)|(?<![^\s])-(?=\d)")


@dataclass(frozen=True)
class Text:
    r"""One thing to label; at least one of the two fields should hold something.

    Lone surrogates, such as JSON's ``"\ud800"``, become U+FFFD: they cannot be written as UTF-8, and tokenizers and
    sockets refuse them.

    Attributes:
        body: a plot, a review, any text.
        title: what the text is called, where that is known.
        fault: why there is no text, where something else was given; such a text is empty.
    """

    body: str = ""
    title: str = ""
    fault: str = ""

    def __post_init__(self) -> None:
        for field in ("body", "title"):
            object.__setattr__(self, field, without_lone_surrogates(getattr(self, field)))

    @classmethod
    def of(cls, value: object) -> Text:
        """Make a ``Text`` of any value.

        A string is a body without a title; a missing value (None, NaN, ``pandas.NA``) is an empty text; anything else
        is an empty text with its ``fault``.
        """
        if isinstance(value, Text):
            return value
        if isinstance(value, str):
            return cls(str(value))
        if hasattr(value, "as_py"):  # a scalar of pyarrow
            return cls.of(value.as_py())
        return cls() if _is_missing(value) else cls(fault=f"{value!r:.60} is no text; give a string")

    @property
    def empty(self) -> bool:
        """True when there is nothing to read."""
        return not (self.body.strip() or self.title.strip())

    @property
    def joined(self) -> str:
        """Title and body as one string, for encoders."""
        return f"{self.title.strip()}. {self.body.strip()}" if self.title.strip() else self.body


def without_lone_surrogates(words: str) -> str:
    """The same words with U+FFFD for every lone surrogate, which UTF-8 cannot hold."""
    return words if words.isascii() else _LONE_SURROGATE.sub("\ufffd", words)


def checked_texts(batch: Iterable[object]) -> list[Text]:
    """The texts of a batch, in their order. Every classifier reads its argument through this function.

    The batch is a list, tuple, generator, numpy array, Series or column of strings or ``Text``; missing values and
    other things in it become empty texts.

    Raises:
        InvalidTexts: one text in place of a batch, or something that is no sequence of texts.
    """
    if type(batch) is not list:
        _refuse_other_than_a_batch(batch)
    return [text if type(text) is Text else Text.of(text) for text in batch]


def _refuse_other_than_a_batch(batch: Any) -> None:
    kind = type(batch).__name__
    if isinstance(batch, str):
        raise InvalidTexts(f"texts is a string; give a list: [{batch[:40]!r}]")
    if isinstance(batch, Text):
        raise InvalidTexts("texts is a single Text; give a list: [text]")
    if isinstance(batch, bytes | bytearray | memoryview):
        raise InvalidTexts(f"texts is {kind}; decode it and give a list of strings")
    if isinstance(batch, Mapping):
        raise InvalidTexts("texts is a dict; give a list of its texts: list(texts.values())")
    if isinstance(batch, Set):
        raise InvalidTexts(f"texts is a {kind}, which has no order; give a list: sorted(texts)")
    if getattr(batch, "ndim", 1) != 1 or hasattr(batch, "columns"):
        raise InvalidTexts(f"texts is a {kind} of other than one dimension; give one column of texts")
    if not isinstance(batch, Iterable):
        raise InvalidTexts(f"texts is {batch!r:.40}, a {kind}; give a list of strings")


def _is_missing(value: object) -> bool:
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, Number) and bool(value != value)


def spelling_key(spelling: str) -> str:
    """What remains of a spelling when case, spaces and idle punctuation are put aside.

    Unicode is folded by NFKC, "&" reads as "and". A spelling of punctuation alone keeps it: "-" and "+" are labels
    that people use.
    """
    folded = unicodedata.normalize("NFKC", spelling).casefold().strip().replace("&", " and ")
    kept_marks = {match.start() for match in _NUMBER_MARK.finditer(folded)}
    kept = (mark for place, mark in enumerate(folded) if place in kept_marks or _carries_meaning(mark))
    return "".join(kept) or folded.strip()


def _carries_meaning(mark: str) -> bool:
    return mark in _MEANINGFUL or (mark not in _IDLE_SYMBOLS and unicodedata.category(mark)[0] not in "PZC")


def placeholder(text: str) -> str | None:
    """Which placeholder a text is, by its name in ``PLACEHOLDERS``; None for any other text, also an empty one."""
    line = " ".join(text.split())
    return next((name for name, pattern in PLACEHOLDERS.items() if pattern.fullmatch(line)), None)


def tells_nothing(text: str) -> bool:
    """Whether a text is empty or a placeholder."""
    return not text.strip() or placeholder(text) is not None


_PLACEHOLDERS: Mapping[str, str] = {
    "Add a Plot": r"add a plot\b.{0,3}",
    # "Plot kept under wraps.", "The plot is unknown at this time."
    "Plot unknown": r"(?:the )?plot(?: details)?(?: is| are)?(?: currently)?(?: being)?(?: kept)? ?"
    r"(?:unknown|undisclosed|confidential|under wraps)(?: at this time)?\.?",
    "No overview found": r"no (?:overview|plot|description|synopsis|summary)(?: found| yet| available)?\.?"
    r"|overview coming soon\W*",
    "See full summary": r"\W*see full (?:summary|synopsis)\W*",
    "N/A": r"n/?a|nan|none|null|-+|\.+|\?+",
}
PLACEHOLDERS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _PLACEHOLDERS.items()}
