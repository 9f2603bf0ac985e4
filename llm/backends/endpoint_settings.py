"""Settings of one endpoint, and the transport with learned request forms that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llm.backends.adapting import REASONING_TOKENS, Adapting
from llm.backends.address import Address
from llm.backends.extra_body import extra_fields
from llm.backends.findings_file import FindingsFile
from llm.backends.transport import HTTPTransport


@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is reached, and which fields its requests get.

    Attributes:
        base_url: root of the API; a query goes with every request.
        api_key: shown nowhere.
        extra_body: JSON object of fields that every request gets, as ``MARQUEE_EXTRA_BODY`` has it.
        reasoning_tokens: tokens added for models that reason before they answer.
        findings: file that keeps learned request forms between processes; None keeps them in this process.
        timeout: seconds of one attempt.
        retries: further attempts after the first.
        concurrency: maximum number of requests under way.
    """

    base_url: str
    api_key: str = field(default="", repr=False)
    extra_body: str = ""
    reasoning_tokens: int = REASONING_TOKENS
    findings: Path | None = None
    timeout: float = 30.0
    retries: int = 2
    concurrency: int = 64

    def adapting(self) -> Adapting:
        """The request forms of the endpoint's models.

        Raises:
            ValueError: ``extra_body`` is no object, or sets a field of the program.
        """
        fields = extra_fields(self.extra_body)
        return Adapting(Address.of(self.base_url), FindingsFile(self.findings), self.reasoning_tokens, fields)

    def transport(self) -> HTTPTransport:
        """The transport; see ``adapting`` for errors."""
        return HTTPTransport(self.base_url, self.api_key, self.timeout, self.retries, self.concurrency, self.adapting())
