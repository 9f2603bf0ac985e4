"""The page that shows the texts of a review file, and the route that sends them; labels are sent to ``/feedback``."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from marquee.feedback.entries import FeedbackUnusable
from marquee.review.review_file import Review, ReviewText
from prompts.errors import InvalidDataset
from service.classification import current_services
from service.problems import RequestProblem
from service.routes import html_page
from service.schemas.review import ReviewAnswer

blueprint = Blueprint("review", __name__)
_RETRY_SECONDS = 5


@blueprint.get("/review", strict_slashes=True)  # without the slash, the requests of the page would lead elsewhere
def page() -> Response:
    """Show the texts that were picked, one by one, to accept or correct their labels, as a page."""
    current_review()
    return html_page("review.html")


@blueprint.get("/review/texts")
def texts() -> dict[str, Any]:
    """List the texts of the review file, with suggested labels, and right labels where there is feedback.

    Send the right labels to POST /feedback, with the id of the text as review.
    """
    found, store = current_review(), current_services().feedback
    if store is None:
        raise RequestProblem("no-feedback", "this service stores no feedback; start it with MARQUEE_FEEDBACK=true")
    try:
        right = store.right_labels([one.answer.digest for one in found.texts], found.taxonomy)
    except FeedbackUnusable as error:
        raise RequestProblem("feedback-unusable", str(error), retry_after=_RETRY_SECONDS) from None
    return ReviewAnswer.of(found, right).model_dump()


def reviewed_text(id: str) -> ReviewText:
    """A text of the service's review file.

    Raises:
        RequestProblem: as in ``current_review``, or there is no text with this id.
    """
    review = current_review()
    try:
        return review.text(id)
    except InvalidDataset as error:
        raise RequestProblem("unknown-answer", str(error), "review") from None


def current_review() -> Review:
    """The review of the service's file, as it is now.

    Raises:
        RequestProblem: the service has none, or the file cannot be read.
    """
    review = current_services().review
    if review is None:
        raise RequestProblem("no-review", "this service has no review file; start it with MARQUEE_REVIEW_PATH=FILE")
    try:
        return review()
    except InvalidDataset as error:
        raise RequestProblem("no-review", str(error)) from None
