"""The log: one JSON object a line, with the id of the request; never a text of a request."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from llm.request_context import CURRENT_REQUEST

# Clients that tell every request they make; ours tells what matters of it.
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "flask-limiter", "sentence_transformers")


class JSONLines(logging.Formatter):
    """A record as JSON: time, level, logger, message, request id, and what ``extra={"told": {...}}`` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := CURRENT_REQUEST.get().request_id:
            line["request_id"] = request_id
        line |= getattr(record, "told", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Log to standard error, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
