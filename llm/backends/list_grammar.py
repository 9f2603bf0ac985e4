"""Token grammar of a JSON list of labels: which tokens may come next at each position of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm.backends.backend import Token
from prompts.errors import InvalidSetting

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]

_OPEN, _NEXT, _SPACED_NEXT, _CLOSE, _EMPTY = '["', '","', '", "', '"]', "[]"


class Piece(NamedTuple):
    """A part of the answer and its tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class GrammarOption:
    """One continuation up to the next choice: an opening, or a label with the punctuation after it.

    The tokens of no option are a prefix of another's, since a label always includes the quote that ends it.
    """

    pieces: tuple[Piece, ...]
    ids: tuple[int, ...]
    label: int | None = None
    last: bool = False


class ListGrammar:
    """All answers that a schema of the ``json_list`` strategy permits, as token sequences.

    The answer is divided where tokenizers divide JSON (``["``, ``Drama``, ``","``, ``"]``), so that labels keep their
    usual tokens unless they begin or end with a punctuation mark. A space may follow a comma, as most models write it.
    Without, Qwen2.5-Coder-0.5B ended after one label: it gave ``",`` 96 %, ``"]`` 3 % and ``","`` 0.3 %.

    The schema is an array of strings from an ``enum``, optionally with ``minItems`` and ``maxItems``; no label is
    repeated. ``encode`` adds no special tokens. ``longest`` is the number of tokens of the longest answer.

    Raises:
        InvalidSetting: another schema, a schema that no answer satisfies, or two labels with the same tokens.
    """

    def __init__(self, schema: Mapping[str, Any], encode: Encode, decode: Decode) -> None:
        names, self.min_labels, self.max_labels = _read(schema)
        self.decode = decode
        self.labels = tuple(_piece(encode, json.dumps(name, ensure_ascii=False)[1:-1], _OPEN) for name in names)
        self.open, self.empty = _piece(encode, _OPEN), _piece(encode, _EMPTY)
        self.next, self.close = _piece(encode, _NEXT, "a"), _piece(encode, _CLOSE, "a")
        self._spaced_next = _piece(encode, _SPACED_NEXT, "a")
        _check_distinct(self.labels)
        comma = max(len(self.next.ids), len(self._spaced_next.ids))
        sizes = sorted((len(label.ids) + comma for label in self.labels), reverse=True)
        full = len(self.open.ids) + sum(sizes[: self.max_labels]) + len(self.close.ids)
        self.longest = max(full, len(self.empty.ids))

    def spelling(self, labels: Sequence[str]) -> list[int]:
        """The tokens of the answer with these labels in this order, without spaces.

        Raises:
            KeyError: a label that the schema does not have.
        """
        if not labels:
            return list(self.empty.ids)
        ids = {label.text: label.ids for label in self.labels}
        first, *others = (ids[json.dumps(label, ensure_ascii=False)[1:-1]] for label in labels)
        return [*self.open.ids, *first, *(i for other in others for i in (*self.next.ids, *other)), *self.close.ids]

    def openings(self) -> list[GrammarOption]:
        opening = [GrammarOption((self.open,), self.open.ids)] if self.max_labels else []
        return opening if self.min_labels else [*opening, GrammarOption((self.empty,), self.empty.ids, last=True)]

    def continuations(self, written: Sequence[int]) -> list[GrammarOption]:
        """The options after some labels, given by index: each other label with the punctuation that may follow it."""
        count = len(written) + 1
        ends = [(self.next, False), (self._spaced_next, False)] if count < self.max_labels else []
        ends += [(self.close, True)] if count >= self.min_labels else []
        labels = [(index, label) for index, label in enumerate(self.labels) if index not in written]
        return [
            GrammarOption((label, end), label.ids + end.ids, index, last)
            for index, label in labels
            for end, last in ends
        ]


class ListWriter:
    """One answer while it is generated.

    Attributes:
        text: the text up to the last complete option.
        tokens: the tokens of the text. Tokens that form one character together are joined.
        count: number of the model's tokens in it.
        done: whether the answer is complete.
    """

    def __init__(self, grammar: ListGrammar) -> None:
        self.text, self.tokens, self.count, self.done = "", list[Token](), 0, False
        self._grammar = grammar
        self._labels: list[int] = []
        self._options, self._depth, self._logprobs = grammar.openings(), 0, list[float]()

    def allowed(self) -> list[int]:
        """The tokens that may come next."""
        return sorted({option.ids[self._depth] for option in self._options})

    def take(self, token: int, logprob: float) -> None:
        """Append one of the allowed tokens."""
        self._options = [option for option in self._options if option.ids[self._depth] == token]
        self._logprobs.append(logprob)
        self._depth += 1
        complete = next((option for option in self._options if len(option.ids) == self._depth), None)
        if complete:
            self._complete(complete)

    def forced(self) -> list[int]:
        """Append tokens while only one is allowed; returns them. Each has probability 1."""
        appended: list[int] = []
        while not self.done and len(allowed := self.allowed()) == 1:
            self.take(allowed[0], 0.0)
            appended += allowed
        return appended

    def _complete(self, option: GrammarOption) -> None:
        start = 0
        for piece in option.pieces:
            end = start + len(piece.ids)
            self.tokens += _tokens(piece, self._logprobs[start:end], self._grammar.decode)
            start = end
        self.text += "".join(piece.text for piece in option.pieces)
        self.count += len(option.ids)
        self.done = option.last
        if option.label is not None:
            self._labels.append(option.label)
        self._options = [] if self.done else self._grammar.continuations(self._labels)
        self._depth, self._logprobs = 0, []


def _tokens(piece: Piece, logprobs: Sequence[float], decode: Decode) -> list[Token]:
    """The tokens of a piece, whose texts join to its text even if a token is half a character."""
    tokens: list[Token] = []
    start, text = 0, ""
    for end in range(1, len(piece.ids) + 1):
        longer = piece.text if end == len(piece.ids) else decode(piece.ids[:end])
        if len(longer) > len(text) and piece.text.startswith(longer):
            tokens.append(Token(longer[len(text) :], sum(logprobs[start:end])))
            start, text = end, longer
    if start < len(piece.ids) and tokens:  # the last tokens add no text, but have a probability
        tokens[-1] = Token(tokens[-1].text, tokens[-1].logprob + sum(logprobs[start:]))
    return tokens


def _read(schema: Mapping[str, Any]) -> tuple[list[str], int, int]:
    """The labels, and their minimum and maximum number in an answer."""
    items = schema.get("items") if schema.get("type") == "array" else None
    names = items.get("enum") if isinstance(items, Mapping) else None
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidSetting(
            "a local model supports only the schema of a list of labels: an array of strings from an enum"
        )
    names = list(dict.fromkeys(names))
    minimum, maximum = schema.get("minItems", 0), min(schema.get("maxItems", len(names)), len(names))
    if not 0 <= minimum <= maximum:
        raise InvalidSetting(f"no answer has at least {minimum} of {len(names)} labels and at most {maximum}")
    return names, minimum, maximum


def _piece(encode: Encode, text: str, before: str = "") -> Piece:
    """The tokens of a text after another text; its tokens alone if a token would span both."""
    prefix, joined = tuple(encode(before)) if before else (), tuple(encode(before + text))
    return Piece(text, joined[len(prefix) :] if joined[: len(prefix)] == prefix else tuple(encode(text)))


def _check_distinct(labels: Sequence[Piece]) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label in labels:
        if (other := seen.setdefault(label.ids, label.text)) != label.text:
            raise InvalidSetting(f"the model's tokenizer gives the labels {other!r} and {label.text!r} the same tokens")
