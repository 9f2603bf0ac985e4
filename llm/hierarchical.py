"""Hierarchical taxonomies: the leaves at once with scores for the inner labels, or a descent level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace

from llm.classifier import Classifier, LabelsOffered, Prediction, Problem, total_usage
from prompts.hierarchy import Hierarchy
from prompts.label_tree import lowest
from prompts.taxonomy import Taxonomy
from prompts.text import Text, checked_texts

_CONCURRENT_STEPS = 16


def by_leaves(
    classify: Callable[[Sequence[str | Text], Taxonomy], list[Prediction]],
    texts: Sequence[str | Text],
    hierarchy: Hierarchy,
) -> list[Prediction]:
    """Score all leaves at once; an inner label has the sum of the shares below it, or the highest probability."""
    flat = hierarchy.flat
    if hierarchy.multi and hierarchy.level:  # the best leaves may all be below one label
        flat = flat.shaped(max_labels=len(flat.names))
    return [_lifted(one, hierarchy) for one in classify(texts, flat)]


@dataclass(frozen=True)
class Hierarchical:
    """Descends a hierarchical taxonomy level by level; flat taxonomies go to the inner classifier as they are.

    Each step is a question about the labels right below one label. In a taxonomy of single labels, up to ``beam``
    labels per level are followed, and the score of a label is the product of its shares on the way. A label is not
    followed where its score cannot change the answer. Where several labels may apply, the chosen ones are followed, up
    to ``beam`` per level. With ``beam`` = 0 there is no descent: all leaves are one taxonomy.
    """

    inner: Classifier
    beam: int

    @property
    def name(self) -> str:
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; a text fails where one of its steps fails. ``usage`` is that of all steps."""
        if not isinstance(taxonomy, Hierarchy):
            return self.inner.classify(texts, taxonomy)
        if not self.beam:
            return [_lifted(one, taxonomy) for one in self.inner.classify(texts, taxonomy.flat)]
        texts = checked_texts(texts)
        searches = [_Descent(taxonomy, self.beam) for _ in texts]
        while steps := _steps(searches):
            for path, answers in self._answers(texts, steps, taxonomy).items():
                for place, answer in zip(steps[path], answers, strict=True):
                    searches[place].expand(path, answer)
        return [search.prediction() for search in searches]

    def _answers(
        self, texts: Sequence[Text], steps: Mapping[str, Sequence[int]], hierarchy: Hierarchy
    ) -> dict[str, list[Prediction]]:
        """The answers of all steps of one level, which are sent at the same time."""

        def ask(path: str) -> list[Prediction]:
            return self.inner.classify([texts[place] for place in steps[path]], hierarchy.step(path))

        if len(steps) == 1:
            return {path: ask(path) for path in steps}
        with ThreadPoolExecutor(min(len(steps), _CONCURRENT_STEPS)) as pool:
            # Each in a context of its own: deadline and trace of the request are context variables.
            waiting = {path: pool.submit(copy_context().run, ask, path) for path in steps}
            return {path: one.result() for path, one in waiting.items()}


def _steps(searches: Sequence[_Descent]) -> dict[str, list[int]]:
    """The texts of each step of the next level; texts with the same step share a batch."""
    steps: dict[str, list[int]] = {}
    for place, search in enumerate(searches):
        for path in search.frontier():
            steps.setdefault(path, []).append(place)
    return steps


@dataclass
class _Descent:
    """The descent of one text.

    Attributes:
        scores: of every label that was scored; the product of the scores on its path.
        ends: answers that were reached, with their scores.
        open: labels whose children are not scored yet.
    """

    hierarchy: Hierarchy
    beam: int
    scores: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    answers: list[Prediction] = field(default_factory=list)
    offered: int = 0
    problem: Problem | None = None

    def __post_init__(self) -> None:
        self._reach("", 1.0)

    def frontier(self) -> list[str]:
        """The labels to follow now; the others are given up."""
        best = sorted({**self.open, **({} if self.hierarchy.multi else self.ends)}.items(), key=lambda pair: -pair[1])
        kept = dict(best[: self.beam])
        if kept and not self.hierarchy.multi and all(one.score_type in ("share", None) for one in self.answers):
            # The best label below one with n children has at least an n-th of its share.
            sure = max(score / self._shared(path) for path, score in kept.items())
            kept = {path: score for path, score in kept.items() if score >= sure}
        self.open = {path: score for path, score in kept.items() if path in self.open and not self.problem}
        return list(self.open)

    def expand(self, path: str, answer: Prediction) -> None:
        """Take the answer about the labels below a path."""
        weight = self.open.pop(path)
        self.answers.append(answer)
        self.offered += answer.shortlist.offered if answer.shortlist else len(self.hierarchy.step(path).names)
        self.problem = self.problem or answer.problem
        # Labels without scores (a list that the model wrote) all count like the label above them.
        scores = answer.scores or dict.fromkeys(answer.labels, 1.0)
        if answer.scores:
            self.scores |= {name: weight * score for name, score in scores.items()}
        chosen = answer.labels if self.hierarchy.multi or not answer.labels else tuple(scores)
        for name in chosen:
            self._reach(name, weight * scores.get(name, 1.0))
        if path and not self.hierarchy.leaves_only:
            remaining = 0.0 if answer.score_type == "probability" else max(0.0, 1 - sum(scores.values()))
            if not answer.labels or (not self.hierarchy.multi and remaining):
                self.ends[path] = weight * (1.0 if self.hierarchy.multi else remaining or 1.0)

    def prediction(self) -> Prediction:
        """The answer of the whole descent."""
        last = self.answers[-1]
        source = replace(self.answers[0].source, taxonomy=self.hierarchy.versioned_name)
        usage, total = total_usage([one.usage for one in self.answers]), self.hierarchy.size
        dropped = tuple(word for one in self.answers for word in one.dropped)
        if self.problem:
            return Prediction((), source, problem=self.problem, dropped=dropped, usage=usage)
        scored = all(one.scores for one in self.answers if one.labels)
        # Of equal scores, and of labels without scores, the first ones in the taxonomy.
        best = sorted(self.hierarchy.in_order(self.ends), key=lambda path: -self.ends[path])
        chosen = tuple(best[: self.hierarchy.max_labels])
        scores = self.hierarchy.ranked(self.scores) if scored else {}
        return Prediction(
            chosen if scored else self.hierarchy.in_order(chosen),
            source,
            scores,
            None,
            dropped,
            usage,
            all(one.cached for one in self.answers),
            last.score_type if scores else None,
            LabelsOffered(self.offered, total) if self.offered < total else None,
        )

    def _reach(self, path: str, weight: float) -> None:
        """A label that is an answer, or is to be followed; an only child needs no question."""
        below = self.hierarchy.children.get(path, ())
        if path and self.hierarchy.ends(path):
            self.ends[path] = weight
        elif path and len(below) == 1 and self.hierarchy.leaves_only:
            self.scores[below[0].name] = weight
            self._reach(below[0].name, weight)
        else:
            self.open[path] = weight

    def _shared(self, path: str) -> int:
        """Number of answers that share the score of a label."""
        if path in self.ends:
            return 1
        return len(self.hierarchy.children[path]) + (not self.hierarchy.leaves_only)


def _lifted(prediction: Prediction, hierarchy: Hierarchy) -> Prediction:
    """The prediction of leaves as one of the hierarchy."""
    exclusive = prediction.score_type == "share"
    scores = hierarchy.with_inner(prediction.scores, exclusive)
    labels = tuple(dict.fromkeys(map(hierarchy.lifted, prediction.labels)))
    if (
        labels and exclusive and hierarchy.level and not hierarchy.multi
    ):  # another label than that of the best leaf may have the larger sum
        sums = dict.fromkeys(hierarchy.names, 0.0)
        for name, share in prediction.scores.items():
            sums[hierarchy.lifted(name)] += share
        labels = (max(sums, key=lambda name: sums[name]),)
    source = replace(prediction.source, taxonomy=hierarchy.versioned_name)
    labels = lowest(labels)[: hierarchy.max_labels]
    return replace(prediction, labels=labels, scores=scores, source=source)
