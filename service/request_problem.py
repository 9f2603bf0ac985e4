"""The error that ends a request, and the members of its problem document (RFC 9457); without any HTTP library."""

from __future__ import annotations

from llm.classifier import Problem
from marquee.client import SLUGS
from service.problem_kinds import KINDS

_RETRY_SECONDS = 5


class RequestProblem(Exception):
    """Ends a request with one of ``KINDS``.

    Args:
        slug: which.
        detail: what is wrong and what to do, for this request.
        field: the field of the body that is at fault, where one is.
        retry_after: seconds, where trying again makes sense.
    """

    def __init__(self, slug: str, detail: str, field: str | None = None, retry_after: float | None = None) -> None:
        self.slug, self.detail, self.field, self.retry_after = slug, detail, field, retry_after
        super().__init__(detail)

    @classmethod
    def of(cls, problem: Problem) -> RequestProblem:
        """The same as an answer's problem, for a request that has no other answer."""
        slug = SLUGS[problem.kind]
        waits = problem.kind in ("unreachable", "busy")
        return cls(slug, problem.detail, retry_after=(problem.retry_after or _RETRY_SECONDS) if waits else None)


def problem_type(slug: str) -> str:
    """The path that explains a kind of error.

    It includes the prefix under which a reverse proxy publishes the service.
    """
    from flask import has_request_context, request

    prefix = request.script_root if has_request_context() else ""
    return f"{prefix}/problems/{slug}"


def problem_body(slug: str, detail: str, field: str | None = None) -> dict[str, object]:
    """The members of a problem document."""
    kind = KINDS[slug]
    body: dict[str, object] = {
        "type": problem_type(slug),
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }
    return body | ({"field": field} if field else {})
