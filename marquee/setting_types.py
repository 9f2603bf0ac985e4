"""Types of settings: texts that are checked when they are read."""

from __future__ import annotations

import logging
import math
import shlex
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from llm.backends.endpoint import correct_base_url, parse_extra_body
from prompts.errors import UnknownName

log = logging.getLogger(__name__)
Words = TypeVar("Words", str, SecretStr)


def _base_url(url: str) -> str:
    if not url:
        return url
    right, change = correct_base_url(url)  # BadAddress is a ValueError
    if change:
        _say(change)
    return right


@cache
def _say(change: str) -> None:
    """Log once what a setting is taken as."""
    log.warning("%s", change)


def _object(fields: str) -> str:
    parse_extra_body(fields)
    return fields


def _safe_for_a_key(url: str) -> str:
    parts = urlsplit(url)
    inside = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if url and not (parts.hostname and plain and (parts.scheme == "https" or inside)):
        raise ValueError("should be an https URL without query or password; http on this machine alone")
    return url


def _fit_for_a_header(value: Words) -> Words:
    words = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not (words.isascii() and words.isprintable()):
        raise ValueError("should be printable ASCII on one line")
    return value


def _providers(names: str) -> str:
    from lookup.providers import order_of  # with an HTTP client, which not every command needs

    try:
        order_of(names)
        return names
    except UnknownName as error:
        raise ValueError(str(error)) from None


def _classifier(name: str) -> str:
    known = ("auto", "openai", "embedded")
    if name not in known and not name.startswith("hf:"):
        raise ValueError(str(UnknownName("classifier", name, (*known, "hf:NAME_OR_PATH"))))
    return name


def _margin(value: object) -> float | Path:
    """A number, or else the path of a file."""
    try:
        margin = float(str(value))
    except ValueError:
        return Path(str(value))
    if not 0 <= margin < math.inf:
        raise ValueError("should be a number from 0, or a file that `main.py cascade --target` has written")
    return margin


def _arguments(arguments: str) -> str:
    try:
        shlex.split(arguments)
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {error}") from None
    return arguments


def _rate(rate: str) -> str:
    from limits import parse_many  # loads in a moment, but not for those who only ask for help

    try:
        parse_many(rate or "1 per day")
        return rate
    except ValueError:
        raise ValueError("should be such as '600 per minute', or '10/second;5000/day'") from None


def _origins(origins: str) -> str:
    for origin in filter(None, map(str.strip, origins.split(","))):
        parts = urlsplit(origin)
        if "*" in origin or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}".lower():
            raise ValueError("should be exact origins such as https://a.example, with commas between them; no *")
    return origins


CascadeMargin = Annotated[float | Path, BeforeValidator(_margin)]
ClassifierName = Annotated[str, AfterValidator(_classifier)]
BaseURL = Annotated[str, AfterValidator(_base_url)]
ExtraBody = Annotated[str, AfterValidator(_object)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_fit_for_a_header)]
HeaderText = Annotated[str, AfterValidator(_fit_for_a_header)]
MirrorURL = Annotated[str, AfterValidator(_safe_for_a_key)]
Origins = Annotated[str, AfterValidator(_origins)]
ProviderNames = Annotated[str, AfterValidator(_providers)]
Rate = Annotated[str, AfterValidator(_rate)]
ShellArguments = Annotated[str, AfterValidator(_arguments)]
