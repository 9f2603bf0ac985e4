"""The tokens in which a JSON list of labels may be written, one choice after another, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.backends.backend import Token
from prompts.errors import InvalidSetting

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]

_OPEN, _NEXT, _CLOSE, _EMPTY = '["', '","', '"]', "[]"
_FORM = "a list of labels, an array of strings from an enum"


@dataclass(frozen=True)
class Piece:
    """A stretch of the answer and the tokens that write it."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class GrammarOption:
    """One way to go on, up to the next choice: an opening, or a label with what stands behind it.

    No option's tokens begin another's: a label is always taken together with the quote that ends it.
    """

    pieces: tuple[Piece, ...]
    ids: tuple[int, ...]
    label: int | None = None
    last: bool = False


class ListGrammar:
    """All answers that a schema of the ``json_list`` strategy allows, as token sequences.

    The answer is cut where tokenizers cut JSON by themselves (``["``, ``Drama``, ``","``, ``"]``), so that
    the model sees its own spelling wherever a label neither begins nor ends with a punctuation mark.

    Args:
        schema: an array of strings from an ``enum``, with ``minItems`` and
            ``maxItems`` where they are given. No label is given twice.
        encode: from text to tokens, without any special ones.
        decode: the reverse.

    Attributes:
        longest: tokens of the longest answer.

    Raises:
        InvalidSetting: a schema of another form, one that nothing can fulfil, or two labels of the same tokens.
    """

    def __init__(self, schema: Mapping[str, Any], encode: Encode, decode: Decode) -> None:
        names, self.least, self.most = _read(schema)
        self.decode = decode
        self.labels = tuple(_piece(encode, json.dumps(name, ensure_ascii=False)[1:-1], _OPEN) for name in names)
        self.open, self.empty = _piece(encode, _OPEN), _piece(encode, _EMPTY)
        self.next, self.close = _piece(encode, _NEXT, "a"), _piece(encode, _CLOSE, "a")
        _all_different(self.labels)
        sizes = sorted((len(label.ids) + len(self.next.ids) for label in self.labels), reverse=True)
        full = len(self.open.ids) + sum(sizes[: self.most]) + len(self.close.ids)
        self.longest = max(full, len(self.empty.ids))

    def spelling(self, labels: Sequence[str]) -> list[int]:
        """The tokens in which an answer with these labels, in this order, is written.

        Raises:
            KeyError: a label that the schema does not have.
        """
        if not labels:
            return list(self.empty.ids)
        ids = {label.text: label.ids for label in self.labels}
        spelt = [ids[json.dumps(label, ensure_ascii=False)[1:-1]] for label in labels]
        between = [token for label in spelt[:-1] for token in (*label, *self.next.ids)]
        return [*self.open.ids, *between, *spelt[-1], *self.close.ids]

    def openings(self) -> list[GrammarOption]:
        """The ways to begin."""
        begun = [GrammarOption((self.open,), self.open.ids)] if self.most else []
        return begun if self.least else [*begun, GrammarOption((self.empty,), self.empty.ids, last=True)]

    def continuations(self, given: Sequence[int]) -> list[GrammarOption]:
        """The ways to go on after some labels, by their places: each label not given yet, with what may follow it."""
        count = len(given) + 1
        ends = [(self.next, False)] if count < self.most else []
        ends += [(self.close, True)] if count >= self.least else []
        left = (place for place in range(len(self.labels)) if place not in given)
        return [self._option(place, end, last) for place in left for end, last in ends]

    def _option(self, place: int, end: Piece, last: bool) -> GrammarOption:
        label = self.labels[place]
        return GrammarOption((label, end), label.ids + end.ids, place, last)


class Walk:
    """One answer in the making.

    Attributes:
        text: what is written so far, up to the last choice that is complete.
        tokens: the same by tokens. Tokens that only together make a character are given as one.
        count: how many tokens of the model that is.
        done: whether the answer is complete.
    """

    def __init__(self, grammar: ListGrammar) -> None:
        self.text, self.tokens, self.count, self.done = "", list[Token](), 0, False
        self._grammar = grammar
        self._given: list[int] = []
        self._options, self._depth, self._logprobs = grammar.openings(), 0, list[float]()

    def allowed(self) -> list[int]:
        """The tokens that may come next."""
        return sorted({option.ids[self._depth] for option in self._options})

    def take(self, token: int, logprob: float) -> None:
        """Write one of the allowed tokens."""
        self._options = [option for option in self._options if option.ids[self._depth] == token]
        self._logprobs.append(logprob)
        self._depth += 1
        complete = next((option for option in self._options if len(option.ids) == self._depth), None)
        if complete:
            self._complete(complete)

    def forced(self) -> list[int]:
        """Write on for as long as there is nothing to choose; returns the tokens, each of probability 1."""
        written: list[int] = []
        while not self.done and len(allowed := self.allowed()) == 1:
            self.take(allowed[0], 0.0)
            written += allowed
        return written

    def _complete(self, option: GrammarOption) -> None:
        place = 0
        for piece in option.pieces:
            end = place + len(piece.ids)
            self.tokens += _tokens(piece, self._logprobs[place:end], self._grammar.decode)
            place = end
        self.text += "".join(piece.text for piece in option.pieces)
        self.count += len(option.ids)
        self.done = option.last
        if option.label is not None:
            self._given.append(option.label)
        self._options = [] if self.done else self._grammar.continuations(self._given)
        self._depth, self._logprobs = 0, []


def _tokens(piece: Piece, logprobs: Sequence[float], decode: Decode) -> list[Token]:
    """A piece by tokens, whose texts together are exactly its text, also where a token is half a character."""
    tokens: list[Token] = []
    begin, said = 0, ""
    for end in range(1, len(piece.ids) + 1):
        whole = piece.text if end == len(piece.ids) else decode(piece.ids[:end])
        if len(whole) > len(said) and piece.text.startswith(whole):
            tokens.append(Token(whole[len(said) :], sum(logprobs[begin:end])))
            begin, said = end, whole
    if begin < len(piece.ids) and tokens:  # the last tokens added nothing to the text, but have their probability
        tokens[-1] = Token(tokens[-1].text, tokens[-1].logprob + sum(logprobs[begin:]))
    return tokens


def _read(schema: Mapping[str, Any]) -> tuple[list[str], int, int]:
    """The labels, and how few and how many of them an answer has."""
    items = schema.get("items") if schema.get("type") == "array" else None
    names = items.get("enum") if isinstance(items, Mapping) else None
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidSetting(f"a model in this process writes {_FORM}, and nothing else; this schema is another")
    names = list(dict.fromkeys(names))
    least, most = schema.get("minItems", 0), min(schema.get("maxItems", len(names)), len(names))
    if not 0 <= least <= most:
        raise InvalidSetting(f"no answer has at least {least} of {len(names)} labels and at most {most}")
    return names, least, most


def _piece(encode: Encode, text: str, before: str = "") -> Piece:
    """The tokens of a text where it follows another, if the two have no token in common; else those of it alone."""
    lead, whole = tuple(encode(before)) if before else (), tuple(encode(before + text))
    return Piece(text, whole[len(lead) :] if whole[: len(lead)] == lead else tuple(encode(text)))


def _all_different(labels: Sequence[Piece]) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for label in labels:
        if (other := seen.setdefault(label.ids, label.text)) != label.text:
            raise InvalidSetting(f"the model's tokenizer cannot tell the labels {other!r} and {label.text!r} apart")
