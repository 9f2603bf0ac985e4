"""The routes of feedback: ``POST /feedback``, and the deletion of what the same API key has sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, g, request

from marquee.feedback.entries import (
    FeedbackEntry,
    FeedbackFull,
    FeedbackUnusable,
    InvalidFeedback,
    UnknownAnswer,
)
from marquee.feedback.store import FeedbackStore
from service.classification import current_services, default_taxonomy
from service.problems import RequestProblem
from service.request_parsing import check_text, read_body
from service.review import reviewed_text
from service.schemas.classify import resolved_taxonomy
from service.schemas.feedback import DeletionAnswer, FeedbackAnswer, FeedbackRequest
from service.schemas.label_fields import LabelFields

blueprint = Blueprint("feedback", __name__)
_RETRY_SECONDS = 5


@blueprint.post("/feedback")
def feedback() -> dict[str, Any]:
    """Store the right labels of an earlier answer, or of a text.

    Later feedback on the same text by the same key replaces the earlier one. Texts are stored where
    MARQUEE_FEEDBACK_TEXTS is on; otherwise the SHA-256 of the text, the labels, the scores and their source.
    """
    services, store = current_services(), _store()
    body = read_body(request, FeedbackRequest, services.limits)
    with _problems():
        entry = _stored(store, body)
    services.metrics.count_feedback(entry.taxonomy.name, entry.kind)
    if (found := entry.set_coverage) is not None:
        services.metrics.count_covered(entry.taxonomy.name, *found)
    return FeedbackAnswer.of(entry).model_dump()


@blueprint.delete("/feedback/<id>")
def delete_entry(id: str) -> dict[str, Any]:
    """Delete one entry of feedback; needs the API key that sent it, also where other routes need none."""
    return _deleted(id=id)


@blueprint.delete("/feedback/texts/<digest>")
def delete_text(digest: str) -> dict[str, Any]:
    """Delete the feedback and the recorded answers of this API key on a text, by the text's SHA-256."""
    return _deleted(digest=digest.lower())


@blueprint.delete("/feedback")
def delete_all() -> dict[str, Any]:
    """Delete all feedback and recorded answers of this API key."""
    return _deleted()


def _stored(store: FeedbackStore, body: FeedbackRequest) -> FeedbackEntry:
    key = g.get("key") or ""
    if body.request_id is not None:
        name = body.taxonomy.taxonomy if body.taxonomy else None
        answer = store.answer(key, body.request_id, body.index, name)
        return store.add_for_answer(key, body.request_id, answer, body.labels)
    if body.review is not None:
        return store.add_for_answer(key, "", reviewed_text(body.review).answer, body.labels)
    services = current_services()
    check_text(body, services.limits)
    taxonomy = resolved_taxonomy(body.taxonomy or LabelFields(), default_taxonomy(services))
    if (count := len(taxonomy.labels)) > services.limits.labels:
        raise RequestProblem(
            "too-large", f"{count} labels in one request; at most {services.limits.labels}", "taxonomy"
        )
    return store.add_for_text(key, body.to_text(), taxonomy, body.labels)


def _deleted(**conditions: str) -> dict[str, Any]:
    store, key = _store(), g.get("key")
    if not key:
        raise RequestProblem(
            "no-key", "deleting needs the API key that sent the feedback; without one use main.py feedback delete"
        )
    with _problems():
        return DeletionAnswer(deleted=store.delete(key=key, **conditions)).model_dump()


def _store() -> FeedbackStore:
    store = current_services().feedback
    if store is None:
        raise RequestProblem("no-feedback", "this service stores no feedback; start it with MARQUEE_FEEDBACK=true")
    return store


@contextmanager
def _problems() -> Iterator[None]:
    """Errors of the store as error responses."""
    try:
        yield
    except InvalidFeedback as error:
        raise RequestProblem("invalid-request", str(error), error.field) from None
    except UnknownAnswer as error:
        raise RequestProblem("unknown-answer", str(error), "request_id") from None
    except FeedbackFull as error:
        raise RequestProblem("feedback-full", str(error)) from None
    except FeedbackUnusable as error:
        raise RequestProblem("feedback-unusable", str(error), retry_after=_RETRY_SECONDS) from None
