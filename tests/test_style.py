"""Plain technical English: terms that code, docs, help and messages do not use, each with the term to use instead.

``tests/style_allowed.txt`` lists files that still have such terms, with their number, which may only fall::

    python -m tests.test_style             # lower the numbers in the list to what is found now
    python -m tests.test_style llm docs    # show what is found in files or folders, with lines
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).parent / "style_allowed.txt"
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".jinja", ".html", ".js", ".css", ".toml", ".txt", ".ipynb"}
NAMES = {"Makefile", "Dockerfile", "run"}
SKIPPED = (
    "tests/*",  # the rule is for code that users read and run
    "data/*",  # texts of others
    "var/*",
    "training/matcher/label_phrasings.yaml",  # training data: wordings of labels
)

# A regular expression of the term, any case, at word boundaries -> what to write instead.
TERMS = {
    "anew": "again; overwrite; restart",
    "whoever": "the client; the caller; the process",
    "nobody": "no client; no caller",
    "likelier|likeliest": "more probable; most probable",
    "dear(er|est|ly)?": "expensive; cost",
    "mend(s|ed|ing)?": "repair; fix",
    "shelf|shelves": "registry; folder",
    "rooms?": "package; space; capacity",
    "houses?": "architecture; project",
    "told": "reported; logged; passed",
    "asked": "requested; called; queried",
    "stands": "is; is stored; is written",
    "held": "kept; locked; stored",
    "(is|are) known of": "is known about; names the fact itself",
    "at the door": "at the entry point; at the HTTP edge",
    "front doors?": "entry point",
    "canary|canaries": "capability check",
    "honou?r(s|ed|ing)?": "supports",
    "turned away": "rejected",
    "wiring": "factory; composition",
    "shots": "few-shot examples",
    "vocabulary|vocabularies": "taxonomy",
    "carriers?|wires?": "HTTP client; transport",
    "remembered": "cached",
    "by heart": "memorised",
    "who asks|who answers|who may ask": "the client; the backend; authentication",
}
_DENIED = re.compile(
    r"\b(?:" + "|".join(term.replace(" ", r"\s+") for term in sorted(TERMS, key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)


class Permit(NamedTuple):
    """A term that is right in its context: a pattern of file names, the context, and why."""

    files: str
    context: str
    reason: str


PERMITS = [
    Permit("*", r"held[- ]out", "held-out data is the field's term"),
    Permit("*", r"token vocabulary|tokens of a vocabulary", "a tokenizer has a vocabulary"),
    Permit("eval/baselines/tfidf.py", r"vocabulary", "the terms of TF-IDF; scikit-learn's parameter of that name"),
    Permit("prompts/templates/*", r".*", "published prompts never change: their digest is part of every answer"),
    Permit("prompts/taxonomies/*.yaml", r"description:.*", "model input: another wording changes measured results"),
    Permit("docs/examples/*.yaml", r"description:.*", "model input: measured on the page of the example"),
    Permit("llm/embedded/cosine.py", r"[a-z ]+(?=;)", "topics that texts are compared with"),
    Permit("service/page/static/examples.js", r'^\s+"[^"]*"', "example texts, as an author would write them"),
    Permit("service/foreign_names.py", r"\"vocabulary\"", "a field name of other APIs"),
    Permit("prompts/template.py", r"shots=\(\)", "a variable of the published templates of version 1"),
    Permit("CHANGELOG.md", r"^\| .* \|$", "the table of old and new names"),
    Permit("docs/examples/*.md", r'"[^"\n]*"|^\| The number 7 bus[^|]*', "example texts"),
]
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GLUE = re.compile(r"\\[nt]|[_\\]")


class Hit(NamedTuple):
    """A denied term in a file, with the number of its line."""

    line: int
    term: str

    @property
    def instead(self) -> str:
        return next(use for term, use in TERMS.items() if re.fullmatch(term.replace(" ", r"\s+"), self.term, re.I))


def hits_of(text: str, name: str = "") -> list[Hit]:
    """Denied terms of a text in its order; identifiers are read as words (``told_twice``, ``whoAsks``)."""
    words = _GLUE.sub(" ", _CAMEL.sub(" ", text))
    permitted = [
        (found.start(), found.end())
        for permit in PERMITS
        if fnmatch(name, permit.files)
        for found in re.finditer(permit.context, words, re.IGNORECASE | re.MULTILINE)
    ]
    return [
        Hit(words.count("\n", 0, found.start()) + 1, found.group())
        for found in _DENIED.finditer(words)
        if not any(start <= found.start() < end for start, end in permitted)
    ]


def text_of(path: Path) -> str:
    """A file's text; of a notebook its cells without their outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def files() -> Iterator[tuple[str, Path]]:
    """Names and paths of all files that the rule is for, in order."""
    for top in sorted(ROOT.iterdir()):
        if top.name.startswith(".") and top.name not in {".ci", ".github", ".pre-commit-config.yaml"}:
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            name = path.relative_to(ROOT).as_posix()
            wanted = path.suffix in SUFFIXES or path.name in NAMES
            if wanted and path.is_file() and not any(fnmatch(name, skipped) for skipped in SKIPPED):
                yield name, path


def listed() -> dict[str, int]:
    """The number of denied terms that each file may have."""
    lines = LIST.read_text(encoding="utf-8").splitlines() if LIST.exists() else []
    return {name: int(number) for name, number in (line.rsplit(" ", 1) for line in lines)}


def test_no_file_has_more_denied_terms_than_are_listed() -> None:
    allowed = listed()
    found = {name: hits_of(text_of(path), name) for name, path in files()}
    over = {name: hits for name, hits in found.items() if len(hits) > allowed.get(name, 0)}
    assert not over, "\n".join(
        f"{name}:{hit.line}: {hit.term!r}; use: {hit.instead}" for name, hits in over.items() for hit in hits
    )


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Whoever asked is told.", ["Whoever", "asked", "told"]),
        ("def turned_away(): ...", ["turned away"]),
        ("class FrontDoor: ...", ["Front Door"]),
        ("it is known\n    of none", ["is known\n    of"]),
        ("warehouse, standstill, mendacious, dearth, bedroom", []),
        ("measured on held-out plots and HELD_OUT", []),
        ("a held lock", ["held"]),
        ("'\\ntold'", ["told"]),
    ],
)
def test_terms_are_found_in_prose_and_in_identifiers(text: str, terms: list[str]) -> None:
    assert [hit.term for hit in hits_of(text)] == terms


def test_every_term_says_what_to_use_instead() -> None:
    for term in TERMS:
        for one in re.sub(r"\(([^)|]*)[^)]*\)\??|(\w)\?", r"\1", term).split("|"):
            (hit,) = hits_of(one)
            assert hit.instead == TERMS[term]


def _show(parts: list[str]) -> None:
    for name, path in files():
        if any(name == part or name.startswith(f"{part.rstrip('/')}/") for part in parts):
            for hit in hits_of(text_of(path), name):
                print(f"{name}:{hit.line}: {' '.join(hit.term.split())!r}; use: {hit.instead}")


def _lower() -> None:
    found = {name: len(hits_of(text_of(path), name)) for name, path in files()}
    allowed = listed() if LIST.exists() else found
    kept = {name: min(number, found.get(name, 0)) for name, number in sorted(allowed.items())}
    LIST.write_text("".join(f"{name} {number}\n" for name, number in kept.items() if number), encoding="utf-8")
    print(f"{sum(kept.values())} terms in {sum(map(bool, kept.values()))} files")


if __name__ == "__main__":
    _show(sys.argv[1:]) if sys.argv[1:] else _lower()
