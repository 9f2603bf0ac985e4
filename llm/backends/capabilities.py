"""Capabilities of an endpoint: each is checked when it is first needed, and its outcome is stored for a week."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextvars import Context
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from llm.backends.capability_checks import CHECKS, CapabilityChecker, CheckError, CheckResult, CheckUnreached, Outcome
from llm.backends.concurrency import SharedCalls
from llm.backends.endpoint import Address
from llm.backends.replies import list_in, object_in
from llm.backends.request_adapter import FindingsFile
from llm.backends.transport import HTTPTransport, Transport
from llm.classifier import Problem
from prompts.errors import InvalidSetting
from similarity.errors import Disconnected, Expired

log = logging.getLogger(__name__)

_RETRY_SECONDS = 15.0  # pause before another request to an endpoint that did not answer
_MODELS_SHOWN = 8
_FORMAT = 3  # of the findings in the file; older findings are ignored


class Capabilities(ABC):
    """What an endpoint supports, as far as it is known."""

    top_logprobs: int
    """How many of the most probable tokens the endpoint returns; 0 for none."""

    @abstractmethod
    def outcome(self, capability: str) -> Outcome:
        """Outcome of a capability's check; ``unknown`` if the endpoint cannot be reached."""

    def supports(self, capability: str) -> bool:
        return self.outcome(capability) == "supported"

    def rejects(self, capability: str) -> bool:
        """Whether a request that uses the capability fails."""
        return self.outcome(capability) == "rejected"


@dataclass(frozen=True)
class CapabilityReport(Capabilities):
    """Results of capability checks."""

    # By capability; see ``capability_checks.CHECKS``.
    findings: Mapping[str, CheckResult] = field(default_factory=dict)
    top_logprobs: int = 0  # see ``Capabilities``
    context: int | None = None  # tokens of prompt and answer together, if the endpoint reports it
    version: str = ""  # of the server, if it reports one

    def outcome(self, capability: str) -> Outcome:
        return self.findings[capability].outcome if capability in self.findings else "unknown"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> CapabilityReport | None:
        """The report that ``as_json`` returned; None for anything else."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(stored)
        except ValidationError:
            return None

    def with_finding(self, capability: str, result: CheckResult) -> CapabilityReport:
        """This report with the result of one more check."""
        top_logprobs = result.amount if capability == "logprobs" else self.top_logprobs
        return replace(self, findings={**self.findings, capability: result}, top_logprobs=top_logprobs)


UNPROBED = CapabilityReport()
"""Nothing is known: a JSON schema is tried."""


def probe(transport: HTTPTransport, model: str) -> CapabilityReport | Problem:
    """Check every capability; a ``Problem`` if the endpoint cannot be reached or does not serve the model."""
    checker = CapabilityChecker(transport, model)
    try:
        checker.complete()
        report = CapabilityReport(context=_context(transport, model), version=_version(transport))
        for capability in CHECKS:
            report = report.with_finding(capability, checker.check(capability))
    except CheckError as error:
        return error.problem
    return report


def _version(transport: HTTPTransport) -> str:
    reply = transport.get(transport.server_url("/version"))
    return str(reply.get("version", "")) if isinstance(reply, dict) else ""


def _context(transport: HTTPTransport, model: str) -> int | None:
    reply = transport.get("/models")
    served = (entry for entry in list_in(reply, "data") if isinstance(entry, dict))
    entry = next((entry for entry in served if entry.get("id") == model), {})
    length = entry.get("max_model_len") or object_in(entry, "meta").get("n_ctx_train")  # the latter by llama.cpp
    return length if isinstance(length, int) else None


class CapabilityProbe(Capabilities):
    """The capabilities of an endpoint, each checked when it is first needed.

    ``path`` is a JSON file of findings per endpoint, model and server version; None keeps them in memory.
    """

    def __init__(self, transport: HTTPTransport, model: str | ModelName, path: Path | None = None) -> None:
        self._transport, self._file = transport, FindingsFile(path)
        self._model = ModelName(transport, model, is_set=True) if isinstance(model, str) else model
        self._report: CapabilityReport | None = None
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self._calls = SharedCalls()

    @property
    def model(self) -> str:
        return self._model()

    @property
    def top_logprobs(self) -> int:  # type: ignore[override]
        self.outcome("logprobs")
        return self._report.top_logprobs if self._report else 0

    def outcome(self, capability: str) -> Outcome:
        """A request waits for a check until its deadline; the check continues for later requests."""
        report = self._report
        if report is None or capability not in report.findings:
            report = self._checked(capability)
        return report.outcome(capability)

    def refresh(self) -> CapabilityReport | Problem:
        """Check all capabilities now, also those with stored results."""
        # Without a request's context: a request's deadline says nothing about the endpoint.
        report = Context().run(probe, self._transport, self._model())
        if isinstance(report, CapabilityReport):
            self._store(report)
        return report

    def stored(self) -> CapabilityReport | None:
        """The stored report of this endpoint, model and version; None unless it covers all checks."""
        report = self._load()
        return report if report.findings.keys() >= CHECKS.keys() else None

    def _checked(self, capability: str) -> CapabilityReport:
        report = self._report or UNPROBED
        if time.monotonic() < self._retry_at:
            return report
        try:
            return self._calls.result(capability, partial(self._check, capability))
        except (CheckUnreached, Expired, Disconnected):
            return report

    def _check(self, capability: str) -> CapabilityReport:
        with self._lock:  # one check at a time
            report = self._report or self._load()
            if capability not in report.findings and time.monotonic() >= self._retry_at:
                try:
                    result = CapabilityChecker(self._transport, self._model()).check(capability)
                except CheckUnreached as error:  # nothing is kept: the version may be unknown, too
                    log.info("capability check: %s", error.problem.detail)
                    self._retry_at = time.monotonic() + _RETRY_SECONDS
                    raise
                report = report.with_finding(capability, result)
                self._store(report)
            self._report = report
            return report

    def _load(self) -> CapabilityReport:
        version = _version(self._transport)
        return CapabilityReport.from_json(self._file.get(self._key(version))) or CapabilityReport(version=version)

    def _store(self, report: CapabilityReport) -> None:
        self._report = report

        def merged(stored: Any) -> Any:
            before = CapabilityReport.from_json(stored) or UNPROBED
            return replace(
                report,
                findings={**before.findings, **report.findings},
                top_logprobs=report.top_logprobs or before.top_logprobs,
                context=report.context or before.context,
            ).as_json()

        self._file.update(self._key(report.version), merged)

    def _key(self, version: str) -> str:
        return f"{Address.parse(self._transport.base_url).base_url} {self._model()} {version} checks-{_FORMAT}"


class ModelName:
    """The configured model name (``is_set``), else the only model that the endpoint lists, else ``default``."""

    def __init__(self, transport: Transport, default: str, is_set: bool) -> None:
        self._transport, self._default = transport, default
        self._name = default if is_set else ""
        self._retry_at = 0.0
        self._lock = threading.Lock()

    @property
    def known(self) -> str:
        """The name as far as it is known without a request."""
        return self._name or self._default

    def __call__(self) -> str:
        """The name to send. The endpoint's list is fetched once; after a failure, again after a pause.

        Raises:
            InvalidSetting: no name is set, and the endpoint lists several others.
        """
        if not self._name and time.monotonic() >= self._retry_at:
            with self._lock:
                if not self._name and time.monotonic() >= self._retry_at:
                    self._name = self._from_list()
                    self._retry_at = time.monotonic() + _RETRY_SECONDS
        return self.known

    def _from_list(self) -> str:
        """The only possible model; empty without a list."""
        names = _model_names(self._transport.get("/models"))
        if len(names) == 1:
            return names[0]
        if not names or self._default in names:
            return self._default if names else ""
        shown = ", ".join(names[:_MODELS_SHOWN]) + (" …" if len(names) > _MODELS_SHOWN else "")
        raise InvalidSetting(
            f"{self._transport.endpoint} serves {len(names)} models; set MARQUEE_MODEL to one of them: {shown}"
        )


def _model_names(reply: Any) -> list[str]:
    """Names in a reply of ``/v1/models``; none in any other value."""
    if isinstance(reply, Problem):
        return []
    entries = reply.get("data") if isinstance(reply, dict) else reply  # Together sends the bare list
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name.isprintable() and name))
