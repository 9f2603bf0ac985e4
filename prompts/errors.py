"""The errors a caller can mend: a wrong setting, file or name. Failures of single texts are problems, not errors."""

from collections.abc import Iterable
from difflib import get_close_matches


class MarqueeError(Exception):
    """Root of all errors raised on purpose; its message says what is wrong and what to do."""


class InvalidTaxonomy(MarqueeError):
    """A taxonomy, from a file or a request, breaks a rule; nothing of it is used."""


class InvalidPrompt(MarqueeError):
    """A prompt template does not parse, lacks a section or names an unknown variable."""


class InvalidSetting(MarqueeError):
    """A setting has a value that cannot work."""


class MissingExtra(InvalidSetting, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""


class OtherTaxonomy(InvalidSetting):
    """A trained classifier is asked for a taxonomy that it was not trained for."""


class InvalidTexts(MarqueeError, TypeError):
    """A classifier is given something that is no sequence of texts, such as a single string."""


class InvalidDataset(MarqueeError):
    """A data file lacks what it should hold."""


class UnansweredTexts(MarqueeError):
    """Texts got no answer where every one needs one; the message says how many, and why the first got none."""


class Interrupted(MarqueeError):
    """Something outside stopped a long work before its end; what was done is kept, and the same command goes on."""


class UnknownName(MarqueeError):
    """Something was asked for by a name that nothing here has.

    Attributes:
        kind: what was looked for, e.g. ``"taxonomy"``.
        name: the name as given.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"there is no {kind} {quoted(name)}; {hint}")


def quoted(name: str) -> str:
    """A name from outside as a message shows it: on one line, and cut, since a request may name megabytes."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")


_LONGEST_NAME = 80
