"""A transport whose requests carry several conversations: vLLM's batched chat completions.

vLLM's single API process spends time on every request, whatever the model does; several conversations per request
doubled the throughput (``benchmarks/RESULTS.md``). Usage becomes an estimate: vLLM reports tokens per request, so
prompt tokens are divided by length. Cached tokens are unknown and removed, also from requests with one conversation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

from llm.backends.capabilities import Capabilities
from llm.backends.replies import list_in, object_in
from llm.backends.request_forms import Body
from llm.backends.transport import BATCH, CHAT, HTTPTransport
from llm.classifier import Problem

BATCH_SIZE = 32  # conversations per request; 16 to 64 have about the same throughput
_MORE_TEXTS = 4
_FINAL = ("timeout", "client_disconnected")  # the caller does not wait: no second request
_TEXT_PROBLEMS = ("too_long", "rejected")  # about a conversation; other problems are about the server
_PAUSE_SECONDS = 60.0


class BatchTransport:
    """Joins bodies that differ only in their conversations.

    The conversations of a failed batch are sent one by one, so that one text's failure is its own. If the server and
    not a text was at fault, no batch is sent for a minute.

    A batch has up to ``size`` conversations. All requests are single ones if the endpoint accepts no batches.
    """

    def __init__(self, transport: HTTPTransport, capabilities: Capabilities, size: int) -> None:
        self.endpoint, self.fingerprint_parts = transport.endpoint, transport.fingerprint_parts
        self.get, self.server_url = transport.get, transport.server_url
        self.redact, self.served_model = transport.redact, transport.served_model
        self._transport, self._capabilities, self._size = transport, capabilities, size
        # Batches have their own limiter, since their latency differs from that of single requests.
        self._batches = transport.clone(batches_in_flight(transport.concurrency, size))
        self._paused_until = 0.0

    def __repr__(self) -> str:
        return f"BatchTransport({self._transport!r}, {self._size})"

    def post(self, bodies: Sequence[Body], path: str = CHAT) -> list[Any]:
        if path != CHAT or not self._capabilities.supports("batch"):
            return self._transport.post(bodies, path)
        is_paused = time.monotonic() < self._paused_until
        replies = self._transport.post(bodies) if len(bodies) < 2 or is_paused else self._batched(bodies)
        return [_without_cached_tokens(reply) for reply in replies]

    def _batched(self, bodies: Sequence[Body]) -> list[Any]:
        batches = list(self._batches_of(bodies))
        results = self._batches.post([_joined(batch) for batch in batches], BATCH)
        replies = [
            reply for batch, result in zip(batches, results, strict=True) for reply in self._split(batch, result)
        ]
        failed = [i for i, reply in enumerate(replies) if isinstance(reply, Problem) and reply.kind not in _FINAL]
        for i, reply in zip(failed, self._transport.post([bodies[i] for i in failed]), strict=True):
            replies[i] = reply
        return replies

    def _batches_of(self, bodies: Sequence[Body]) -> Iterator[Sequence[Body]]:
        for _, group in groupby(bodies, key=_fields):
            alike = list(group)
            yield from (alike[start : start + self._size] for start in range(0, len(alike), self._size))

    def _split(self, batch: Sequence[Body], result: Any) -> Sequence[Any]:
        """A reply or a problem for each conversation of a batch."""
        replies = _replies(batch, result)
        if not isinstance(replies, Problem):
            return replies
        if replies.kind not in (*_FINAL, *_TEXT_PROBLEMS):
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
        return [replies] * len(batch)


def batches_in_flight(concurrency: int, size: int) -> int:
    """Maximum number of concurrent batches: with four times as many texts as single requests would have.

    A batch waits for the last of its texts, and the server should have other texts meanwhile. By default that is 256
    texts, vLLM's default ``max_num_seqs`` on most GPUs (higher on an H100).
    """
    return max(1, _MORE_TEXTS * concurrency // size)


def _fields(body: Body) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if name != "messages"}


def _joined(batch: Sequence[Body]) -> Body:
    return {**_fields(batch[0]), "messages": [body["messages"] for body in batch], "return_token_ids": True}


def _replies(batch: Sequence[Body], result: Any) -> list[Any] | Problem:
    """The reply to each conversation, as if it had been sent alone."""
    if isinstance(result, Problem):
        return result
    choices = [choice for choice in list_in(result, "choices") if isinstance(choice, dict)]
    by_index = {choice["index"]: choice for choice in choices if isinstance(choice.get("index"), int)}
    if by_index.keys() != set(range(len(batch))):
        return Problem("unreadable", "the endpoint answered 200, but not every conversation of a batch")
    choices = [by_index[index] for index in range(len(batch))]
    usage = object_in(result, "usage")
    prompts = divide(usage.get("prompt_tokens") or 0, [_length(body) for body in batch])
    completions = divide(
        usage.get("completion_tokens") or 0, [len(choice.get("token_ids") or "?") for choice in choices]
    )
    return [
        {"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}
        for choice, prompt, completion in zip(choices, prompts, completions, strict=True)
    ]


def _without_cached_tokens(reply: Any) -> Any:
    if not isinstance(reply, dict) or not isinstance(reply.get("usage"), dict):
        return reply
    return {**reply, "usage": {key: count for key, count in reply["usage"].items() if key != "prompt_tokens_details"}}


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a total into whole numbers by positive weights; the parts sum to the total.

    >>> divide(10, [1, 1, 2])
    [2, 3, 5]
    """
    marks = [total * cumulative // sum(weights) for cumulative in accumulate(weights, initial=0)]
    return [end - start for start, end in pairwise(marks)]


def _length(body: Body) -> int:
    """Characters of a conversation, from which its tokens are estimated."""
    return 1 + sum(len(message["content"]) for message in body["messages"])
