"""A text to label: a body, a title, or both."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Text:
    """One thing to label; at least one of the two fields should hold something.

    A lone surrogate (JSON's ``"\\ud800"`` makes one) cannot be written as UTF-8, so that neither a tokenizer nor a
    socket would take it: each becomes U+FFFD here, once, at the door.

    Attributes:
        body: a plot, a review, any text.
        title: what the text is called, where that is known.
    """

    body: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        for field in ("body", "title"):
            object.__setattr__(self, field, without_lone_surrogates(getattr(self, field)))

    @classmethod
    def of(cls, value: str | Text) -> Text:
        """A plain string is a body without a title."""
        return value if isinstance(value, Text) else cls(value)

    @property
    def empty(self) -> bool:
        """True when there is nothing to read."""
        return not (self.body.strip() or self.title.strip())


def without_lone_surrogates(words: str) -> str:
    """The same words with U+FFFD for every lone surrogate, which UTF-8 cannot hold."""
    return words if words.isascii() else _LONE_SURROGATE.sub("\ufffd", words)
