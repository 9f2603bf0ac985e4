"""Capabilities of an endpoint: checked at first use, one by one, and kept for a week."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextvars import Context
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llm.backends.address import Address
from llm.backends.capability_checks import CANARIES, CapabilityChecks, CheckResult, Outcome, Unreached
from llm.backends.findings_file import FindingsFile
from llm.backends.model_name import ModelName
from llm.backends.shared_calls import SharedCalls
from llm.backends.transport import HTTPTransport
from llm.classifier import Problem
from similarity.errors import Disconnected, Expired

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 15.0
_FORMAT = 2  # of the findings in the file


class Capabilities(Protocol):
    """What an endpoint supports, so far as is known."""

    @property
    def top_logprobs(self) -> int:
        """How many of the most probable tokens it gives probabilities of; 0 for none."""

    def outcome(self, capability: str) -> Outcome:
        """How the check of a capability ended; ``unknown`` where the endpoint cannot be reached."""

    def supports(self, capability: str) -> bool:
        """Whether the endpoint does as asked."""

    def rejects(self, capability: str) -> bool:
        """Whether asking for it fails the whole request."""


@dataclass(frozen=True)
class SupportedFeatures:
    """What an endpoint was seen to honour.

    Attributes:
        findings: one per capability checked; see ``canaries.CANARIES`` for their names.
        top_logprobs: how many of the most probable tokens it tells the probabilities of; 0 for none.
        context: tokens that the model can take, where the endpoint tells.
        version: what the endpoint calls itself.
    """

    findings: Mapping[str, CheckResult]
    top_logprobs: int = 0
    context: int | None = None
    version: str = ""

    def outcome(self, capability: str) -> Outcome:
        """See ``Capabilities.outcome``."""
        return self.findings.get(capability, CheckResult("unknown")).outcome

    def supports(self, capability: str) -> bool:
        """See ``Capabilities.does``."""
        return self.outcome(capability) == "honoured"

    def rejects(self, capability: str) -> bool:
        """See ``Capabilities.refuses``."""
        return self.outcome(capability) == "refused"

    def as_json(self) -> dict[str, Any]:
        """As it is kept and printed."""
        return asdict(self)

    def with_finding(self, capability: str, finding: CheckResult) -> SupportedFeatures:
        """With the result of one more check."""
        top = finding.amount if capability == "logprobs" else self.top_logprobs
        return replace(self, findings={**self.findings, capability: finding}, top_logprobs=top)

    @classmethod
    def of(cls, kept: Any) -> SupportedFeatures | None:
        """From what ``as_json`` gave; None for anything else."""
        try:
            findings = {name: CheckResult(**finding) for name, finding in kept["findings"].items()}
            return cls(findings, int(kept["top_logprobs"]), kept["context"], str(kept["version"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


# Of an endpoint not yet reached, nothing is known, and a JSON schema is worth trying.
UNPROBED = SupportedFeatures({})


def probe(transport: HTTPTransport, model: str) -> SupportedFeatures | Problem:
    """Check every capability; a ``Problem`` where the endpoint cannot be reached or does not serve the model."""
    canaries = CapabilityChecks(transport, model)
    try:
        if isinstance(plain := canaries.ask(), Problem):
            return plain
        found = SupportedFeatures({}, context=_context(transport, model), version=version(transport))
        for name, check in CANARIES.items():
            found = found.with_finding(name, check(canaries))
    except Unreached as error:
        return error.problem
    return found


def version(transport: HTTPTransport) -> str:
    """What the server beside the API calls itself, where it says so."""
    reply = transport.get(transport.beside("/version"))
    return str(reply.get("version", "")) if isinstance(reply, dict) else ""


def _context(transport: HTTPTransport, model: str) -> int | None:
    reply = transport.get("/models")
    served = reply.get("data") if isinstance(reply, dict) else None
    for entry in served if isinstance(served, list) else []:
        if isinstance(entry, dict) and entry.get("id") == model:
            meta = entry.get("meta")
            length = entry.get("max_model_len") or (meta.get("n_ctx_train") if isinstance(meta, dict) else None)
            return length if isinstance(length, int) else None
    return None


class CapabilityProbe:
    """The capabilities of an endpoint, each checked when it is first asked for.

    Args:
        transport: to the endpoint.
        model: as the endpoint calls it.
        path: the JSON file of findings, per endpoint, model and version; None keeps them in memory only.
    """

    def __init__(self, transport: HTTPTransport, model: str | ModelName, path: Path | None = None) -> None:
        self._transport, self._file = transport, FindingsFile(path)
        self._model = ModelName(transport, model, is_set=True) if isinstance(model, str) else model
        self._found: SupportedFeatures | None = None
        self._again_at = 0.0
        self._lock = threading.Lock()
        self._calls = SharedCalls()

    def __call__(self) -> Capabilities:
        """Return itself; a caller with findings passes those instead."""
        return self

    @property
    def model(self) -> str:
        """The name that the endpoint is asked for."""
        return self._model()

    @property
    def top_logprobs(self) -> int:
        """See ``Capabilities.top_logprobs``."""
        self.outcome("logprobs")
        return self._found.top_logprobs if self._found else 0

    def outcome(self, capability: str) -> Outcome:
        """See ``Capabilities.outcome``; an unreachable endpoint is tried again after a while.

        A request waits for a check until its deadline; the check continues for later requests.
        """
        found = self._found
        if found is None or capability not in found.findings:
            found = self._checked(capability)
        return found.outcome(capability)

    def supports(self, capability: str) -> bool:
        """See ``Capabilities.does``."""
        return self.outcome(capability) == "honoured"

    def rejects(self, capability: str) -> bool:
        """See ``Capabilities.refuses``."""
        return self.outcome(capability) == "refused"

    def refresh(self) -> SupportedFeatures | Problem:
        """Check all capabilities now, whatever is kept."""
        # In a context of its own: what one request did not wait for is nothing that the endpoint refused.
        found = Context().run(probe, self._transport, self._model())
        if isinstance(found, SupportedFeatures):
            self._keep(found)
        return found

    def kept(self) -> SupportedFeatures | None:
        """The findings of an earlier ``anew`` about this endpoint, model and version, unless they are a week old."""
        found = self._loaded()
        return found if found.findings.keys() >= CANARIES.keys() else None

    def _checked(self, capability: str) -> SupportedFeatures:
        found = self._found or UNPROBED
        if time.monotonic() < self._again_at:
            return found
        try:
            return self._calls.result(capability, partial(self._check, capability))
        except (Unreached, Expired, Disconnected):
            return found

    def _check(self, capability: str) -> SupportedFeatures:
        with self._lock:  # one check at a time
            found = self._found or self._loaded()
            if capability not in found.findings and time.monotonic() >= self._again_at:
                found = found.with_finding(capability, self._finding(capability))
                self._keep(found)
            self._found = found
            return found

    def _finding(self, capability: str) -> CheckResult:
        try:
            return CANARIES[capability](CapabilityChecks(self._transport, self._model()))
        except Unreached as error:
            log.info("capability checks: %s", error.problem.detail)
            self._again_at = time.monotonic() + _AGAIN_SECONDS
            raise

    def _loaded(self) -> SupportedFeatures:
        now = version(self._transport)
        return SupportedFeatures.of(self._file.get(self._key(now))) or replace(UNPROBED, version=now)

    def _keep(self, found: SupportedFeatures) -> None:
        self._found = found

        def merged(kept: Any) -> Any:
            before = SupportedFeatures.of(kept)
            findings = {**(before.findings if before else {}), **found.findings}
            top, context = found.top_logprobs, found.context
            if before:
                top, context = top or before.top_logprobs, context or before.context
            return replace(found, findings=findings, top_logprobs=top, context=context).as_json()

        self._file.update(self._key(found.version), merged)

    def _key(self, version: str) -> str:
        return f"{Address.of(self._transport.base_url).base_url} {self._model()} {version} checks-{_FORMAT}"
