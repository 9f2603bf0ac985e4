"""What an endpoint really honours: found out by canaries, and kept for a week."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm.classifier import Problem
from llm.engines.canaries import CANARIES, Canaries, Finding
from llm.engines.wire import Wire
from prompts.errors import InvalidSetting
from prompts.files import locked, write_text_atomically
from prompts.network import without_login

log = logging.getLogger(__name__)

_KEPT_SECONDS = 7 * 86_400.0
_AGAIN_SECONDS = 15.0


@dataclass(frozen=True)
class Honours:
    """What an endpoint was seen to honour.

    Attributes:
        findings: one per capability; see ``canaries.CANARIES`` for their names.
        top_logprobs: how many of the likeliest tokens it tells the probabilities of; 0 for none.
        context: tokens that the model can take, where the endpoint tells.
        version: what the endpoint calls itself.
    """

    findings: Mapping[str, Finding]
    top_logprobs: int = 0
    context: int | None = None
    version: str = ""

    def does(self, capability: str) -> bool:
        """Whether the canary came back as asked."""
        return self.findings.get(capability, Finding("unknown")).outcome == "honoured"

    def refuses(self, capability: str) -> bool:
        """Whether asking for it fails the whole request."""
        return self.findings.get(capability, Finding("unknown")).outcome == "refused"

    def as_json(self) -> dict[str, Any]:
        """As it is kept and printed."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Honours:
        """From what ``as_json`` gave."""
        findings = {name: Finding(**finding) for name, finding in kept["findings"].items()}
        return cls(findings, kept["top_logprobs"], kept["context"], kept["version"])


# Of an endpoint not yet reached, nothing is known, and a JSON schema is worth trying.
UNPROBED = Honours({})


def probe(wire: Wire, model: str) -> Honours | Problem:
    """Send every canary; a ``Problem`` where the endpoint cannot be reached or does not serve the model."""
    canaries = Canaries(wire, model)
    plain = canaries.ask()
    if isinstance(plain, Problem):
        return plain
    findings = {name: canary(canaries) for name, canary in CANARIES.items()}
    return Honours(findings, findings["logprobs"].amount, _context(wire, model), version(wire))


def version(wire: Wire) -> str:
    """What the server beside the API calls itself, where it says so."""
    reply = wire.get(wire.beside("/version"))
    return str(reply.get("version", "")) if isinstance(reply, dict) else ""


def _context(wire: Wire, model: str) -> int | None:
    reply = wire.get("/models")
    served = reply.get("data") if isinstance(reply, dict) else None
    for entry in served if isinstance(served, list) else []:
        if isinstance(entry, dict) and entry.get("id") == model:
            length = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx_train")
            return int(length) if length else None
    return None


class Probed:
    """What an endpoint honours, probed at first use and kept in a file per endpoint, model and version.

    Args:
        wire: to the endpoint.
        model: as the endpoint calls it.
        path: the JSON file; None keeps findings in memory only.
    """

    def __init__(self, wire: Wire, model: str, path: Path | None = None) -> None:
        self._wire, self._model, self._path = wire, model, path
        self._found: Honours | None = None
        self._again_at = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> Honours:
        """The findings; ``UNPROBED`` while the endpoint cannot be reached, which is tried again after a while."""
        if self._found is None:
            with self._lock:  # many requests may come before the first probe is through; one sends it
                self._find()
        return self._found or UNPROBED

    def _find(self) -> None:
        if self._found is None and time.monotonic() >= self._again_at:
            found = self.kept() or self.anew()
            if isinstance(found, Problem):
                log.warning("probe: %s", found.detail)
                self._again_at = time.monotonic() + _AGAIN_SECONDS

    def anew(self) -> Honours | Problem:
        """Probe now, whatever is kept."""
        # On nobody's behalf: what one request did not wait for is nothing that the endpoint refused.
        found = Context().run(probe, self._wire, self._model)
        if isinstance(found, Honours):
            self._found = found
            self._keep(found)
        return found

    def kept(self) -> Honours | None:
        """What the file says of this endpoint, model and version, unless it is a week old."""
        entry = self._file().get(self._key(version(self._wire)))
        if not entry or _age(entry) > _KEPT_SECONDS:
            return None
        found = Honours.of(entry["honours"])
        if found.findings.keys() != CANARIES.keys():
            return None  # kept by a version of this program that asked for less
        self._found = found
        return found

    def _keep(self, found: Honours) -> None:
        if self._path is None:
            return
        try:
            with locked(self._path.with_suffix(".lock")):
                young = {key: entry for key, entry in self._file().items() if _age(entry) < _KEPT_SECONDS}
                entries = young | {self._key(found.version): {"at": time.time(), "honours": found.as_json()}}
                write_text_atomically(self._path, json.dumps(entries, indent=2))
        except (OSError, InvalidSetting) as error:
            log.warning("probe: could not keep the findings (%s)", error)

    def _file(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))) if self._path else {}
        except (OSError, ValueError):
            return {}

    def _key(self, version: str) -> str:
        return f"{without_login(self._wire.base_url)} {self._model} {version}"


def _age(entry: Any) -> float:
    """Seconds since an entry was written; endless where it is not one."""
    at = entry.get("at") if isinstance(entry, dict) else None
    return time.time() - at if isinstance(at, int | float) else float("inf")
