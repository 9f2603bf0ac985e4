"""A thread-safe cache of limited size that drops the least recently used entries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def _one(value: object) -> int:
    return 1


class LRUCache(Generic[Key, Value]):
    """Values by key, up to a total size in the unit of ``size_of``; by default, a number of entries."""

    def __init__(self, max_size: int, size_of: Callable[[Value], int] = _one) -> None:
        self._max_size, self._size_of = max_size, size_of
        self._entries: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """The value of a key, which becomes the most recently used; None where there is none."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Key, value: Value) -> None:
        """Add or replace a value. One that is larger than the whole cache is not added."""
        size = self._size_of(value)
        with self._lock:
            self._size -= self._entries.pop(key, (None, 0))[1]
            if size > self._max_size:
                return
            self._entries[key] = (value, size)
            self._size += size
            while self._size > self._max_size:
                self._size -= self._entries.popitem(last=False)[1][1]
