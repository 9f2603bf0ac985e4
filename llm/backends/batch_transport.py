"""A transport whose requests carry many conversations each: vLLM's batched chat completions.

vLLM's one API process has work with every request, whatever the model has to do for it; many conversations a request
came to twice as many texts a second (``benchmarks/RESULTS.md``). What is lost is the account of each text: the reply
tells the prompt tokens of all its conversations in one sum, and nothing of cached ones. These are not told of a
conversation that goes by itself either: the sum of those would pass for the sum of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

from llm.backends.capabilities import Capabilities
from llm.backends.transport import BATCH, CHAT, Body, HTTPTransport
from llm.classifier import Problem

TOGETHER = 32  # conversations a request, where no account of each is wanted; 16 to 64 come to much the same
_MORE_TEXTS = 4
_GIVEN_UP = ("timeout", "client_disconnected")  # whoever asked waits no longer: there is nothing to ask again
_ITS_TEXTS = ("too_long", "rejected")  # what a server says of a conversation; anything else, of itself
_CACHED = "prompt_tokens_details"
_REST_SECONDS = 60.0


class BatchTransport:
    """Sends bodies that differ in their conversations alone together.

    A batch that fails is asked text by text, so that one text's failure is its own; where it was not a text that was to
    blame, no further batch is sent for a minute.

    Args:
        transport: to the endpoint; what goes by itself goes over it, which is all where batches are not taken.
        honours: what the endpoint was seen to honour (``capabilities.CapabilityProbe``).
        size: the most conversations of one request.
    """

    def __init__(self, transport: HTTPTransport, capabilities: Callable[[], Capabilities], size: int) -> None:
        self.place = transport.place
        # Batches have a transport of their own, whose limiter knows their latency and no other's.
        self._transport, self._batches, self._size = (
            transport,
            transport.clone(under_way(transport.concurrency, size)),
            size,
        )
        self._capabilities, self._resting_until = capabilities, 0.0

    def __repr__(self) -> str:
        return f"BatchTransport({self._transport!r}, {self._size})"

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        """See ``HTTPTransport.post``."""
        if path != CHAT or not self._capabilities().supports("batch"):
            return self._transport.post(bodies, path)
        replies = self._transport.post(bodies) if len(bodies) < 2 or self._rests() else self._batched(bodies)
        return [_without_cached(reply) for reply in replies]

    def beside(self, path: str) -> str:
        """See ``HTTPTransport.beside``."""
        return self._transport.beside(path)

    def get(self, path: str) -> Any:
        """See ``HTTPTransport.get``."""
        return self._transport.get(path)

    def redacted(self, words: str) -> str:
        """See ``HTTPTransport.redacted``."""
        return self._transport.redacted(words)

    def served(self, model: str) -> str:
        """See ``HTTPTransport.served``."""
        return self._transport.served(model)

    @property
    def fingerprint_parts(self) -> Mapping[str, Any]:
        """See ``HTTPTransport.fingerprint_parts``."""
        return self._transport.fingerprint_parts

    def _batched(self, bodies: Sequence[Body]) -> list[Any]:
        batches = list(self._divided(bodies))
        replies = self._batches.post([_together(batch) for batch in batches], BATCH)
        apart = [one for batch, reply in zip(batches, replies, strict=True) for one in self._apart(batch, reply)]
        alone = [place for place, reply in enumerate(apart) if _is_asked_again(reply)]
        for place, reply in zip(alone, self._transport.post([bodies[place] for place in alone]), strict=True):
            apart[place] = reply
        return apart

    def _rests(self) -> bool:
        return time.monotonic() < self._resting_until

    def _divided(self, bodies: Sequence[Body]) -> Iterator[Sequence[Body]]:
        for _, like in groupby(bodies, key=_fields):
            alike = list(like)
            yield from (alike[start : start + self._size] for start in range(0, len(alike), self._size))

    def _apart(self, batch: Sequence[Body], reply: Any) -> Sequence[Any]:
        """A reply for each conversation, or the problem in place of each."""
        replies = _replies(batch, reply)
        if isinstance(replies, Problem):
            if replies.kind not in (*_GIVEN_UP, *_ITS_TEXTS):
                self._resting_until = time.monotonic() + _REST_SECONDS
            return [replies] * len(batch)
        return replies


def under_way(concurrency: int, size: int) -> int:
    """Number of batches in flight.

    Batches may hold four times as many texts as single requests: a reply waits for the last of its texts, and the
    server needs other texts meanwhile. Usually that is 256 texts, vLLM's default of concurrent sequences on most GPUs
    (``max_num_seqs``; more on an H100).
    """
    return max(1, _MORE_TEXTS * concurrency // size)


def _fields(body: Body) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if name != "messages"}


def _together(batch: Sequence[Body]) -> Body:
    return {**_fields(batch[0]), "messages": [body["messages"] for body in batch], "return_token_ids": True}


def _is_asked_again(reply: Any) -> bool:
    return isinstance(reply, Problem) and reply.kind not in _GIVEN_UP


def _replies(batch: Sequence[Body], reply: Any) -> list[Any] | Problem:
    """The reply to each conversation as if it had been asked by itself."""
    if isinstance(reply, Problem):
        return reply
    choices = reply.get("choices") if isinstance(reply, dict) else None
    told = {
        choice["index"]: choice
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, dict) and isinstance(choice.get("index"), int)
    }
    if told.keys() != set(range(len(batch))):
        return Problem("unreadable", "the endpoint answered 200, but not every conversation of a batch")
    usage = reply.get("usage") or {}
    prompts = shared_out(usage.get("prompt_tokens") or 0, [_length(body) for body in batch])
    written = shared_out(
        usage.get("completion_tokens") or 0, [len(told[place].get("token_ids") or "?") for place in range(len(batch))]
    )
    return [
        {"choices": [told[place]], "usage": {"prompt_tokens": prompts[place], "completion_tokens": written[place]}}
        for place in range(len(batch))
    ]


def _without_cached(reply: Any) -> Any:
    if not isinstance(reply, dict) or not isinstance(reply.get("usage"), dict):
        return reply
    return {**reply, "usage": {name: count for name, count in reply["usage"].items() if name != _CACHED}}


def shared_out(total: int, parts: Sequence[int]) -> list[int]:
    """A sum in whole numbers by parts that are positive: no token is lost, none is added.

    >>> shared_out(10, [1, 1, 2])
    [2, 3, 5]
    """
    marks = [total * so_far // sum(parts) for so_far in accumulate(parts, initial=0)]
    return [end - start for start, end in pairwise(marks)]


def _length(body: Body) -> int:
    """Characters of a conversation, the beginning that all share among them: its tokens are guessed at by these."""
    return 1 + sum(len(message["content"]) for message in body["messages"])
