"""Small products of matrices on one thread.

After a batch, the encoder's threads turn in a loop for a while in case another comes. A product that wants all cores
then waits for a time slice: thirty milliseconds went by over what takes one thread half a millisecond.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np  # noqa: F401  (its library must be loaded to be found)

_LOCK = threading.Lock()  # the number of threads is the whole process's: what one has set, another must not restore


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy's products use one thread in this block; one block at a time, in whatever thread."""
    with _LOCK, _products().limit(limits=1):
        yield


@cache
def _products() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
