"""Validation errors of pydantic in plain words: which field, its value, and what to give instead."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from prompts.errors import quoted

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    Error = Mapping[str, Any]  # one of ``ValidationError.errors()``
    # For a model: name of a field that other programs use, and the field here or a sentence of advice.
    Foreign = Mapping[type[BaseModel], Mapping[str, str]]

_LONGEST_SHOWN = 60
_SECRET = re.compile(r"\b(sk|mq|hf|gsk|xai|key|Bearer)[-_ ]\w|://[^/\s]*@|[A-Za-z0-9_\-]{33,}")
_UNKNOWN: Any = object()


@dataclass(frozen=True)
class Fault:
    """One validation error.

    Attributes:
        place: the field, with dots between the parts; empty where the whole is wrong.
        said: what is wrong and what to do.
        joint: what joins the two in a sentence.
    """

    place: str
    said: str
    joint: str = ": "

    def __str__(self) -> str:
        return f"{self.place}{self.joint}{self.said}" if self.place else self.said


def fault_of(
    error: ValidationError,
    model: type[BaseModel],
    data: Any = _UNKNOWN,
    foreign: Foreign | None = None,
    whole: str = "the body",
    secret: bool = False,
) -> Fault:
    """The first error that pydantic found; where that is a missing key, an unknown key, which explains it.

    Args:
        error: what pydantic raised.
        model: the model that refused the data.
        data: the data; parts of a place that do not exist in it (names of models and types) are left out.
        foreign: names that other programs use.
        whole: how the data as a whole is called.
        secret: leave values out.
    """
    found = [_cleaned(one, data) for one in error.errors(include_url=False)]
    unknown = [one for one in found if one["type"] == "extra_forbidden"]
    first = unknown[0] if unknown and found[0]["type"] == "missing" else found[0]
    place = ".".join(map(_part, first["loc"]))
    if first["type"] == "extra_forbidden":
        return Fault(place, _unknown_key(first, model, foreign or {}))
    if first["type"] in ("value_error", "assertion_error"):
        return Fault(place, str(first["ctx"]["error"]))
    together = [one for one in found if one["loc"] == first["loc"]]
    said = _sentence(together, model, secret)
    return Fault(place, said, " ") if place else Fault("", f"{whole} {said}")


def _cleaned(error: Error, data: Any) -> dict[str, Any]:
    """The same error, its place without the names of types, which pydantic puts there for unions."""
    if data is _UNKNOWN:
        return {**error, "whole loc": error["loc"]}
    place: list[Any] = []
    here, last = data, len(error["loc"]) - 1
    for number, part in enumerate(error["loc"]):
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            if not (number == last and error["type"] == "missing"):
                continue
        place.append(part)
    return {**error, "loc": tuple(place), "whole loc": error["loc"]}


def _part(part: str | int) -> str:
    """A part of a place: a plain key as it is, any other in quotes and cut, so that a message stays one line."""
    plain = isinstance(part, int) or (part.isprintable() and 0 < len(part) <= _LONGEST_SHOWN)
    return str(part) if plain else quoted(str(part))


def _sentence(errors: Sequence[Error], model: type[BaseModel], secret: bool) -> str:
    first, bounds = errors[0], errors[0].get("ctx", {})
    if template := _WHOLE.get(first["type"]):
        return template.format(**bounds)
    if first["type"] == "union_tag_not_found":
        name = str(bounds["discriminator"]).strip("'")
        return f"has no {name}; give one of {', '.join(_tags(model, first['whole loc'], name))}"
    if first["type"] == "union_tag_invalid":
        name = str(bounds["discriminator"]).strip("'")
        given = first.get("input")
        tag = shown(given.get(name) if isinstance(given, Mapping) else given) or "another"
        return f"has the {name} {tag}; give one of {bounds['expected_tags']}"
    wanted = " or ".join(dict.fromkeys(_noun(one) for one in errors))
    given = None if secret else shown(first.get("input"))
    return f"is {given}; give {wanted}" if given else f"has an impossible value; give {wanted}"


def _noun(error: Error) -> str:
    bounds = error.get("ctx", {})
    if str(bounds.get("expected", "")).count("'") == 2:
        return str(bounds["expected"])
    plain = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in bounds.items()}
    return _NOUNS.get(error["type"], "another value").format(**plain)


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
    written = json.dumps(value, ensure_ascii=not str(value).isprintable())
    if isinstance(value, str) and _SECRET.search(value):
        return None
    return written if len(written) <= _LONGEST_SHOWN else f"{written[:_LONGEST_SHOWN]}…"


def _unknown_key(error: Error, model: type[BaseModel], foreign: Foreign) -> str:
    name = str(error["loc"][-1])
    models = list(_models_at(model, error["whole loc"][:-1])) or [model]
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


def _models_at(model: type[BaseModel], loc: Sequence[Any]) -> Iterator[type[BaseModel]]:
    """The models that a place in the data may have; several for a union."""
    here = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        inside = [one for each in here if part in each.model_fields for one in _inner(each.model_fields[part])]
        tagged = [one for one in here if part == one.__name__ or part in _literals(one)]
        here = inside or tagged or here
    yield from here


def _inner(field: Any) -> Iterator[type[BaseModel]]:
    yield from _models_in(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models_in(get_args(annotation)[0])
    else:
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _literals(model: type[BaseModel]) -> set[str]:
    annotations = [field.annotation for field in model.model_fields.values()]
    return {value for one in annotations if get_origin(one) is Literal for value in get_args(one)}


_TEXT, _WHOLE_NUMBER, _NUMBER = "a string", "a whole number", "a number"
_LIST, _OBJECT, _TRUTH, _PATH = "a list", "an object", "true or false", "a path"

# What a value should be, by pydantic's type of error.
_NOUNS: Mapping[str, str] = {
    **dict.fromkeys(("string_type", "string_unicode", "string_sub_type", "url_type", "uuid_type"), _TEXT),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE_NUMBER),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), _OBJECT),
    **dict.fromkeys(("path_type", "path_not_file", "path_not_directory"), _PATH),
    **dict.fromkeys(("url_parsing", "url_scheme", "url_syntax_violation"), "a URL"),
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
_WHOLE: Mapping[str, str] = {
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
