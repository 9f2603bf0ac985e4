"""The answer parser: from whatever a language model wrote to labels of the taxonomy, or to a problem.

In this order:

1. The whole text is a label: it is the answer.
2. Reasoning is removed (``llm.reasoning``); reasoning that never ends is unreadable.
3. JSON (``llm.near_json``): the last value in the requested shape counts, else the last one in another shape that
   models use. JSON that cannot be repaired as a whole is unreadable.
4. Plain words that list labels (``llm.listed``), where there is no JSON.

The taxonomy is consulted first everywhere: "None", "no" and "0" may be labels. JSON that was cut off keeps its whole
labels, and the part in which it was cut counts as dropped. Where the token limit cut the text, only a value that had
ended before counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llm.classifier import Problem
from llm.listed import flag, known, listed, means_nothing, negates, refuses, split
from llm.near_json import Found, json_values
from llm.readings.reading import Answer
from llm.reasoning import without_reasoning
from prompts.taxonomy import Taxonomy, spelling_key

_FENCE = re.compile(r"```[\w-]*")
_LIST_KEYS = frozenset(
    "answer answers categories category class classes classification genre genres label labels output prediction "
    "predictions result results sentiment selected selection tag tags topic topics".split()
)
_CARRIERS = frozenset("arguments parameters response data function functioncall input properties".split())
_NAME_KEYS = ("label", "name", "genre", "category", "class", "tag", "value", "topic", "title")
_COUNTER_KEYS = frozenset(
    "not no non excluded rejected unlikely irrelevant wrong without available allowed possible candidate candidates "
    "all options considered other previous".split()
)
_SAID_BEFORE = 60  # characters in front of a value that may negate it
_DEPTH = 4


def read_answer(written: str | None, taxonomy: Taxonomy, cut: bool = False) -> Answer:
    """Read the labels out of a model's words.

    Args:
        written: the completion's text; None where the endpoint gave no content.
        taxonomy: the labels that were asked about.
        cut: whether the token limit ended the text.

    Returns:
        An ``Answer``; never raises, whatever was written.
    """
    if (exact := _exactly(written or "", taxonomy)) is not None:
        return _judge(exact, taxonomy)
    if not (written or "").strip():
        return _unreadable("the model wrote nothing", ())
    if not cut and (label := known(written or "", taxonomy)) is not None:
        return Answer((label,))
    words = without_reasoning(written or "")
    if words is None:
        return _unreadable(f"the model's reasoning has no end, so no answer follows it: {_excerpt(written or '')}", ())
    if not words:
        return _unreadable(f"the model wrote nothing after its reasoning: {_excerpt(written or '')}", ())
    last = next(reversed(list(json_values(words))), None) if cut else None
    if cut and (last is None or last.broken or not last.closed):
        return _unreadable(f"the answer was cut off when its tokens ran out: {_excerpt(words)}", ())
    return _read(words, taxonomy, 0)


def _exactly(written: str, taxonomy: Taxonomy) -> list[str] | None:
    """The labels of a reply that is just as it was asked for, as most replies are: nothing in it needs care."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and value.keys() == {"labels"} and written.count("labels") == 1:
        value = value["labels"]
    plain = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    return value if plain and set(value) <= set(taxonomy.names) else None


def _read(words: str, taxonomy: Taxonomy, depth: int) -> Answer:
    words = _FENCE.sub("\n", words).strip()
    if depth < _DEPTH and (inner := _quoted(words)) is not None and known(words, taxonomy) is None:
        return _read(inner, taxonomy, depth + 1)
    values = list(json_values(words))
    said, cut = _from_json(words, values, taxonomy)
    if (said is None and any(found.broken or found.cut for found in values)) or (cut and not said):
        return _unreadable(f"the model's JSON cannot be read as a whole: {_excerpt(words)}", ())
    if said is None and not _starts_like_json(words, values):
        said = listed(words, taxonomy)
    if said is None:
        return _unreadable(f"the model's words hold no list of labels: {_excerpt(words)}", ())
    answer = _judge(said, taxonomy)
    return replace(answer, dropped=answer.dropped + ((_clean(cut),) if cut else ()))


def _quoted(words: str) -> str | None:
    """The inside of a text that is one JSON string: JSON inside of JSON."""
    if not words.startswith('"'):
        return None
    try:
        inner = json.loads(words, strict=False)
    except (ValueError, RecursionError):
        return None
    return inner if isinstance(inner, str) else None


def _starts_like_json(words: str, values: Sequence[Found]) -> bool:
    return bool(values) and not words[: values[0].start].strip()


def _judge(said: list[str], taxonomy: Taxonomy) -> Answer:
    """Hold what was said against the taxonomy."""
    names = set(taxonomy.names)
    resolved = [(word, word if word in names else known(word, taxonomy)) for word in said]
    given = list(dict.fromkeys(name for _, name in resolved if name))
    dropped = tuple(_clean(word) for word, name in resolved if not name and not means_nothing(word))
    if given and taxonomy.max_labels == 1 and len(given) > 1:
        return _unreadable(f"one label was asked for and {len(given)} were given: {', '.join(given)}", dropped)
    if given:
        kept = given[: taxonomy.max_labels]
        return Answer(taxonomy.in_order(kept), dropped=dropped + tuple(given[taxonomy.max_labels :]))
    if dropped:
        return _unreadable(f"the model named only labels outside the taxonomy: {_excerpt(', '.join(dropped))}", dropped)
    if not taxonomy.allow_none:
        return _unreadable("the model chose no label where at least one is asked for", ())
    return Answer()


def _unreadable(detail: str, dropped: tuple[str, ...]) -> Answer:
    return Answer(dropped=dropped, problem=Problem("unreadable", detail))


def _excerpt(words: str) -> str:
    return repr(_clean(words if len(words) <= 120 else words[:117] + "..."))


def _clean(words: str) -> str:
    """Without lone surrogates, which JSON can write and UTF-8 cannot."""
    return words.encode("utf-8", "replace").decode("utf-8")


# --- JSON ---


def _from_json(words: str, values: Sequence[Found], taxonomy: Taxonomy) -> tuple[list[str] | None, str]:
    """The words given as labels in the value that counts, and what of it was cut off; None where there is no such."""
    candidates = [one for one in values if not one.broken and not _taken_back(words, one, values)]
    for read in (_requested, _any_shape):
        for place in range(len(candidates) - 1, -1, -1):
            said = read(candidates[place].value, taxonomy)
            if said is not None:
                return _in_lines(words, candidates, place, said, taxonomy), candidates[place].cut
    return None, ""


def _taken_back(words: str, found: Found, values: Sequence[Found]) -> bool:
    """Whether the words in front of a value, on its line, negate it or refuse an answer."""
    start = max([0, *(one.end for one in values if one.end <= found.start)], default=0)
    before = words[max(start, found.start - _SAID_BEFORE) : found.start].rpartition("\n")[2]
    return refuses(before) or negates(" ".join(before.split()[-3:]))


def _in_lines(words: str, found: Sequence[Found], place: int, said: list[str], taxonomy: Taxonomy) -> list[str]:
    """Objects of one label each that follow one another (JSON Lines) are one answer together."""
    while place and _one_label(found[place].value) and _one_label(found[place - 1].value):
        if words[found[place - 1].end : found[place].start].strip(" \r\n\t,;"):
            break
        place -= 1
        said = [*(_any_shape(found[place].value, taxonomy) or []), *said]
    return said


def _one_label(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(key), str) for key in _NAME_KEYS)


def _requested(value: Any, taxonomy: Taxonomy) -> list[str] | None:
    """The words of a value in the shape that is asked for: a list of strings, alone or under ``labels``."""
    inner = value.get("labels") if isinstance(value, dict) else value
    plain = isinstance(inner, list) and all(isinstance(item, str) for item in inner)
    return _any_shape(value, taxonomy) if plain else None


def _any_shape(value: Any, taxonomy: Taxonomy, depth: int = 0) -> list[str] | None:
    """The words given as labels in a decoded value; None where it has no place for labels."""
    if depth > _DEPTH:
        return None
    if isinstance(value, list):
        return _from_list(value, taxonomy, depth)
    if isinstance(value, dict):
        return _from_object(value, taxonomy, depth)
    return _from_scalar(value, taxonomy)


def _from_scalar(value: Any, taxonomy: Taxonomy) -> list[str] | None:
    """The words of a string or number; of true, false and null only where the taxonomy has such a label."""
    if value is None or isinstance(value, bool):
        spellings = ("null", "none") if value is None else (str(value),)
        return next(([word] for word in spellings if taxonomy.resolve(word)), None)
    word = str(value)
    if word.lstrip()[:1] in ("[", "{") and taxonomy.resolve(word) is None:
        inner = next(json_values(word), None)
        return None if inner is None or inner.broken else _any_shape(inner.value, taxonomy, 1)
    return [_without_description(word, taxonomy)] if known(word, taxonomy) else _pieces(word, taxonomy)


def _pieces(word: str, taxonomy: Taxonomy) -> list[str] | None:
    copied = _without_description(word, taxonomy)
    return [copied] if copied != word else split(word, taxonomy) or None


def _without_description(word: str, taxonomy: Taxonomy) -> str:
    """A label that was copied from the prompt with its description ("Drama: serious …") without it."""
    name, _, rest = word.partition(":")
    label = next((one for one in taxonomy.predictable if rest.strip() and one.name == taxonomy.resolve(name)), None)
    if label is None or taxonomy.resolve(word):
        return word
    copied, described = spelling_key(rest), spelling_key(label.description) if label.description else ""
    return label.name if described and (described.startswith(copied) or copied.startswith(described)) else word


def _from_list(items: list[Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    read = [_from_item(item, taxonomy, depth) for item in items]
    said = [word for words in read if words for word in words]
    lost = [json.dumps(item)[:40] for item, words in zip(items, read, strict=True) if words is None]
    return said + lost if said or not lost else None


def _from_item(item: Any, taxonomy: Taxonomy, depth: int) -> list[str] | None:
    """The words that one element of a list gives; None where it cannot be read."""
    if not isinstance(item, dict):
        return None if isinstance(item, list) else _from_scalar(item, taxonomy)
    key = next((key for key in _NAME_KEYS if isinstance(item.get(key), str | int | bool)), None)
    if key is None:
        return _from_object(item, taxonomy, depth + 1)
    if any(value is False or str(value).casefold() in ("false", "no") for name, value in item.items() if name != key):
        return []  # {"label": "Drama", "applies": false}
    return _from_scalar(item[key], taxonomy)


def _from_object(members: dict[str, Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    ways: tuple[Callable[[], Iterator[list[str] | None]], ...] = (
        lambda: (_any_shape(members[key], taxonomy, depth + 1) for key in _keys(members, taxonomy)),
        lambda: iter([_flags(members, taxonomy)]),
        lambda: iter([_qualified(members, taxonomy, depth)]),
        lambda: (
            _from_object(value, taxonomy, depth + 1)
            for key, value in members.items()
            if spelling_key(key) in _CARRIERS and isinstance(value, dict) and depth < _DEPTH
        ),
        lambda: iter([_any_shape(value, taxonomy, depth + 1) for value in members.values() if _alone(members, value)]),
    )
    return next((said for way in ways for said in way() if said is not None), None)


def _keys(members: dict[str, Any], taxonomy: Taxonomy) -> list[str]:
    """Keys that hold labels, ``labels`` first, then those whose value has a label of the taxonomy in it."""
    named = [key for key, value in members.items() if key.casefold() in _LIST_KEYS and value is not None]
    named += [key for key, value in members.items() if key.casefold() in _LIST_KEYS and value is None]
    fit = {key: bool(_labels_in(members[key], taxonomy)) for key in named}
    return sorted(named, key=lambda key: (not fit[key], key.casefold() != "labels"))


def _labels_in(value: Any, taxonomy: Taxonomy) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(
        isinstance(item, dict) or any(known(one, taxonomy) for one in split(str(item), taxonomy)) for item in items
    )


def _flags(members: dict[str, Any], taxonomy: Taxonomy) -> list[str] | None:
    """The labels of an object of booleans; None where a label has another value."""
    flags = {key: flag(value) for key, value in members.items()}
    labels = [key for key in flags if taxonomy.resolve(key)]
    if not labels or any(flags[key] is None for key in labels):
        return None
    return [key for key, given in flags.items() if given]


def _qualified(members: dict[str, Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    """The words under keys such as ``primary_genre`` and ``film_genres``, all together."""
    said: list[str] | None = None
    for key, value in members.items():
        parts = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", key).casefold())
        if parts and parts[-1] in _LIST_KEYS and not _COUNTER_KEYS & set(parts):
            more = _any_shape(value, taxonomy, depth + 1)
            said = said if more is None else [*(said or []), *more]
    return said


def _alone(members: dict[str, Any], value: Any) -> bool:
    return (
        len(members) == 1
        and isinstance(value, list)
        and not _COUNTER_KEYS & set(re.findall(r"[a-z]+", next(iter(members)).casefold()))
    )
