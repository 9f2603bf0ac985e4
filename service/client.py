"""A running service as a classifier, so that whatever takes a classifier can be pointed at a URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from llm.classifier import Prediction, Problem, ProblemKind, Source, label_source
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.problems import SLUGS

_KINDS: Mapping[str, ProblemKind] = {f"/problems/{slug}": kind for kind, slug in SLUGS.items()}


class Client:
    """Asks ``POST /classify`` of a running service; the vocabulary must be one that the service knows by name.

    Args:
        url: the service's root, e.g. ``http://127.0.0.1:5000``.
        cache: False asks anew, whatever the service remembers.
        timeout: seconds that one request may take.
    """

    def __init__(self, url: str, cache: bool = True, timeout: float = 60.0) -> None:
        self.name = url
        self._cache = cache
        self._http = httpx2.Client(base_url=url, timeout=timeout)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a request that fails is the problem of every text in it."""
        items = [{"text": text.body, "title": text.title} for text in map(Text.of, texts)]
        asked = {"texts": items, "taxonomy": taxonomy.name, "scores": True, "cache": self._cache}
        try:
            reply = self._http.post("/classify", json=asked)
            body = reply.json()
        except (httpx2.HTTPError, ValueError) as error:
            problem = Problem("unreachable", f"{self.name} did not answer: {error}")
            return [self._failed(problem, taxonomy)] * len(items)
        if reply.status_code != 200:
            return [self._failed(_problem(body), taxonomy)] * len(items)
        return [self._prediction(result) for result in body["results"]]

    def _failed(self, problem: Problem, taxonomy: Taxonomy) -> Prediction:
        return Prediction((), Source(self.name, label_source(taxonomy)), problem=problem)

    def _prediction(self, result: Mapping[str, Any]) -> Prediction:
        problem = _problem(result["problem"]) if "problem" in result else None
        source = Source(result["model"], result["taxonomy"], result["prompt"])
        return Prediction(tuple(result["labels"]), source, result.get("scores") or {}, problem, cached=result["cached"])


def _problem(body: Mapping[str, Any]) -> Problem:
    return Problem(_KINDS.get(body.get("type", ""), "rejected"), body.get("detail", "the service gave no reason"))
