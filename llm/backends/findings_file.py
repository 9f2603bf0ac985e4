"""One JSON file for what was found out about endpoints: capabilities, and what their requests must look like."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prompts.errors import InvalidSetting
from prompts.files import locked, write_text_atomically

log = logging.getLogger(__name__)

_KEPT_SECONDS = 7 * 86_400.0


class FindingsFile:
    """Values by key, each for a week; safe under many threads and processes.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def get(self, key: str) -> Any:
        """The value of a key; None where there is none, or an old one. A damaged file holds no values."""
        entry = self._entries().get(key)
        return entry["value"] if entry and _age(entry) < _KEPT_SECONDS else None

    def update(self, key: str, change: Callable[[Any], Any]) -> None:
        """Replace a value by what ``change`` makes of it (None where there is none yet); failures are logged."""
        if self._path is None:
            return
        try:
            with locked(self._path.with_suffix(".lock")):
                young = {name: entry for name, entry in self._entries().items() if _age(entry) < _KEPT_SECONDS}
                before = young.get(key, {})
                entry = {"at": before.get("at", time.time()), "value": change(before.get("value"))}
                write_text_atomically(self._path, json.dumps(young | {key: entry}, indent=2))
        except (OSError, InvalidSetting) as error:
            log.warning("probe: could not keep the findings (%s)", error)

    def _entries(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}
        except (OSError, ValueError, TypeError):
            return {}


def _age(entry: Any) -> float:
    """Seconds since a value was first kept; endless where an entry is none."""
    at = entry.get("at") if isinstance(entry, dict) and "value" in entry else None
    return time.time() - at if isinstance(at, int | float) else float("inf")
