"""Meaning of words around labels: names of keys and headings, yes and no, none, negations, and spellings of labels."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prompts.taxonomy import Taxonomy, spelling_key

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
_YES = frozenset(
    "true yes y 1 x + oui s\u00ed si ja da \u0434\u0430 sim \u662f \u306f\u3044 \u2713 \u2714 \u2705 \u2611".split()
)
_NO = frozenset(
    "false no n 0 - null none non nein nee net \u043d\u0435\u0442 n\u00e3o nej \u5426 \u3044\u3044\u3048 "
    "\u2717 \u2718 \u274c \u2716 \u2610".split()
) | {""}
_NOTHING = frozenset(
    "nothing na notapplicable "
    "ninguno ninguna keine keins aucun aucune nessuno nessuna nenhum nenhuma geen ingen inga brak "
    "\u043d\u0435\u0442 \u7121 \u65e0 \u306a\u3057 \u6ca1\u6709 \u8a72\u5f53\u306a\u3057 \uc5c6\uc74c".split()
)
_NONE_OF = re.compile(
    r"no(?:ne|thing)?(?:ofthe(?:m|se|above|given|listed|provided)?)?(?:applicable|suitable|matching|fitting|relevant)?"
    r"(?:labels?|genres?|categor(?:y|ies)|topics?|tags?|options?)?(?:appl(?:y|ies)|fits?|match(?:es)?|found)?"
)
_NEGATION = re.compile(
    r"(?i)\b(?:not?|none|never|neither|nor|without|except|exclud(?:e|ed|ing)|rejected|cannot|rather|instead|unlike)\b"
    r"|n['\u2019]t\b"
)
_REFUSAL = re.compile(
    r"(?i)\b(?:sorry|apolog\w+|as an ai|language model|unable to|(?:can(?:no|['\u2019])t|cannot|won['\u2019]?t|will not)\s+"
    r"(?:be\s+)?(?:help|assist|choose|answer|label|classify|categori[sz]e|determine|decide|comply|provide|process|do))\b"
)
BULLET = re.compile(
    r"^\s*(?:#{1,6}\s+|>\s+|(?:[-*+\u2022\u2023\u25e6\u2013\u2014\u00b7]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)])\s+"
    r"|[\u2460-\u2473]\s*|\(?\d{1,3}[\uff0e\uff09\u3001]\s*)"
)
_DELIMITER = re.compile(
    r"(?i)[,;|/\n\t\u3001\uff0c\uff1b\u2022\u00b7]|\s+(?=#|\(?\d{1,2}[.)]\s+\D)|\s+&\s+|\s*[\u548c\u53ca\u4e0e]\s*"
    r"|(?<=[\]\u3011\u300d\u300f\u300b])(?=[\[\u3010\u300c\u300e\u300a])"
    r"|\s+(?:and|und|et|y|e|en|och|og|i|\u0438|ve|ja|as well as)\s+"
)
_MORE = re.compile(r"\s*[:\uff1a(=|]|\s[-\u2013\u2014]\s|->")
_PIECES_READ = 400  # joining neighbours is quadratic in their number
_LONGEST_JOIN = 6


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


def flag(value: object) -> bool | None:
    """Yes or no, also as a word, a digit or a mark; None where it is neither."""
    if value is None or isinstance(value, bool):
        return bool(value)
    word = str(value).strip().strip(".*_\ufe0f").casefold() if isinstance(value, str | int) else "?"
    return True if word in _YES else False if word in _NO else None


def means_nothing(word: str) -> bool:
    """Whether a word says that no label applies; look for labels of that name first."""
    key = spelling_key(word)
    return key in _NOTHING or (key != "no" and bool(_NONE_OF.fullmatch(key)))


def refuses(words: str) -> bool:
    """Whether words refuse to answer."""
    return bool(_REFUSAL.search(words))


def negates(words: str) -> bool:
    """Whether words turn what follows into its opposite."""
    return bool(_NEGATION.search(words))


def said_with_more(words: str, taxonomy: Taxonomy) -> str | None:
    """The label of words that begin with a label, a mark and more: "Drama: 0.2", "Drama (mostly)"."""
    if known(words, taxonomy):
        return None
    name, *more = _MORE.split(BULLET.sub("", words).replace("**", ""), maxsplit=1)
    return taxonomy.resolve(name) if more else None


def known(piece: str, taxonomy: Taxonomy) -> str | None:
    """The label that an item means, also after a bullet, a number or a hash.

    Two labels side by side are not a third ("Science, Fiction").
    """
    plain = BULLET.sub("", piece).strip()
    name = taxonomy.resolve(piece) or taxonomy.resolve(plain) or taxonomy.resolve(plain.removeprefix("#"))
    if name is None or name.casefold() == " ".join(plain.split()).casefold():
        return name
    parts = _DELIMITER.split(plain)
    return None if len(parts) > 1 and all(taxonomy.resolve(part) for part in parts) else name


def split(words: str, taxonomy: Taxonomy) -> list[str]:
    """Cut at commas and the like, but not inside a label: the longest run of pieces that is a label stays whole."""
    if known(words, taxonomy) is not None:
        return [words]
    cuts = list(_DELIMITER.finditer(words))[:_PIECES_READ]
    starts = [0, *(cut.end() for cut in cuts)]
    ends = [*(cut.start() for cut in cuts), len(words)]
    said: list[str] = []
    place = 0
    while place < len(starts):
        end, piece = _longest_label(words, starts, ends, place, taxonomy)
        if piece:
            said.append(piece)
        place = end
    return said


def _longest_label(
    words: str, starts: Sequence[int], ends: Sequence[int], place: int, taxonomy: Taxonomy
) -> tuple[int, str]:
    """The longest run of pieces from one on that is a label, and where the next begins; else the one piece."""
    last = min(place + _LONGEST_JOIN, len(ends))
    for end in range(last, place, -1):
        piece = words[starts[place] : ends[end - 1]].strip()
        if known(piece, taxonomy):
            return end, piece
    return place + 1, words[starts[place] : ends[place]].strip()
