"""Under which name an endpoint is asked for its model."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from llm.classifier import Problem
from prompts.errors import InvalidSetting

_SHOWN = 8
_AGAIN_SECONDS = 15.0  # an endpoint that gave no list is asked for one again after this time


class Listing(Protocol):
    """What lists models; see ``HTTPTransport``."""

    place: str

    def get(self, path: str) -> Any:
        """See ``HTTPTransport.get``."""


class ModelName:
    """The name that is set, else that of the only model which the endpoint lists.

    Args:
        transport: to the endpoint.
        default: the name where none is set, and the endpoint lists no models or this one among others.
        is_set: whether the user has chosen the name.
    """

    def __init__(self, transport: Listing, default: str, is_set: bool) -> None:
        self._transport, self._default = transport, default
        self._name = default if is_set else ""
        self._again_at = 0.0
        self._lock = threading.Lock()

    @property
    def known(self) -> str:
        """The name as far as it is known without a request."""
        return self._name or self._default

    def __call__(self) -> str:
        """The model name for requests; where none is set, the endpoint's list decides.

        The list is requested once, and again after a while where the request failed.

        Raises:
            InvalidSetting: none is set, and the endpoint lists several others.
        """
        if not self._name and time.monotonic() >= self._again_at:
            with self._lock:
                if not self._name and time.monotonic() >= self._again_at:
                    self._name = self._listed()
                    self._again_at = time.monotonic() + _AGAIN_SECONDS
        return self.known

    def _listed(self) -> str:
        """The model that the list leaves no choice about; empty where there is no list."""
        names = listed(self._transport.get("/models"))
        if len(names) == 1:
            return names[0]
        if not names or self._default in names:
            return self._default if names else ""
        shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
        raise InvalidSetting(
            f"{self._transport.place} serves {len(names)} models; set MARQUEE_MODEL to one of them: {shown}"
        )


def listed(reply: Any) -> list[str]:
    """The names in a reply of ``/v1/models``; none in any other."""
    if isinstance(reply, Problem):
        return []
    served = reply.get("data") if isinstance(reply, dict) else reply  # Together sends the bare list
    entries = served if isinstance(served, list) else []
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name.isprintable() and name))
