"""The response cache: the answer to a request that came before byte for byte, and whose answer was cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from llm.request_context import CURRENT_REQUEST
from similarity.lru import LRUCache

_ANSWERS = 4_096
_LARGEST = 16_384  # bytes of an answer


@dataclass(frozen=True)
class CachedResponse:
    """An answer as it was sent.

    Attributes:
        body: the JSON, ready to send.
        model: who had given it.
        texts: how many texts it is about.
    """

    body: bytes
    model: str
    texts: int


class ResponseCache:
    """The answers sent last, by the bytes of the request and, unless they are shared, by its API key.

    Only what the answer cache holds is kept here: such an answer depends on nothing but the request and on what was
    fixed at the start. It spares the reading of the request, the rendering of the prompt and SQLite.

    Args:
        shared: whether requests with different API keys share answers; see ``llm.wrappers.cache.Cached``.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        self._kept: LRUCache[bytes, CachedResponse] = LRUCache(_ANSWERS)

    def get(self, body: bytes) -> CachedResponse | None:
        """The answer to these bytes, where there is one."""
        return self._kept.get(self._key(body))

    def put(self, body: bytes, answer: CachedResponse) -> None:
        """Cache an answer, unless it is a large one."""
        if len(answer.body) <= _LARGEST:
            self._kept.put(self._key(body), answer)

    def _key(self, body: bytes) -> bytes:
        scope = "" if self._shared else CURRENT_REQUEST.get().cache_salt
        return hashlib.sha256(scope.encode() + b"\0" + body).digest()
