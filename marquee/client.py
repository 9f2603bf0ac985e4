"""A running service as a classifier: usable wherever a classifier is."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from llm.classifier import AnswerSource, Evidence, LabelsOffered, Prediction, Problem, ProblemKind, no_text
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.hierarchy import Hierarchy
from prompts.network import connection, split_url, trimmed, without_login
from prompts.taxonomy import DEFAULT_ATTRIBUTE, Taxonomy
from prompts.text import Text, checked_texts

if TYPE_CHECKING:
    import httpx2

# kind of a text's problem -> last part of the problem type (RFC 9457) that the service answers with
SLUGS: Mapping[ProblemKind, str] = {
    "empty": "invalid-request",
    "too_long": "text-too-long",
    "unreachable": "model-unreachable",
    "busy": "model-busy",
    "misconfigured": "model-misconfigured",
    "rejected": "model-rejected",
    "unreadable": "model-unreadable",
    "timeout": "timeout",
    "client_disconnected": "client-disconnected",
}
_KINDS: Mapping[str, ProblemKind] = {slug: kind for kind, slug in SLUGS.items()} | {"too-large": "too_long"}
_TOO_LARGE = 413
_MOST_CHARS = 600_000  # of one request; a character takes up to 6 bytes, and a service takes 4,000,000 by default
_BUSY = (429, 502, 503, 504)  # the next attempt may go well
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 30.0


@dataclass(frozen=True)
class ServiceAnswer:
    """A prediction, and what else the service says of a text.

    Attributes:
        prediction: the labels, or why there are none.
        lookup: what looking its title up came to.
        notes: fields of the request that had no effect, and why.
        genres: whether the labels are genres of films.
        applied: the form of the answer and the options that had an effect, where the request has any.
    """

    prediction: Prediction
    lookup: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    genres: bool = False
    applied: Mapping[str, Any] | None = None


class Client:
    """Client of ``POST /classify`` of a running service.

    Texts are sent in batches. Lost connections and the statuses 429, 502, 503 and 504 are retried after the seconds of
    ``Retry-After``; requests are idempotent.

    Args:
        url: the service's root, e.g. ``http://127.0.0.1:5000``.
        cache: whether the service may return cached answers.
        timeout: maximum seconds of one request; the service receives it as its deadline.
        key: API key, if the service requires one.
        retries: retries after a failed request.
        batch: maximum number of texts per request; a service accepts 256 by default.

    Raises:
        InvalidSetting: the URL or the key is invalid.
    """

    def __init__(
        self, url: str, cache: bool = True, timeout: float = 60.0, key: str = "", retries: int = 2, batch: int = 64
    ) -> None:
        import httpx2  # 50 ms that answers of this process need not wait for

        url, key = _checked(url, key)
        self.name = without_login(url)
        self._cache, self._retries, self._batch = cache, retries, batch
        headers = {"X-Request-Timeout": f"{timeout:g}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx2.Client(base_url=url, timeout=timeout, headers=headers, **connection(url))
        weakref.finalize(self, self._http.close)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a failed request is the problem of every text in it.

        A taxonomy that is known here by name is sent by name; any other is sent as a whole.
        """
        return [answer.prediction for answer in self.answers(texts, taxonomy_fields(taxonomy), taxonomy)]

    def answers(
        self, texts: Sequence[str | Text], fields: Mapping[str, Any], taxonomy: Taxonomy | None = None
    ) -> list[ServiceAnswer]:
        """The same with fields of the request, and what else the service returns. Empty texts are not sent."""
        checked = checked_texts(texts)
        source = AnswerSource(self.name, taxonomy.versioned_name if taxonomy else str(fields.get("taxonomy") or ""))
        items = [{"text": text.body, "title": text.title} for text in checked if not text.empty]
        found = iter(self._answers(items, fields, source))
        return [
            ServiceAnswer(Prediction((), source, problem=no_text(text))) if text.empty else next(found)
            for text in checked
        ]

    def look_up(self, text: Text, year: int | None, fields: Mapping[str, Any]) -> ServiceAnswer:
        """The same for one text; the service looks its title up first."""
        item = {"text": text.body, "title": text.title, "year": year}
        source = AnswerSource(self.name, str(fields.get("taxonomy") or ""))
        return self._answers([item], {**fields, "lookup": True}, source)[0]

    def _answers(
        self, items: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], source: AnswerSource
    ) -> list[ServiceAnswer]:
        request = {**fields, "scores": True, "cache": self._cache}
        found = [answer for batch in self._batches(items) for answer in self._send({**request, "texts": batch}, source)]
        return found if fields.get("scores") else [_without_scores_note(answer) for answer in found]

    def _batches(self, items: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
        """Batches with a maximum number of texts and characters; a longer text is a batch of its own."""
        batch: list[Mapping[str, Any]] = []
        chars = 0
        for item in items:
            length = len(item["text"]) + len(item["title"])
            if batch and (len(batch) == self._batch or chars + length > _MOST_CHARS):
                yield batch
                batch, chars = [], 0
            batch.append(item)
            chars += length
        if batch:
            yield batch

    def _send(self, request: Mapping[str, Any], source: AnswerSource) -> list[ServiceAnswer]:
        texts = request["texts"]
        count = len(texts)
        reply = self._reply(request)
        if not isinstance(reply, Problem) and reply.status_code == _TOO_LARGE and count > 1:
            halves = (texts[: count // 2], texts[count // 2 :])
            return [answer for half in halves for answer in self._send({**request, "texts": half}, source)]
        if isinstance(reply, Problem):
            return [ServiceAnswer(Prediction((), source, problem=reply))] * count
        body = _decoded(reply)
        results = body.get("results")
        if reply.status_code != 200 or not isinstance(results, list) or len(results) != count:
            return [ServiceAnswer(Prediction((), source, problem=_problem(body)))] * count
        return [_answer(result, source) for result in results]

    def _reply(self, request: Mapping[str, Any]) -> httpx2.Response | Problem:
        """The first reply that needs no retry, else the last one, or its problem."""
        for attempt in range(self._retries + 1):
            found = self._attempt(request)
            final = attempt == self._retries or not (isinstance(found, Problem) or found.status_code in _BUSY)
            if final:
                break
            time.sleep(_wait(found, attempt))
        return found

    def _attempt(self, request: Mapping[str, Any]) -> httpx2.Response | Problem:
        import httpx2

        try:
            return self._http.post("/classify", json=request)
        except httpx2.HTTPError as error:
            return Problem("unreachable", f"{self.name} did not answer: {error}")


def _checked(url: str, key: str) -> tuple[str, str]:
    url, key = trimmed(url), trimmed(key)
    try:
        split_url(url)
    except ValueError:
        raise InvalidSetting("this is no URL of a service; a URL looks like http://127.0.0.1:5000") from None
    if not (key.isascii() and key.isprintable()):
        raise InvalidSetting("the API key has a character that cannot be sent; copy it again")
    return url, key


def taxonomy_fields(taxonomy: Taxonomy) -> Mapping[str, Any]:
    """The fields of ``POST /classify`` for a taxonomy: its name if it is bundled, else its labels."""
    found = registry.taxonomies()
    known = None if taxonomy.name in found.own else found.get(taxonomy.name)  # a service need not have our own
    known = None if known is None or known.labels != taxonomy.labels else known
    shape: dict[str, Any] = {name: getattr(taxonomy, name) for name in ("multi", "max_labels", "allow_none")}
    if taxonomy.attribute != (known.attribute if known else DEFAULT_ATTRIBUTE):
        shape |= {"attribute": taxonomy.attribute}
    if isinstance(taxonomy, Hierarchy):
        shape |= {"leaves_only": taxonomy.leaves_only} | ({"level": taxonomy.level} if taxonomy.level else {})
    if known is not None:
        return {"taxonomy": taxonomy.name} | ({} if known == taxonomy else shape)
    labels = taxonomy.entries() if isinstance(taxonomy, Hierarchy) else [asdict(label) for label in taxonomy.labels]
    return {"labels": labels, **shape}


def _wait(found: httpx2.Response | Problem, attempt: int) -> float:
    """Seconds until the next attempt: as the service says, else doubled each time.

    The value is randomised, so that clients rejected together do not return together.
    """
    said = "" if isinstance(found, Problem) else found.headers.get("Retry-After", "")
    seconds = float(said) if said.isdecimal() else _FIRST_WAIT * 2**attempt
    return min(_LONGEST_WAIT, seconds * random.uniform(1, 1.25))


def _decoded(reply: httpx2.Response) -> Mapping[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"detail": f"{reply.status_code}, and not as a Marquee answers"}


def _answer(result: Any, source: AnswerSource) -> ServiceAnswer:
    """One of the results; what has not the members of an answer is the problem of its text."""
    try:
        notes = tuple(map(str, result.get("notes") or ()))
        return ServiceAnswer(
            _prediction(result), result.get("lookup"), notes, "genres" in result, result.get("applied")
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        problem = Problem("unreadable", f"{source.model} answers, and not as a Marquee answers")
        return ServiceAnswer(Prediction((), source, problem=problem))


def _without_scores_note(answer: ServiceAnswer) -> ServiceAnswer:
    """Every request has ``scores``, also where the caller has not set it; a note about it is of no use then."""
    notes = tuple(note for note in answer.notes if not note.startswith("scores is ignored"))
    return answer if len(notes) == len(answer.notes) else replace(answer, notes=notes)


def _prediction(result: Mapping[str, Any]) -> Prediction:
    problem = _problem(result["problem"]) if "problem" in result else None
    source = AnswerSource(result["model"], result["taxonomy"], result["prompt"], result.get("strategy"))
    return Prediction(
        tuple(result["labels"]),
        source,
        result.get("scores") or {},
        problem,
        cached=result["cached"],
        score_type=result.get("score_type"),
        shortlist=LabelsOffered(**shortlist) if (shortlist := result.get("shortlist")) else None,
        evidence=None if (evidence := result.get("evidence")) is None else tuple(Evidence(**one) for one in evidence),
        unexplained=result.get("unexplained") or {},
        warnings=tuple(result.get("warnings") or ()),
        set=None if (names := result.get("set")) is None else tuple(names),
        abstain=result.get("abstain"),
    )


def _problem(body: Mapping[str, Any]) -> Problem:
    slug = str(body.get("type", "")).rpartition("/")[2]  # a service under a path has it before "/problems"
    return Problem(_KINDS.get(slug, "rejected"), str(body.get("detail") or "the service gave no reason"))
