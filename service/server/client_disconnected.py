"""Clients that hang up: whether whoever sent a request is still there to be answered."""

from __future__ import annotations

import socket
from collections.abc import Callable

from llm.request_context import never_disconnects


def disconnected(client: socket.socket | None) -> Callable[[], bool]:
    """What tells whether a client has closed its connection.

    Its next byte is looked at and left where it is, without waiting for one: an end of the stream or an error means
    that the client has gone; nothing yet, or a further request, that it has not. A client that closes only its sending
    side counts as gone, as it does with nginx.

    Args:
        client: the connection; None where the server does not tell it, and then nobody ever seems gone.
    """
    if client is None:
        return never_disconnects

    def is_disconnected() -> bool:
        try:
            return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    return is_disconnected
