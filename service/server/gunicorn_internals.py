"""What the worker uses of gunicorn beyond its documented settings and hooks, checked when the server starts.

gunicorn documents no way to give a slow client's thread back, to keep a thread with a busy connection, or to empty the
listening sockets before the end. The worker overrides methods of the threaded worker for that. Another release of
gunicorn may rename them, so the requirements pin one, and this list is compared with the installed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from types import FunctionType
from typing import Any

from gunicorn.http.message import Message
from gunicorn.http.unreader import Unreader
from gunicorn.workers import gthread

from prompts.errors import InvalidSetting

TESTED = "27.0.1"

# Returned by the worker's ``handle``: the connection goes back to the poller until its first byte arrives.
DEFER: object = getattr(gthread, "_DEFER", None)

# Where a name is used of -> names that it has, and names that its constructor sets.
_NAMES: tuple[tuple[Any, tuple[str, ...], tuple[str, ...]], ...] = (
    (gthread, ("_DEFER",), ()),
    (gthread.TConn, ("wait_for_data",), ("initialized", "data_ready", "parser", "sock")),
    (
        gthread.ThreadWorker,
        ("handle", "handle_exit", "murder_pending", "set_accept_enabled", "accept"),
        ("nr_conns", "method_queue"),
    ),
    (gthread.PollableMethodQueue, ("defer",), ()),
    (Unreader, (), ("buf",)),
    (Message, ("force_close",), ()),
)


def check_gunicorn() -> None:
    """Compare the installed gunicorn with what the worker uses of it.

    Raises:
        InvalidSetting: it lacks something; names what, and the release to install.
    """
    if missing := list(_missing()):
        raise InvalidSetting(
            f"gunicorn {version('gunicorn')} lacks {', '.join(missing)}, which service/server/worker.py uses; "
            f"install gunicorn=={TESTED}"
        )


def read_ahead(connection: gthread.TConn) -> bytes:
    """Bytes of the next request that were read with the last one."""
    found: bytes = connection.parser.unreader.buf.getvalue()
    return found


def awaits_first_byte(connection: gthread.TConn, seconds: float) -> bool:
    """Whether nothing has arrived on a new connection, after waiting for so many seconds."""
    return not (connection.initialized or connection.data_ready or connection.wait_for_data(seconds))


def _missing() -> Iterator[str]:
    for owner, names, set_by_constructor in _NAMES:
        name = owner.__name__.rpartition(".")[2]
        yield from (f"{name}.{one}" for one in names if not hasattr(owner, one))
        constructor = getattr(owner, "__init__", None)
        known = constructor.__code__.co_names if isinstance(constructor, FunctionType) else ()
        yield from (f"{name}.{one}" for one in set_by_constructor if one not in known)
