"""Names under which models put labels: keys of JSON objects and headings of plain words."""

from __future__ import annotations

import re

LIST_KEYS = frozenset(
    "answer answers categories category class classes classification genre genres label labels output prediction "
    "predictions result results sentiment selected selection tag tags topic topics "
    "antwort kategorie respuesta categor\u00eda r\u00e9ponse cat\u00e9gorie risposta resposta "
    "\u043e\u0442\u0432\u0435\u0442 \u7b54\u6848 \u7c7b\u522b \u7c7b\u578b \u6807\u7b7e \u56de\u7b54".split()
)
_COUNTERS = frozenset(
    "not no non excluded rejected irrelevant wrong without available allowed possible potential candidate candidates "
    "all options considered other previous inapplicable incorrect invalid false negative discarded dismissed ruled "
    "ignored omitted removed eliminated missing alternative alternatives similar related opposite maybe".split()
)
_COUNTER = re.compile(r"un(?!i)\w{4}|non\w")  # "unselected", "nonmatching"
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL_CASE = re.compile(r"([a-z])([A-Z])")


def counters(name: str) -> bool:
    """Whether a name is that of labels which were not chosen.

    >>> counters("unselected_genres"), counters("rejectedLabels"), counters("primary_genre")
    (True, True, False)
    """
    return any(word in _COUNTERS or _COUNTER.match(word) for word in _words(name))


def is_qualified(name: str) -> bool:
    """Whether a name ends in one of labels, with words in front: ``primary_genre``, ``filmGenres``."""
    words = _words(name)
    return bool(words) and words[-1] in LIST_KEYS and not counters(name)


def holds_labels(name: str) -> bool:
    """Whether a name is that of chosen labels, wherever in it the word is: "Genres of the film"."""
    return any(word in LIST_KEYS for word in _words(name)) and not counters(name)


def _words(name: str) -> list[str]:
    return _WORD.findall(_CAMEL_CASE.sub(r"\1 \2", name).casefold())
