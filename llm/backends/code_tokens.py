"""The token ids of codes, for engines that return the log-probabilities of given ids.

One code is several tokens of a vocabulary: ``A``, `` A`` (byte-level BPE ``ĠA``, SentencePiece ``▁A``), and other cases
such as ``a`` where no other code has that spelling (``codes.code_of``). A model may write any of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from llm.backends.codes import code_of
from prompts.errors import InvalidSetting

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]

_LINE_BREAK = "\n"  # SentencePiece puts a space before the first word of a text, but none behind a line break
_BEFORE = ("", _LINE_BREAK, " ")


class CodeTokens:
    """Finds the tokens of codes with a model's tokenizer; each set of codes is tokenized once.

    Args:
        tokenize: from texts to their token ids, without special tokens; a negative id is the unknown token.
        limit: maximum number of ids for one set of codes.
    """

    def __init__(self, tokenize: Tokenize, limit: int = sys.maxsize) -> None:
        self._tokenize, self._limit = tokenize, limit
        self._cached: dict[tuple[str, ...], Mapping[int, str]] = {}

    def of(self, codes: Sequence[str], model: str) -> Mapping[int, str]:
        """The code of each token id; every code has at least one.

        Spellings are added one kind at a time (another space, another case). The first kind that exceeds the limit is
        left out for all codes, so that no code gains over another.

        Args:
            codes: all codes of one question.
            model: the model's name, for the error.

        Raises:
            InvalidSetting: a code has no token of its own.
        """
        key = tuple(codes)
        if key not in self._cached:
            self._cached[key] = self._found(key, model)
        return self._cached[key]

    def known(self, codes: Sequence[str]) -> Mapping[int, str] | None:
        """The same without tokenizing; None for codes that were not looked up yet."""
        return self._cached.get(tuple(codes))

    def _found(self, codes: Sequence[str], model: str) -> Mapping[int, str]:
        kinds = list(_kinds(codes))
        tokens = self._tokens(chain.from_iterable(kind.values() for kind in kinds))
        ids = _own(codes, kinds[: len(_BEFORE)], tokens)
        for code in codes:
            if code not in ids.values():
                raise InvalidSetting(
                    f"the code {code!r} is not a single token of {model}; choose the strategy json_list"
                )
        for kind in kinds:
            added = {tokens[text]: code for code, text in kind.items() if text in tokens}
            if len(ids.keys() | added.keys()) > self._limit:
                break
            ids |= {one: code for one, code in added.items() if one not in ids}
        return ids

    def _tokens(self, texts: Iterable[str]) -> dict[str, int]:
        """The id of each text that is one token, a line break before it not counted."""
        texts = list(dict.fromkeys(texts))
        line_break, *found = map(list, self._tokenize([_LINE_BREAK, *texts]))
        tokens = {}
        for text, ids in zip(texts, found, strict=True):
            own = _behind(line_break, ids) if text.startswith(_LINE_BREAK) else ids
            if len(own) == 1 and own[0] >= 0:
                tokens[text] = own[0]
        return tokens


def encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of texts by a tokenizer of ``transformers``, as ``CodeTokens`` takes them."""
    unknown = tokenizer.unk_token_id
    found = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return [[-1 if one == unknown else int(one) for one in ids] for ids in found]


def _kinds(codes: Sequence[str]) -> Iterator[dict[str, str]]:
    """The texts of the codes, one kind of spelling at a time: first as they are, then in other cases."""
    for before in _BEFORE:
        yield {code: before + code for code in codes}
    for case in (str.lower, str.upper, str.capitalize):
        for before in _BEFORE:
            yield {code: before + case(code) for code in codes if code_of(case(code), codes) == code}


def _own(codes: Sequence[str], kinds: Sequence[Mapping[str, str]], tokens: Mapping[str, int]) -> dict[int, str]:
    """One id for each code that is a single token, written as it is. An id of two codes counts for the first one."""
    ids: dict[int, str] = {}
    for code in codes:
        found = [tokens[kind[code]] for kind in kinds if kind[code] in tokens]
        ids |= {one: code for one in found[:1] if one not in ids}
    return ids


def _behind(beginning: list[int], ids: list[int]) -> list[int]:
    return ids[len(beginning) :] if ids[: len(beginning)] == beginning else []
