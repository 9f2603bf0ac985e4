"""The shortest way: a request that came before, word for word, and whose answer was remembered then too."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

_ANSWERS = 4_096
_LARGEST = 16_384  # bytes of an answer


@dataclass(frozen=True)
class Hot:
    """An answer as it was sent.

    Attributes:
        body: the JSON, ready to send.
        model: who had given it.
        texts: how many texts it is about.
    """

    body: bytes
    model: str
    texts: int


class HotAnswers:
    """The answers sent last, by the bytes of the request.

    Only what the answer cache remembered is kept here: such an answer depends on nothing but the request and on what
    was fixed at the start. It spares the reading of the request, the rendering of the prompt and SQLite.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Hot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, body: bytes) -> Hot | None:
        """The answer to these bytes, where there is one."""
        key = hashlib.sha256(body).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, body: bytes, answer: Hot) -> None:
        """Keep an answer; the least recently used one goes where there are too many."""
        if len(answer.body) > _LARGEST:
            return
        with self._lock:
            self._kept[hashlib.sha256(body).digest()] = answer
            while len(self._kept) > _ANSWERS:
                self._kept.popitem(last=False)
