"""Labels in plain words: lists of them, and the meaning of words around them.

The words are names of JSON keys and of headings, yes and no, none, negations, and spellings of labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from prompts.taxonomy import Taxonomy
from prompts.text import spelling_key

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
    r"(?i)\b(?:sorry|apolog\w+|as an ai|language model|unable to|(?:can(?:no|['\u2019])t|cannot|won['\u2019]?t"
    r"|will not)\s+(?:be\s+)?(?:help|assist|choose|answer|label|classify|categori[sz]e|determine|decide|comply|provide"
    r"|process|do))\b"
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
_LEAD = re.compile(r"^(?P<lead>[^:\uff1a\[{]{0,60})[:\uff1a]\s*(?P<rest>\S.*)$", re.DOTALL)
_CHECKED = re.compile(
    r"^\s*(?:[-*+]\s+)?(?:\[(?P<box>[ xX\u2713\u2714])\]|"
    r"(?P<mark>[\u2705\u2714\u2713\u2611\u274c\u2717\u2718\u2716\u2610])\ufe0f?)\s*"
)
_VERDICT = re.compile(
    r"^(?P<label>.+?)\s*(?:[:=|\u2192\uff1a]|=>|->|\s[-\u2013\u2014]\s|\()+\s*(?P<flag>[^\s|()]{1,8})[\s|.)]*$"
)
_GRADE = re.compile(r"[\d.,]+\s*%?|\d+\s*/\s*\d+")
_RULE = re.compile(r"^[\s|:*_=~-]*$")  # a line that draws a line


@dataclass(frozen=True)
class _Line:
    """What a line gives: labels; nothing but a heading; or prose, which ends a list."""

    said: tuple[str, ...] | None = None  # the labels and other items
    heading: bool = False  # whether it is a heading of what follows, or only draws a line
    against: bool = False  # whether it turns what follows into its opposite
    lead: str = ""  # the words in front of a colon: "Genres" of "Genres: Drama"
    bullet: bool = False  # whether it is an item of a list

    @property
    def is_read(self) -> bool:
        return self.said is not None or self.heading


def listed(words: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels that plain words list, with the other items of the list; None where they list none.

    Lists with prose between them that differ are none: which one is the answer cannot be known. Nor are lists of which
    an item cannot be read.
    """
    lines = [line for line in words.splitlines() if line.strip()]
    whole = split(words, taxonomy)
    judged = any(_verdict(line, taxonomy) == [] for line in lines)  # "[ ] Horror" is no Horror
    if whole and not judged and all(known(piece, taxonomy) for piece in whole):
        return whole
    read = [_line(line, taxonomy) for line in lines]
    if any(one.bullet and next_one.bullet and one.is_read != next_one.is_read for one, next_one in pairwise(read)):
        return None
    blocks = [block for block in _blocks(_answering(read)) if block]
    given = [[word for said in block for word in said] for block in blocks]
    alike = {frozenset(known(word, taxonomy) or word for word in block) for block in given}
    prose = [line for line, one in zip(lines, read, strict=True) if not one.is_read and not negates(line)]
    explained = {label for line in prose if (label := said_with_more(line, taxonomy))}
    return given[-1] if len(alike) == 1 and explained <= next(iter(alike)) else None


def _answering(lines: Iterable[_Line]) -> list[_Line]:
    """The lines without labels under headings that negate, or are another's than the answer's ("Reasoning: Horror").

    Where several headings differ and none is an answer's, no labels are left.
    """
    kept: list[_Line] = []
    above = _Line()
    for line in lines:
        if line.said is None:
            above = line if line.lead or not line.heading else above  # a drawn line is no heading of its own
            kept.append(line)
        elif not above.against:
            kept.append(replace(line, lead=line.lead or above.lead))
    if len({line.lead for line in kept if line.said is not None}) < 2:
        return kept
    return [line for line in kept if line.said is None or holds_labels(line.lead)]


def _blocks(lines: Iterable[_Line]) -> list[list[tuple[str, ...]]]:
    """Lists with nothing but headings between their lines."""
    blocks: list[list[tuple[str, ...]]] = [[]]
    for line in lines:
        if line.said is not None:
            blocks[-1].append(line.said)
        elif not line.heading:
            blocks.append([])
    return blocks


def _line(line: str, taxonomy: Taxonomy) -> _Line:
    if _RULE.match(line):
        return _Line(heading=True)
    if (said := _listed(line, taxonomy)) is not None:
        lead = None if known(line, taxonomy) or _verdict(line, taxonomy) is not None else _LEAD.match(line)
        return _Line(tuple(said), lead=lead["lead"].strip("*#_- ") if lead else "", bullet=bool(BULLET.match(line)))
    bare = line.strip().strip("*#_ ")
    heading = bare.endswith((":", "\uff1a"))
    return _Line(None, heading, heading and negates(bare), bare if heading else "", bool(BULLET.match(line)))


def _listed(line: str, taxonomy: Taxonomy) -> list[str] | None:
    """The pieces of a line, if at least half of them are labels and none is a phrase; else None."""
    if (verdict := _verdict(line, taxonomy)) is not None:
        return verdict
    if label := known(line, taxonomy):
        return [label]
    if _graded(line, taxonomy):
        return None
    line = BULLET.sub("", line).strip().strip("|").strip()
    lead = _LEAD.match(line)
    if lead and known(line, taxonomy) is None:
        if negates(lead["lead"]) or refuses(line):
            return None
        line = lead["rest"]
    if known(line, taxonomy) is None and means_nothing(line):
        return [] if taxonomy.allow_none else None
    pieces = split(line, taxonomy)
    found = [known(piece, taxonomy) for piece in pieces]
    strange = [piece for piece, label in zip(pieces, found, strict=True) if label is None]
    if any(len(piece.split()) > 2 or negates(piece) or refuses(piece) for piece in strange):
        return None
    if any(label and _GRADE.fullmatch(piece) for label, piece in zip(found, pieces[1:], strict=False)):
        return None
    if not pieces or 2 * len(strange) > len(pieces) or (strange and line[0] in "[{"):
        return None  # what starts like JSON is whole or nothing
    return [label or piece for piece, label in zip(pieces, found, strict=True)]


def _verdict(line: str, taxonomy: Taxonomy) -> list[str] | None:
    """The label of a line such as ``Drama: yes``, ``| Drama | no |`` or ``[x] Drama``, if it is given; else None."""
    if line.strip() in taxonomy.names:
        return [line.strip()]
    if checked := _CHECKED.match(line):
        label = known(line[checked.end() :], taxonomy)
        given = flag(checked["mark"]) if checked["mark"] else bool(checked["box"].strip())
        return None if label is None else [label] if given else []
    found = _judged(line)
    if not found or (given_flag := flag(found["flag"])) is None or not (label := known(found["label"], taxonomy)):
        return None
    return [label] if given_flag else []


def _judged(line: str) -> re.Match[str] | None:
    return _VERDICT.match(BULLET.sub("", line).strip().strip("|").replace("*", ""))


def _graded(line: str, taxonomy: Taxonomy) -> bool:
    """Whether a line says how well a label fits ("Drama: 0.2", "| Drama | low |"), which is no yes and no no."""
    found = _judged(line)
    return bool(found and known(found["label"], taxonomy) and not known(found["flag"], taxonomy))


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
    pieces: list[str] = []
    place = 0
    while place < len(starts):
        runs = range(min(place + _LONGEST_JOIN, len(ends)), place, -1)
        candidates = ((end, words[starts[place] : ends[end - 1]].strip()) for end in runs)
        single = place + 1, words[starts[place] : ends[place]].strip()
        place, piece = next(((end, run) for end, run in candidates if known(run, taxonomy)), single)
        pieces += [piece] if piece else []
    return pieces
