"""Errors that a caller can correct: a wrong setting, file or name. A text that fails has a problem instead."""

from collections.abc import Iterable
from difflib import get_close_matches


class MarqueeError(Exception):
    """Base class of the errors of this program; its message says what is wrong and what to do."""


class InvalidTaxonomy(MarqueeError):
    """A taxonomy, from a file or a request, breaks a rule; nothing of it is used."""


class InvalidPrompt(MarqueeError):
    """A prompt template does not parse, lacks a section or names an unknown variable."""


class InvalidSetting(MarqueeError):
    """A setting has a value that cannot work."""


class MissingExtra(InvalidSetting, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""


class OtherTaxonomy(InvalidSetting):
    """A trained classifier is called with another taxonomy than that of its training."""


class InvalidTexts(MarqueeError, TypeError):
    """A classifier is given something that is no sequence of texts, such as a single string."""


class InvalidDataset(MarqueeError):
    """A data file lacks what it should hold."""


class UnansweredTexts(MarqueeError):
    """Some texts have no prediction where every text needs one; the message has their number and the first reason."""


class Interrupted(MarqueeError):
    """An external cause stopped a long run; finished work is stored, and the same command continues."""


class UnknownName(MarqueeError):
    """A name that does not exist.

    Attributes:
        kind: kind of the name, e.g. ``"taxonomy"``.
        name: the name.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"there is no {kind} {quoted(name)}; {hint}")


def quoted(name: str) -> str:
    """A name in quotes for a message: on one line and shortened, because a request may have megabytes."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")


_LONGEST_NAME = 80
