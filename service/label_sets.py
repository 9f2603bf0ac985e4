"""Requests with several label sets: several taxonomies for every text, or labels of its own for a text of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.classifier import AnswerSource, Prediction, Problem
from llm.evidence.explaining import Explainer
from llm.pairs import classify_pairs
from marquee.factory import RequestOptions
from prompts.errors import InvalidExamples, InvalidTaxonomy
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from service.label_tasks import LabelTask
from service.problems import RequestProblem
from service.schemas.answer_parts import LookupAnswer
from service.schemas.classify import ClassifyRequest, resolved_taxonomy
from service.schemas.label_fields import REPORTED, AnswerFields, LabelFields, answer_options, chosen_options
from service.services import Services

_SHARED = ("threshold", "top_k", "score_type", "instructions")  # of the request, for entries that have none
Job = tuple[Text, LabelTask]


@dataclass(frozen=True)
class LabelSets:
    """The label sets of a request.

    Attributes:
        body: the request.
        default: the taxonomy where none is named.
        genres: whether every answer repeats its labels as genres.
    """

    body: ClassifyRequest
    default: Taxonomy
    genres: bool

    def jobs(self, texts: Sequence[Text], most: int) -> list[Job]:
        """Each text with each of its label sets, in the order of the texts.

        Args:
            texts: the texts of the request.
            most: maximum number of different labels in all sets of the request.

        Raises:
            RequestProblem: an entry of ``taxonomies`` is invalid, or there are too many labels.
        """
        if self.body.taxonomies is not None:
            tasks = list(self._tasks())
            jobs = [(text, task) for text in texts for task in tasks]
        else:
            jobs = [self._own(place, text) for place, text in enumerate(texts)]
        taxonomies = {task.taxonomy for _, task in jobs if task.taxonomy.name == "custom"}
        if (count := len({label for taxonomy in taxonomies for label in taxonomy.labels})) > most:
            raise RequestProblem("too-large", f"{count} labels in one request; at most {most}", "labels")
        return jobs

    def answers(
        self, predictions: Sequence[Prediction], jobs: Sequence[Job], results: Sequence[LookupAnswer | None]
    ) -> list[Mapping[str, Any]]:
        """The answer to each text."""
        bodies = [(job[1], prediction) for job, prediction in zip(jobs, predictions, strict=True)]
        if self.body.taxonomies is None:
            return [
                task.answer_of(prediction, result).body()
                for (task, prediction), result in zip(bodies, results, strict=True)
            ]
        names = [entry.known_as for entry in self.body.taxonomies]
        rows = (bodies[start : start + len(names)] for start in range(0, len(bodies), len(names)))
        return [
            {
                "taxonomies": {
                    name: task.answer_of(prediction, result).body()
                    for name, (task, prediction) in zip(names, row, strict=True)
                }
            }
            for row, result in zip(rows, results, strict=True)
        ]

    def places(self, jobs: Sequence[Job]) -> list[tuple[int, str, Text, Taxonomy]]:
        """Per job: number of its text, name of its taxonomy in the request, text and taxonomy."""
        names = [entry.known_as for entry in self.body.taxonomies or ()]
        each = len(names) or 1
        return [
            (at // each, names[at % each] if names else task.taxonomy.name, text, task.taxonomy)
            for at, (text, task) in enumerate(jobs)
        ]

    def _tasks(self) -> Iterator[LabelTask]:
        """One task per entry of ``taxonomies``."""
        for place, entry in enumerate(self.body.taxonomies or ()):
            given = {name: value for name in _SHARED if (value := getattr(self.body, name)) is not None}
            fields = entry.model_copy(update={name: one for name, one in given.items() if getattr(entry, name) is None})
            try:
                yield self._task(fields, resolved_taxonomy(entry, self.default))
            except (InvalidTaxonomy, InvalidExamples) as error:
                raise RequestProblem("invalid-request", f"taxonomies.{place}: {error}", f"taxonomies.{place}") from None

    def _own(self, place: int, text: Text) -> Job:
        """A text with its own labels, or with those of the request; invalid labels are the fault of their text."""
        entry = self.body.entries()[place]
        own = {name: getattr(entry, name, None) for name in LabelFields.model_fields}
        named = own["labels"] is not None or own["taxonomy"] is not None
        for name, value in own.items():
            if value is None and not (named and name in ("labels", "taxonomy")):
                own[name] = getattr(self.body, name)
        fields = AnswerFields.model_construct(**own, **{name: getattr(self.body, name) for name in _SHARED})
        try:
            return text, self._task(fields, resolved_taxonomy(fields, self.default))
        except InvalidTaxonomy as error:
            return Text(fault=str(error)), self._task(fields, self.default)

    def _task(self, fields: AnswerFields, taxonomy: Taxonomy) -> LabelTask:
        options = chosen_options(fields, self.body.options(), taxonomy)
        implied = fields.labels is not None or fields.top_k is not None or fields.score_type is not None
        scores = implied if self.body.scores is None else self.body.scores
        reports = any(getattr(fields, name) is not None for name in REPORTED)
        answer, genres = answer_options(fields, self.body.scores is True), self.genres or taxonomy.subject == "film"
        return LabelTask(taxonomy, options, answer, scores, genres, reports)


def predict(services: Services, jobs: Sequence[Job], explain: bool) -> list[Prediction]:
    """One prediction per job; texts above the limit get the problem ``too_long`` and are not sent on."""
    groups: dict[RequestOptions, list[int]] = {}
    for place, (_, task) in enumerate(jobs):
        groups.setdefault(task.options, []).append(place)
    found: dict[int, Prediction] = {}
    for options, places in groups.items():
        found |= zip(places, _of_options(services, options, [jobs[place] for place in places], explain), strict=True)
    return [found[place] for place in range(len(jobs))]


def _of_options(
    services: Services, options: RequestOptions, jobs: Sequence[Job], explain: bool
) -> Iterator[Prediction]:
    classifier, most = services.classifier_for(options), services.limits.text_chars
    pairs = [(text, task.taxonomy_for(classifier.name)) for text, task in jobs]
    short = [pair for pair in pairs if len(pair[0].body) + len(pair[0].title) <= most]
    shared = None if options.score_type == "similarity" else services.pairs
    found = iter(services.with_sets(classify_pairs(classifier, short, shared), options))
    for (text, task), (_, taxonomy) in zip(jobs, pairs, strict=True):
        length = len(text.body) + len(text.title)
        if length > most:
            problem = Problem("too_long", f"the text has {length} characters; at most {most}")
            yield Prediction((), AnswerSource(classifier.name, task.taxonomy.versioned_name), problem=problem)
            continue
        prediction = task.apply(next(found))
        yield Explainer(classifier).explain([text], [prediction], taxonomy)[0] if explain else prediction
