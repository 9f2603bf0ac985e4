"""The answer reader: from whatever a language model wrote to labels of the vocabulary, or to a problem.

It reads JSON of every shape that models give (list, object, object of booleans, objects in a list), JSON inside prose
or code fences, JSON cut off in the middle, and plain lists of labels. It never takes a label from running prose:
"this is not a Comedy" names one without giving it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llm.classifier import Problem
from llm.readings.reading import Answer
from prompts.taxonomy import Taxonomy, spelling_key

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_JSON_START = re.compile(r"[\[{]")
_STARTS_TRIED = 64  # "[[[[…" would otherwise be parsed from every bracket
_LIST_KEYS = frozenset(
    "answer answers categories category class classes genre genres label labels output prediction predictions "
    "result results sentiment tag tags topic topics".split()
)
_NAME_KEYS = ("label", "name", "genre", "category", "class", "tag", "value")
_YES, _NO = frozenset(["true", "yes", "1"]), frozenset(["false", "no", "0", "null", "none", ""])
_NOTHING = frozenset(["none", "nothing", "noneoftheabove", "noneapplies", "noneapply", "na", "nolabel"])
_LEAD = re.compile(r"^(?P<lead>[^:\[{]{0,40}):\s*(?P<rest>\S.*)$", re.DOTALL)
_NEGATION = re.compile(r"\b(?:not?|none|never|without|except|excluding|cannot)\b|n['\u2019]t\b", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022\u2023\u25e6]|\d{1,3}[.)])\s+")
_DELIMITER = re.compile(r"[,;|/\n\t\u3001\uff0c\u2022]|\s+and\s+|\s+&\s+")
_PIECES_READ = 400  # joining neighbours is quadratic in their number
_LONGEST_JOIN = 6


def read_answer(written: str | None, taxonomy: Taxonomy) -> Answer:
    """Read the labels out of a model's words.

    Args:
        written: the completion's text; None where the endpoint gave no content.
        taxonomy: the vocabulary that was asked about.

    Returns:
        An ``Answer``; never raises, whatever was written.
    """
    words = _THOUGHT.sub(" ", written or "").strip()
    if not words:
        return _unreadable("the model wrote nothing", ())
    said = _from_json(words, taxonomy)
    if said is None:
        said = _from_lines(words, taxonomy)
    if said is None:
        return _unreadable(f"the model's words hold no list of labels: {_excerpt(words)}", ())
    return _judge(said, taxonomy)


def _judge(said: list[str], taxonomy: Taxonomy) -> Answer:
    """Hold what was said against the vocabulary."""
    resolved = [(word, taxonomy.resolve(word)) for word in said]
    names = list(dict.fromkeys(name for _, name in resolved if name))
    dropped = tuple(word for word, name in resolved if not name and not _means_nothing(word))
    if names and taxonomy.max_labels == 1 and len(names) > 1:
        return _unreadable(f"one label was asked for and {len(names)} were given: {', '.join(names)}", dropped)
    if names:
        kept = names[: taxonomy.max_labels]
        return Answer(taxonomy.in_order(kept), dropped=dropped + tuple(names[taxonomy.max_labels :]))
    if dropped:
        return _unreadable(
            f"the model named only labels outside the vocabulary: {_excerpt(', '.join(dropped))}", dropped
        )
    if not taxonomy.allow_none:
        return _unreadable("the model chose no label where at least one is asked for", ())
    return Answer()


def _means_nothing(word: str) -> bool:
    return spelling_key(word) in _NOTHING


def _unreadable(detail: str, dropped: tuple[str, ...]) -> Answer:
    return Answer(dropped=dropped, problem=Problem("unreadable", detail))


def _excerpt(words: str) -> str:
    return repr(words if len(words) <= 120 else words[:117] + "...")


# --- JSON ---


def _from_json(words: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels in the first JSON value that has any, whole or cut off; None where there is no such value."""
    empty_list_seen = False
    for value in _json_values(words):
        said = _collect(value, taxonomy)
        if said:
            return said
        empty_list_seen = empty_list_seen or said == []
    return [] if empty_list_seen else None


def _json_values(words: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    place = 0
    if words.startswith('"'):
        yield from _decoded(decoder, words, 0)
    for _ in range(_STARTS_TRIED):
        start = _JSON_START.search(words, place)
        if not start:
            return
        try:
            value, place = decoder.raw_decode(words, start.start())
            yield value
        except (ValueError, RecursionError):
            place = start.end()
            yield from _mended(words[start.start() :])


def _decoded(decoder: json.JSONDecoder, words: str, place: int) -> Iterator[Any]:
    try:
        yield decoder.raw_decode(words, place)[0]
    except (ValueError, RecursionError):
        return


def _mended(cut: str) -> Iterator[Any]:
    """The value of a JSON text that was cut off, up to its last whole element.

    Only a text that never closes is mended; one that closes but is not JSON is left alone.
    """
    open_brackets: list[str] = []
    last_whole: tuple[int, str] | None = None
    in_string = escaped = False
    for place, mark in enumerate(cut):
        if in_string:
            in_string, escaped = escaped or mark != '"', not escaped and mark == "\\"
        elif mark == '"':
            in_string = True
        elif mark in "[{":
            open_brackets.append("]" if mark == "[" else "}")
        elif mark in "]}":
            if not open_brackets or open_brackets.pop() != mark or not open_brackets:
                return
        elif mark == ",":
            last_whole = place, "".join(reversed(open_brackets))
    all_of_it = None if in_string else (len(cut), "".join(reversed(open_brackets)))
    for end, brackets in filter(None, (all_of_it, last_whole)):
        try:
            yield json.loads(cut[:end] + brackets)
            return
        except (ValueError, RecursionError):
            continue


def _collect(value: Any, taxonomy: Taxonomy) -> list[str] | None:
    """The words given as labels in a decoded value; None where it has no place for labels."""
    if isinstance(value, str):
        return _split(value, taxonomy) or None
    if isinstance(value, list):
        return _collect_list(value, taxonomy)
    if isinstance(value, dict):
        return _collect_object(value, taxonomy)
    return None


def _collect_list(items: list[Any], taxonomy: Taxonomy) -> list[str] | None:
    read = [_collect_item(item, taxonomy) for item in items]
    said = [word for words in read if words for word in words]
    return said if said or None not in read else None


def _collect_item(item: Any, taxonomy: Taxonomy) -> list[str] | None:
    """The words that one element of a list gives; None where it cannot be read."""
    if isinstance(item, dict):
        if any(value is False or value in ("false", "no") for value in item.values()):
            return []  # {"label": "Drama", "applies": false}
        item = next((item[key] for key in _NAME_KEYS if isinstance(item.get(key), str)), item)
    if isinstance(item, dict):
        return _collect_object(item, taxonomy)
    if isinstance(item, str):
        return _split(item, taxonomy) or None
    if isinstance(item, int | float) and not isinstance(item, bool):
        return [str(item)]  # labels may be numbers
    return None


def _collect_object(members: dict[str, Any], taxonomy: Taxonomy) -> list[str] | None:
    for key, value in members.items():
        if key.casefold() in _LIST_KEYS and isinstance(value, list | dict | str):
            return _collect(value, taxonomy)
    flags = {key: flag for key, value in members.items() if (flag := _flag(value)) is not None}
    if len(flags) == len(members) and any(taxonomy.resolve(key) for key in flags):
        return [key for key, flag in flags.items() if flag]
    if len(members) == 1:
        (value,) = members.values()
        return _collect(value, taxonomy) if isinstance(value, list) else None
    return None


def _flag(value: Any) -> bool | None:
    """Yes or no, also as a word or a digit; None where it is neither."""
    if value is None or isinstance(value, bool):
        return bool(value)
    word = str(value).strip().casefold() if isinstance(value, str | int) else "?"
    return True if word in _YES else False if word in _NO else None


# --- plain words ---


def _from_lines(words: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels of the lines that are lists of labels; None where no line is one."""
    listed = [_listed(line, taxonomy) for line in words.replace("```", "\n").splitlines()]
    found = [said for said in listed if said is not None]
    return [word for said in found for word in said] if found else None


def _listed(line: str, taxonomy: Taxonomy) -> list[str] | None:
    """The pieces of a line, if at least half of them are labels and none is a phrase; else None."""
    line = _BULLET.sub("", line).strip()
    lead = _LEAD.match(line)
    if lead and taxonomy.resolve(line) is None:
        if _NEGATION.search(lead["lead"]):
            return None
        if taxonomy.resolve(lead["lead"]) and (flag := _flag(lead["rest"].rstrip("."))) is not None:
            return [lead["lead"]] if flag else []  # "Drama: yes"
        line = lead["rest"]
    if taxonomy.allow_none and _means_nothing(line):
        return []
    pieces = _split(line, taxonomy)
    known = sum(taxonomy.resolve(piece) is not None for piece in pieces)
    phrases = any(taxonomy.resolve(piece) is None and len(piece.split()) > 2 for piece in pieces)
    negated = any(taxonomy.resolve(piece) is None and _NEGATION.search(piece) for piece in pieces)
    return pieces if known and known * 2 >= len(pieces) and not phrases and not negated else None


def _split(words: str, taxonomy: Taxonomy) -> list[str]:
    """Cut at commas and the like, but not inside a label: the longest run of pieces that is a label stays whole."""
    if taxonomy.resolve(words) is not None:
        return [words]
    cuts = list(_DELIMITER.finditer(words))[:_PIECES_READ]
    starts = [0, *(cut.end() for cut in cuts)]
    ends = [*(cut.start() for cut in cuts), len(words)]
    said: list[str] = []
    place = 0
    while place < len(starts):
        last = min(place + _LONGEST_JOIN, len(ends))
        runs = ((end, words[starts[place] : ends[end - 1]].strip()) for end in range(last, place, -1))
        end, piece = next(
            (run for run in runs if taxonomy.resolve(run[1]) is not None),
            (place + 1, words[starts[place] : ends[place]].strip()),
        )
        if piece:
            said.append(piece)
        place = end
    return said
