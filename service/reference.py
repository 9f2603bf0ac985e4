"""The reference pages of ``docs/``, made from the program itself: settings from their class, routes from OpenAPI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from marquee.settings import Settings, environment_name
from service.problem_kinds import KINDS

Schema = Mapping[str, Any]

_SETTINGS = """\
# Configuration

*Made by `make docs` from `marquee/settings.py`; change it there.*

Settings come from the environment, or from lines `NAME=value` in a file `.env` in the project's root; the environment
goes first. A misspelt or impossible setting stops the start with one line that says which. Blocks for the usual
endpoints stand in [endpoints.md](endpoints.md)."""
_HTTP = """\
# HTTP

*Made by `make docs` from the routes and their pydantic models; a running service tells the same at `/openapi.json`, and
at `/docs` with a form to try each route.*

Bodies and answers are JSON in UTF-8; a body may be in UTF-16 or UTF-32, and compressed (`Content-Encoding: gzip` or
`deflate`). An unknown field is an error. Where keys are in use they come as
`Authorization: Bearer KEY` or `X-API-Key: KEY`. `X-Request-Timeout: 5` allows a request five seconds; `X-Request-ID`
comes back and stands in the log. Errors are `application/problem+json` (RFC 9457), see [Problems](#problems)."""

_PROBLEMS = """\
`type` is `/problems/` and the name, after the prefix where the service is under one. `GET /problems/NAME` explains it:
what happened, the usual causes and what to do, as a page in a browser and as JSON for programs. In a batch, what is
wrong with one text (empty, no string, too long, refused or unreadable) is the `problem` of that text in `results`, and
the other texts are answered."""


def configuration() -> str:
    """``docs/configuration.md``: every setting with its meaning, its values and its default."""
    fields, properties = Settings.model_fields, Settings.model_json_schema()["properties"]
    lines = [_SETTINGS]
    for name, field in fields.items():
        if name in GROUPS:
            lines += [f"\n## {GROUPS[name]}\n", *_heads("setting", "meaning", "values", "default")]
        schema = properties[name]
        cells = (f"`{environment_name(name)}`", field.description or "", _values(schema), _default(field.default))
        lines.append(_row(*cells))
    return "\n".join(lines) + "\n"


def http(document: Schema) -> str:
    """``docs/http.md``: every route, every body and answer, every problem.

    Args:
        document: what ``service.openapi.document`` makes.
    """
    schemas = document["components"]["schemas"]
    lines = [_HTTP, "\n## Routes\n", *_heads("route", "what it does", "body", "answer")]
    lines += [_route(path, method, operation) for path, method, operation in _operations(document)]
    for path, method, operation in _operations(document):
        if "requestBody" in operation:
            lines += _told(path, method, operation)
    lines.append("\n## Bodies and answers\n")
    for name, schema in schemas.items():
        lines += [f"### {name}\n", f"{_plain(schema.get('description', ''))}\n", *_fields(schema), ""]
    lines += ["## Problems\n", f"{_PROBLEMS}\n"]
    lines += _heads("status", "name", "title", "what to do first")
    lines += [_row(str(kind.status), f"`{slug}`", kind.title, kind.remedies[0]) for slug, kind in _by_status()]
    return "\n".join(lines) + "\n"


def _operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _route(path: str, method: str, operation: Schema) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    good = operation["responses"]["200"]["content"]
    answers = [_type(content["schema"]) if media == "application/json" else media for media, content in good.items()]
    return _row(f"`{method} {path}`", operation["summary"], _type(body) if body else "", ", ".join(answers))


def _told(path: str, method: str, operation: Schema) -> list[str]:
    """A route that takes a body: an example to paste, and with which problems it may fail."""
    example = operation["requestBody"]["content"]["application/json"]["example"]
    names = [slug for status in operation["responses"].values() for slug in _slugs(status)]
    return [
        f"\n### {method} {path}\n",
        _plain(f"{operation['summary']}. {operation.get('description', '')}") + "\n",
        "```sh",
        f"curl -X {method} http://127.0.0.1:5000{path} -H 'Content-Type: application/json' \\",
        f"  -d '{json.dumps(example)}'",
        "```\n",
        "May fail with " + ", ".join(f"`{slug}`" for slug in names) + ".",
    ]


def _slugs(response: Schema) -> list[str]:
    schema = response["content"].get("application/problem+json", {}).get("schema", {})
    types = [part["properties"]["type"]["pattern"] for part in schema.get("allOf", []) if "properties" in part]
    return [slug for pattern in types for slug in re.findall(r"[a-z]+(?:-[a-z]+)*", pattern)[1:]]


def _fields(schema: Schema) -> list[str]:
    required = schema.get("required", [])
    rows = [
        _row(f"`{name}`", _type(one), _plain(one.get("description", "")), "" if name in required else _json(one))
        for name, one in schema.get("properties", {}).items()
    ]
    return [*_heads("field", "type", "meaning", "default"), *rows]


def _type(schema: Schema) -> str:
    """A schema in a few words; other schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if kinds := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_type(one) for one in kinds if one.get("type") != "null")
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(inner := schema.get("additionalProperties"), Mapping):
        return f"object of {_type(inner)}"
    bounds = _bounds(schema)
    return f"{schema.get('type', 'null')}{', ' + bounds if bounds else ''}"


def _values(schema: Schema) -> str:
    """What a setting takes."""
    given = next((one for one in schema.get("anyOf", []) if one.get("type") != "null"), schema)
    if "enum" in given:
        return ", ".join(f"`{one}`" for one in given["enum"])
    kind = {"boolean": "`true`, `false`", "integer": "whole number", "number": "number"}.get(given["type"], "text")
    bounds = _bounds(given)
    return f"{kind}, {bounds}" if bounds else {"path": "path", "password": "secret"}.get(given.get("format", ""), kind)


def _bounds(schema: Schema) -> str:
    said = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "minLength": "length from {}"}
    return " ".join(words.format(_digits(schema[key])) for key, words in said.items() if key in schema)


def _digits(number: float) -> str:
    """With commas from five digits on: a year has none."""
    return f"{number:,}" if abs(number) >= 10_000 else f"{number}"


def _default(value: Any) -> str:
    if hasattr(value, "get_secret_value") or value in (None, ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _json(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default)}`"


def _by_status() -> list[tuple[str, Any]]:
    return sorted(KINDS.items(), key=lambda one: (one[1].status, one[0]))


def _heads(*names: str) -> Sequence[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())


# The first setting of each group; the others follow it in the class.
GROUPS: Mapping[str, str] = {
    "classifier": "Who answers",
    "strategy": "How a language model is read",
    "timeout": "Asking an endpoint",
    "taxonomy": "Vocabulary",
    "cache": "Remembered answers",
    "vllm_python": "vLLM, where `serve --vllm` starts it",
    "lookup_providers": "Looking titles up",
    "index": "Similar films",
    "host": "Address and keys",
    "workers": "Load",
    "max_body_bytes": "Limits of a request",
}
