"""Fields that the user adds to every request."""

from __future__ import annotations

import json
from typing import Any


def extra_fields(words: str) -> dict[str, Any]:
    """The fields of ``MARQUEE_EXTRA_BODY``.

    Raises:
        ValueError: they are no JSON object, or set a field of the program.
    """
    try:
        value = json.loads(words or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('should be a JSON object such as {"reasoning_effort": "low"}')
    if taken := value.keys() & {"model", "messages", "stream", "n"}:
        raise ValueError(f"cannot set {', '.join(sorted(taken))}: the program sets these itself")
    return value
