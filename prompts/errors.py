"""Errors that a caller can correct (a wrong setting, file or name), and pydantic's validation errors in plain words.

A text that fails has a problem instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    Error = Mapping[str, Any]  # one of ``ValidationError.errors()``
    # For a model: name of a field that other programs use, and the field here or a sentence of advice.
    Foreign = Mapping[type[BaseModel], Mapping[str, str]]

_LONGEST_NAME, _LONGEST_VALUE = 80, 60  # characters shown
_SECRET = re.compile(r"\b(sk|mq|hf|gsk|xai|key|Bearer)[-_ ]\w|://[^/\s]*@|[A-Za-z0-9_\-]{33,}")


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


class InvalidExamples(InvalidSetting):
    """A few-shot example has a label that is not in the taxonomy, or too many labels."""


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
    """A name that does not exist; ``kind`` is what it names, such as ``"taxonomy"``."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"there is no {kind} {quoted(name)}; {hint}")


def quoted(name: str) -> str:
    """A name in quotes for a message: on one line and shortened, because a request may have megabytes."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}...")


# --- validation errors ---


@dataclass(frozen=True)
class Fault:
    """One validation error.

    Attributes:
        place: the field, with dots between the parts; empty where the whole is wrong.
        message: what is wrong and what to do.
        joint: what joins the two in a sentence.
    """

    place: str
    message: str
    joint: str = ": "

    def __str__(self) -> str:
        return f"{self.place}{self.joint}{self.message}" if self.place else self.message


def fault_of(
    error: ValidationError, model: type[BaseModel], data: Any, foreign: Foreign | None = None, whole: str = "the body"
) -> Fault:
    """The first error that pydantic found; where that is a missing key, an unknown key, which explains it.

    ``data`` is what the model refused, ``foreign`` are names that other programs use, ``whole`` is how the data as a
    whole is called.
    """
    errors = error.errors(include_url=False)
    unknown = [one for one in errors if one["type"] == "extra_forbidden"]
    first = unknown[0] if unknown and errors[0]["type"] == "missing" else errors[0]
    parts = _place(first, data)
    place = ".".join(map(_part, parts))
    if first["type"] == "extra_forbidden":
        return Fault(place, _unknown_key(first["loc"], model, foreign or {}))
    if first["type"] in ("value_error", "assertion_error"):
        return Fault(place, str(first["ctx"]["error"]))
    message = _sentence([one for one in errors if _place(one, data) == parts], model)
    return Fault(place, message, " ") if place else Fault("", f"{whole} {message}")


def _place(error: Error, data: Any) -> list[str | int]:
    """The place of an error without the names of models and types, which pydantic adds for unions."""
    place: list[str | int] = []
    last = len(error["loc"]) - 1
    for number, part in enumerate(error["loc"]):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            if not (number == last and error["type"] == "missing"):
                continue
        place.append(part)
    return place


def _part(part: str | int) -> str:
    """A part of a place: a plain key as it is, any other in quotes and cut, so that a message stays one line."""
    plain = isinstance(part, int) or (part.isprintable() and 0 < len(part) <= _LONGEST_VALUE)
    return str(part) if plain else quoted(str(part))


def _sentence(errors: Sequence[Error], model: type[BaseModel]) -> str:
    first, bounds = errors[0], errors[0].get("ctx", {})
    if template := _SENTENCES.get(first["type"]):
        return template.format(**bounds)
    value = first.get("input")
    if first["type"].startswith("union_tag"):
        name = str(bounds["discriminator"]).strip("'")
        if first["type"] == "union_tag_not_found":
            return f"has no {name}; give one of {', '.join(_tags(model, first['loc'], name))}"
        tag = shown(value.get(name) if isinstance(value, Mapping) else value) or "another"
        return f"has the {name} {tag}; give one of {bounds['expected_tags']}"
    expected = " or ".join(dict.fromkeys(map(_noun, errors)))
    return f"is {text}; give {expected}" if (text := shown(value)) else f"has an impossible value; give {expected}"


def _noun(error: Error) -> str:
    """What a value should be."""
    bounds, kind = error.get("ctx", {}), error["type"]
    if str(bounds.get("expected", "")).count("'") == 2:
        return str(bounds["expected"])
    plain = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in bounds.items()}
    return (_NOUNS.get(kind) or _NOUNS.get(kind.partition("_")[0], "another value")).format(**plain)


def shown(value: Any) -> str | None:
    """A value as its writer knows it; None where it may be a secret."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str | int | float | None):
        return "something else"
    if isinstance(value, str) and _SECRET.search(value):
        return None
    written = json.dumps(value, ensure_ascii=not str(value).isprintable())
    return written if len(written) <= _LONGEST_VALUE else f"{written[:_LONGEST_VALUE]}…"


def _unknown_key(loc: Sequence[Any], model: type[BaseModel], foreign: Foreign) -> str:
    name = str(loc[-1])
    models = list(_models_at(model, loc[:-1])) or [model]
    known = list(dict.fromkeys(field for one in models for field in one.model_fields))
    advice = next((words for one in models if (words := foreign.get(one, {}).get(name.lower()))), None)
    close = get_close_matches(name, known, n=1) or get_close_matches(name.lower(), known, n=1)
    if advice and advice not in known:
        return f"unknown key; {advice}"
    if advice or close:
        return f"unknown key; did you mean {advice or close[0]!r}?"
    return f"unknown key; known here: {', '.join(known)}"


def _tags(model: type[BaseModel], loc: Sequence[Any], name: str) -> list[str]:
    """Values of the field that tells the models of a union apart."""
    fields = [one.model_fields[name].annotation for one in _models_at(model, loc) if name in one.model_fields]
    return [str(value) for annotation in fields for value in get_args(annotation)]


def _models_at(model: type[BaseModel], loc: Sequence[Any]) -> list[type[BaseModel]]:
    """The models that a place in the data may have; several for a union."""
    here = [model]
    for part in [part for part in loc if isinstance(part, str)]:
        fields = [one.model_fields[part] for one in here if part in one.model_fields]
        inside = [found for field in fields for found in _models_in(field.annotation)]
        tagged = [one for one in here if part == one.__name__ or part in _literals(one)]
        here = inside or tagged or here
    return here


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _literals(model: type[BaseModel]) -> set[str]:
    annotations = [field.annotation for field in model.model_fields.values()]
    return {value for one in annotations if get_origin(one) is Literal for value in get_args(one)}


# What a value should be, by pydantic's type of error or the first word of it.
_NOUNS: Mapping[str, str] = {
    **dict.fromkeys(("string", "uuid", "url_type"), "a string"),
    "int": "a whole number",
    **dict.fromkeys(("float", "decimal"), "a number"),
    "bool": "true or false",
    **dict.fromkeys(("list", "tuple", "set", "frozen", "iterable"), "a list"),
    **dict.fromkeys(("dict", "mapping", "model", "dataclass"), "an object"),
    "path": "a path",
    "url": "a URL",
    **dict.fromkeys(("literal_error", "enum"), "one of {expected}"),
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text of the form {pattern}",
}

# Where the value says nothing more.
_SENTENCES: Mapping[str, str] = {
    "missing": "is missing; give it",
    "none_required": "has no place here; leave it out",
    "too_short": "has {actual_length} items; give {min_length} or more",
    "too_long": "has {actual_length} items; give {max_length} at most",
    "string_too_short": "is too short; give {min_length} characters or more",
    "string_too_long": "is too long; give {max_length} characters at most",
    "invalid_key": "has a key that is no string; put it in quotes",
    "recursion_loop": "contains itself; write it out",
    "recursion_depth_exceeded": "is nested too deeply; make it flatter",
}
