"""Error responses (RFC 9457, without an HTTP library): their members, and the exception that ends a request."""

from __future__ import annotations

from llm.classifier import Problem
from marquee.client import SLUGS
from service.problem_kinds import KINDS

_RETRY_SECONDS = 5


class RequestProblem(Exception):
    """Ends a request with an error of ``service.problem_kinds.KINDS``.

    Args:
        slug: key of the kind.
        detail: what is wrong with this request and what to do.
        field: the field of the body that is wrong; None where it is not one field.
        retry_after: seconds after which a retry may succeed; None where a retry is useless.
    """

    def __init__(self, slug: str, detail: str, field: str | None = None, retry_after: float | None = None) -> None:
        self.slug, self.detail, self.field, self.retry_after = slug, detail, field, retry_after
        super().__init__(detail)

    @classmethod
    def of(cls, problem: Problem) -> RequestProblem:
        """The error of a request whose only answer has this problem."""
        transient = problem.kind in ("unreachable", "busy")
        retry_after = (problem.retry_after or _RETRY_SECONDS) if transient else None
        return cls(SLUGS[problem.kind], problem.detail, retry_after=retry_after)


def problem_type(slug: str) -> str:
    """Path of the page that explains a kind of error, with the prefix under which a reverse proxy serves the app."""
    from flask import has_request_context, request

    prefix = request.script_root if has_request_context() else ""
    return f"{prefix}/problems/{slug}"


def problem_body(slug: str, detail: str, field: str | None = None) -> dict[str, object]:
    """The members of a problem document."""
    kind, members = KINDS[slug], {"field": field} if field else {}
    return {"type": problem_type(slug), "title": kind.title, "status": kind.status, "detail": detail, **members}
