"""Limits on concurrent requests: admission control, and micro-batches that share forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from opentelemetry.trace import StatusCode, get_tracer, set_span_in_context, use_span
from opentelemetry.util.types import Attributes

from llm.classifier import Classifier, Fingerprinting, Prediction
from llm.request_context import CURRENT_REQUEST, RequestContext, failed_predictions, waiting_problem
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts
from similarity.errors import Disconnected, Expired, Rejected
from similarity.micro_batching import Admission, MicroBatcher

_TRACER = get_tracer("marquee")
_MAX_TEXTS = 128  # of a shared pass; a request with more texts is a pass of its own
Pair = tuple[Text, Taxonomy]


@dataclass(frozen=True)
class AdmissionControl:
    """Rejects requests beyond a limit of pending ones, with a time to retry."""

    inner: Fingerprinting  # the classifier
    admission: Admission  # limit on pending requests; shared by all classifiers with the same model

    @property
    def name(self) -> str:
        return self.inner.name

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        return self.inner.fingerprint(text, taxonomy)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; beyond the limit every text has the problem ``busy``."""
        texts = checked_texts(texts)
        if not texts:
            return []
        try:
            with self.admission.admit():
                return self.inner.classify(texts, taxonomy)
        except Rejected as error:
            return failed_predictions(waiting_problem(error), len(texts), self.name, taxonomy)


class MicroBatched:
    """A classifier whose concurrent requests share calls of the inner one (``similarity.micro_batching``). Thread-safe.

    ``passes`` is the maximum number of concurrent passes; ``on_progress`` gets the number of texts of each.
    """

    def __init__(
        self,
        inner: Classifier,
        admission: Admission,
        on_progress: Callable[[int], object] = lambda texts: None,
        passes: int = 1,
    ) -> None:
        self._inner, self.admission = inner, admission
        self._batcher: MicroBatcher[str | Text, list[Prediction]] = MicroBatcher(
            inner.classify,
            admission=admission,
            max_items=_MAX_TEXTS,
            concurrency=passes,
            length=_characters,
            on_batch=on_progress,
            around=lambda requests, texts: traced_pass(requests, inner.name, texts),
        )

    @property
    def name(self) -> str:
        return self._inner.name

    def fingerprint(self, text: Text, taxonomy: Taxonomy) -> str:
        """See ``Fingerprinting``, which the inner classifier has to be."""
        return cast(Fingerprinting, self._inner).fingerprint(text, taxonomy)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; texts whose request has expired or lost its client are skipped."""
        texts = checked_texts(texts)
        if not texts:
            return []
        try:
            return self._batcher(texts, taxonomy, CURRENT_REQUEST.get())
        except (Rejected, Expired, Disconnected) as error:
            return failed_predictions(waiting_problem(error), len(texts), self.name, taxonomy)


class MicroBatchedPairs:
    """Predictions for pairs of a text and a taxonomy, whose concurrent requests share passes. Thread-safe.

    ``predict`` gives one prediction per pair (``llm.embedded.matcher.Matcher.predict``). ``admission`` is that of the
    classifier over the same model; ``passes`` is the maximum number of concurrent passes.
    """

    def __init__(
        self, name: str, predict: Callable[[Sequence[Pair]], list[Prediction]], admission: Admission, passes: int = 1
    ) -> None:
        self._name = name
        self._batcher: MicroBatcher[Pair, list[Prediction]] = MicroBatcher(
            lambda pairs, _: predict(pairs),
            admission=admission,
            max_items=_MAX_TEXTS,
            concurrency=passes,
            length=lambda pair: _characters(pair[0]),
            around=lambda requests, pairs: traced_pass(requests, name, pairs),
        )

    def __call__(self, pairs: Sequence[Pair]) -> list[Prediction]:
        """One prediction per pair, in order; ``problem`` where the request was rejected, expired or disconnected."""
        try:
            return self._batcher(pairs, caller=CURRENT_REQUEST.get())
        except (Rejected, Expired, Disconnected) as error:
            problem = waiting_problem(error)
            return [failed_predictions(problem, 1, self._name, taxonomy)[0] for _, taxonomy in pairs]


@contextmanager
def traced_pass(requests: Sequence[RequestContext], model: str, texts: int) -> Iterator[None]:
    """A span of one forward pass in each recorded trace that shares it; the spans link to the first one."""
    parents = [request.span for request in requests if request.span.is_recording()]
    if not parents:
        yield
        return
    attributes: Attributes = {"marquee.model": model, "marquee.texts": texts, "marquee.requests": len(requests)}
    first, *others = [
        _TRACER.start_span("forward pass", set_span_in_context(parent), attributes=attributes) for parent in parents
    ]
    for span in others:
        span.add_link(first.get_span_context())
    try:
        with use_span(first, record_exception=False, set_status_on_exception=False):
            yield
    except Exception as error:
        for span in (first, *others):
            span.set_status(StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        for span in (first, *others):
            span.end()


def _characters(text: str | Text) -> int:
    return len(Text.of(text).body)
