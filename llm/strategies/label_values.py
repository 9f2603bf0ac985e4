"""Labels in decoded JSON values: the requested shape, and the others that models use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm.strategies.json_repair import json_values
from llm.strategies.plain_words import LIST_KEYS, counters, flag, is_qualified, known, means_nothing, split
from prompts.taxonomy import Taxonomy
from prompts.text import spelling_key

_WRAPPER_KEYS = frozenset("arguments parameters response data function functioncall input properties".split())
_NAME_KEYS = ("label", "name", "genre", "category", "class", "tag", "value", "topic", "title")
_PLACE_KEYS = frozenset("id index rank position order number level start end".split())
_DEPTH = 4


def is_one_label(value: Any) -> bool:
    """Whether a value is an object of one label, such as ``{"label": "Drama"}``."""
    return isinstance(value, dict) and any(isinstance(value.get(key), str) for key in _NAME_KEYS)


def as_requested(value: Any, taxonomy: Taxonomy) -> list[str] | None:
    """The words of a value in the requested shape: a list of strings, alone or under ``labels``."""
    inner = value.get("labels") if isinstance(value, dict) else value
    plain = isinstance(inner, list) and all(isinstance(item, str) for item in inner)
    return from_value(value, taxonomy) if plain else None


def from_value(value: Any, taxonomy: Taxonomy, depth: int = 0) -> list[str] | None:
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
        return None if inner is None or inner.broken else from_value(inner.value, taxonomy, 1)
    copied = _without_description(word, taxonomy)
    if copied != word or known(word, taxonomy) or means_nothing(word):
        return [copied]
    return split(word, taxonomy) or None


def _without_description(word: str, taxonomy: Taxonomy) -> str:
    """A label that was copied from the prompt with its description ("Drama: serious …") without it."""
    name, _, rest = word.partition(":")
    label = next((one for one in taxonomy.predictable if rest.strip() and one.name == taxonomy.resolve(name)), None)
    if label is None or taxonomy.resolve(word):
        return word
    copied, described = spelling_key(rest), spelling_key(label.description) if label.description else ""
    return label.name if described and (described.startswith(copied) or copied.startswith(described)) else word


def _from_list(items: list[Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    if any(isinstance(item, dict) and any(map(_is_low, item.values())) for item in items):
        return None  # scores of labels are no choice of labels
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
    if any(_declines(name, value) for name, value in item.items() if name != key):
        return []  # {"label": "Drama", "applies": false}
    return _from_scalar(item[key], taxonomy)


def _declines(name: str, value: Any) -> bool:
    """Whether a member beside a label says that the label does not apply."""
    if isinstance(value, bool | str):
        return str(value).casefold() in ("false", "no")
    return isinstance(value, int | float) and value == 0 and spelling_key(name) not in _PLACE_KEYS


def _is_low(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 0.5


def _from_object(members: dict[str, Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    if any(isinstance(value, list) and any(map(_is_low, value)) for value in members.values()):
        return None
    return next((said for said in _ways(members, taxonomy, depth + 1) if said is not None), None)


def _ways(members: dict[str, Any], taxonomy: Taxonomy, depth: int) -> Iterator[list[str] | None]:
    """What each way to read an object gives, the most certain way first."""
    for key in _keys(members, taxonomy):
        yield _under_key(members[key], taxonomy, depth)
    yield _flags(members, taxonomy)
    if members and all(key.isdecimal() and taxonomy.resolve(key) is None for key in members):
        yield _from_list(list(members.values()), taxonomy, depth - 1)  # {"0": "Comedy", "1": "Drama"}
    yield _qualified(members, taxonomy, depth)
    for key, value in members.items():
        if spelling_key(key) in _WRAPPER_KEYS and (isinstance(value, dict) or str(value).startswith("{")):
            yield from_value(value, taxonomy, depth)
    for key, value in members.items():
        is_label = isinstance(value, str) and known(value, taxonomy) is not None
        if len(members) == 1 and (is_label or isinstance(value, list)) and not counters(key):
            yield from_value(value, taxonomy, depth)


def _under_key(value: Any, taxonomy: Taxonomy, depth: int) -> list[str] | None:
    """The words of a value whose key says that it holds labels; an object may be one label."""
    return _from_item(value, taxonomy, depth) if isinstance(value, dict) else from_value(value, taxonomy, depth)


def _keys(members: dict[str, Any], taxonomy: Taxonomy) -> list[str]:
    """Keys that hold labels: first those whose value has a label of the taxonomy in it, then ``labels``."""
    return sorted(
        (key for key in members if key.casefold() in LIST_KEYS),
        key=lambda key: (not _labels_in(members[key], taxonomy), key.casefold() != "labels", members[key] is None),
    )


def _labels_in(value: Any, taxonomy: Taxonomy) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(
        isinstance(item, dict) or any(known(one, taxonomy) for one in split(str(item), taxonomy)) for item in items
    )


def _flags(members: dict[str, Any], taxonomy: Taxonomy) -> list[str] | None:
    """The labels of an object of booleans; None where a label has another value."""
    flags = {key: flag(_verdict_in(value)) for key, value in members.items()}
    labels = [key for key in flags if taxonomy.resolve(key)]
    if not labels or any(flags[key] is None for key in labels):
        return None
    return [key for key, given in flags.items() if given]


def _verdict_in(value: Any) -> Any:
    """The one boolean inside an object: ``{"applies": true, "reason": …}``; anything else as it is."""
    verdicts = [one for one in value.values() if isinstance(one, bool)] if isinstance(value, dict) else []
    return verdicts[0] if len(verdicts) == 1 else value


def _qualified(members: dict[str, Any], taxonomy: Taxonomy, depth: int) -> list[str] | None:
    """The words under keys such as ``primary_genre`` and ``film_genres``, all together."""
    read = (from_value(value, taxonomy, depth) for key, value in members.items() if is_qualified(key))
    found = [words for words in read if words is not None]
    return [word for words in found for word in words] if found else None
