"""What catalogues write where they have no text."""

from __future__ import annotations

import re
from collections.abc import Mapping


def placeholder(text: str) -> str | None:
    """Which placeholder a text is, by its name in ``PLACEHOLDERS``; None for a text that says something.

    An empty text is no placeholder: it pretends nothing.
    """
    line = " ".join(text.split())
    return next((name for name, pattern in PLACEHOLDERS.items() if pattern.fullmatch(line)), None)


def tells_nothing(text: str) -> bool:
    """Whether a text is empty or a placeholder."""
    return not text.strip() or placeholder(text) is not None


# What the trade writes where it does not tell: "Plot kept under wraps.", "The plot is unknown at this time."
_UNTOLD = (
    r"(?:the )?plot(?: details)?(?: is| are)?(?: currently)?(?: being)?(?: kept)? ?"
    r"(?:unknown|undisclosed|confidential|under wraps)(?: at this time)?\.?"
)
_NO_OVERVIEW = (
    r"no (?:overview|plot|description|synopsis|summary)(?: found| yet| available)?\.?|overview coming soon\W*"
)

PLACEHOLDERS: Mapping[str, re.Pattern[str]] = {
    "Add a Plot": re.compile(r"add a plot\b.{0,3}", re.IGNORECASE),
    "Plot unknown": re.compile(_UNTOLD, re.IGNORECASE),
    "No overview found": re.compile(_NO_OVERVIEW, re.IGNORECASE),
    "See full summary": re.compile(r"\W*see full (?:summary|synopsis)\W*", re.IGNORECASE),
    "N/A": re.compile(r"n/?a|nan|none|null|-+|\.+|\?+", re.IGNORECASE),
}
