"""What a caller chooses about an answer: threshold, number of labels, type of scores, few-shot examples of its own.

An answer says which options were applied, and which had no effect.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llm import strategies
from llm.classifier import Classifier, Prediction, ScoreType
from llm.embedded.cosine import CosineClassifier
from llm.embedded.matcher import Matcher
from llm.evidence.explaining import Explainer
from llm.few_shot import StaticExamples
from llm.wrappers.languages import ByLanguage
from marquee.client import Client, ServiceAnswer, taxonomy_fields
from marquee.factory import RequestOptions
from marquee.prediction_sets import with_sets
from prompts.errors import InvalidExamples, InvalidSetting, UnknownName, quoted
from prompts.files import read_text
from prompts.hierarchy import Hierarchy, uncut
from prompts.label_tree import lowest
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text, checked_texts

_LEAST = 5e-5  # classifiers round scores to four digits, so 0 and 1 are nearer than this
_DIGITS = 6
_EMBEDDED = "embedded/"
_PARTS = ("text", "labels", "explanation")  # of a few-shot example


@dataclass(frozen=True)
class AnswerOptions:
    """Options that are applied to a finished prediction; they change nothing in the answer cache.

    Attributes:
        threshold: minimum score of a label. It replaces the classifier's own rule, so there may be no label.
        top_k: maximum number of labels and of scores, the best ones.
        score_type: meaning of the scores; None: the classifier's own.
        at_least_one: whether the best label is returned where none reaches the threshold.
        scores: whether the caller requests scores.
        explain: whether the answer has evidence.
    """

    threshold: float | None = None
    top_k: int | None = None
    score_type: ScoreType | None = None
    at_least_one: bool = False
    scores: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise InvalidSetting(f"threshold is {self.threshold}; give a score from -1 to 1")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidSetting(f"top_k is {self.top_k}; give 1 or more")
        if self.score_type not in (None, *_PLURAL):
            raise UnknownName("score_type", str(self.score_type), _PLURAL)

    def taxonomy_for(self, taxonomy: Taxonomy, model: str) -> Taxonomy:
        """The taxonomy that the classifier gets: the embedded one has probabilities where several labels may apply."""
        if self.score_type != "probability" or taxonomy.multi or not model.startswith(_EMBEDDED):
            return taxonomy
        return taxonomy.shaped(multi=True, max_labels=1)

    def apply(self, prediction: Prediction, taxonomy: Taxonomy) -> Prediction:
        """The prediction under these options; ``taxonomy`` is the caller's."""
        if (self.threshold, self.top_k, self.score_type) == (None, None, None):
            return prediction
        prediction = replace(prediction, source=replace(prediction.source, taxonomy=taxonomy.versioned_name))
        if prediction.problem or not prediction.scores:
            return prediction
        score_type, names = prediction.score_type, set(taxonomy.names)
        scores: Mapping[str, float] = {name: one for name, one in prediction.scores.items() if name in names}
        tree = taxonomy if isinstance(taxonomy, Hierarchy) else None
        nested = tree is not None and not tree.leaves_only  # the score of a label includes those below it
        shared = self.score_type == "share" and score_type == "probability" and scores.keys() == names and not nested
        if shared:
            scores, score_type = _shares(scores, bool(taxonomy.allow_none)), "share"
        ranked = sorted(scores, key=lambda name: -scores[name])
        labels = prediction.labels
        if self.threshold is not None:
            reached = sum(score >= self.threshold for score in scores.values())
            best = ranked[: max(reached, self.at_least_one)]
            labels = tuple(lowest(best) if nested else best)[: taxonomy.max_labels]
        kept = {name: scores[name] for name in ranked[: self.top_k]}
        if tree and self.top_k is None:  # with the labels that are no answers
            kept = tree.with_inner(kept, shares=True) if shared else dict(prediction.scores)
        return replace(prediction, labels=labels[: self.top_k], scores=kept, score_type=score_type)

    def without_effect(self, prediction: Prediction) -> Iterator[str]:
        """One sentence per option that had no effect on a prediction to which these options are applied."""
        source = prediction.source
        model = f"{source.model} with the strategy {source.strategy}" if source.strategy else source.model
        if not prediction.scores:
            named = {"threshold": self.threshold, "top_k": self.top_k, "score_type": self.score_type}
            sent = [f"{name} {value!r}" for name, value in named.items() if value is not None]
            yield from (f"{one} is ignored: {model} gives no scores" for one in [*["scores"] * self.scores, *sent])
        elif self.score_type is not None and self.score_type != prediction.score_type:
            found = _PLURAL[prediction.score_type or "share"]
            yield f"score_type {self.score_type!r} is ignored: {model} gives {found}; {_REMEDY[self.score_type]}"


def without_effect(options: RequestOptions, answer: AnswerOptions, prediction: Prediction) -> tuple[str, ...]:
    """One sentence per option that had no effect: only a language model has a strategy, a prompt and examples."""
    source = prediction.source
    if prediction.problem is not None:
        return ()
    model = "the embedded classifier" if source.model.startswith(_EMBEDDED) else source.model
    notes = []
    if options.strategy not in (None, strategies.AUTO) and source.strategy is None:
        notes.append(f"strategy {options.strategy!r} is ignored: {model} answers")
    if options.prompt is not None and source.prompt is None:
        notes.append(f"prompt {options.prompt.name!r} is ignored: {model} answers")
    for name in ("instructions", "examples"):
        if getattr(options, name) and source.prompt is None:
            notes.append(f"{name} are ignored: {model} answers")
    return (*notes, *answer.without_effect(prediction))


def applied(
    options: RequestOptions, answer: AnswerOptions, taxonomy: Taxonomy, prediction: Prediction
) -> dict[str, Any] | None:
    """The form of the answer and the options that had an effect; None where the text has no answer."""
    if prediction.problem:
        return None
    scored, prompted = bool(prediction.scores), prediction.source.prompt is not None
    threshold = answer.threshold if scored else None
    values = {
        "multi": taxonomy.multi,
        "max_labels": taxonomy.max_labels,
        "allow_none": taxonomy.allow_none if threshold is None else not answer.at_least_one,
        "threshold": threshold,
        "top_k": answer.top_k if scored else None,
        "instructions": True if options.instructions and prompted else None,
        "examples": len(options.examples.examples) if options.examples and prompted else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def classify_with_options(
    classifier: Classifier, texts: Sequence[str | Text], taxonomy: Taxonomy, request: RequestOptions,
    answer: AnswerOptions, with_sets: Callable[[list[Prediction]], list[Prediction]] = list,
) -> list[ServiceAnswer]:  # fmt: skip
    """Predictions under options, with those that were applied and those without effect.

    Args:
        classifier: made for ``request``, where a language model answers in this process.
        texts: the texts.
        taxonomy: the labels, in the caller's form.
        request: what the classifier was made for; a client sends it.
        answer: options of the finished answers; a client sends them too.
        with_sets: adds prediction sets; not called where the request has examples or instructions of its own.
    """
    if isinstance(classifier, Client):
        return classifier.answers(texts, {**taxonomy_fields(taxonomy), **request_fields(request, answer)}, taxonomy)
    english = classifier.english if isinstance(classifier, ByLanguage) else classifier
    if request.score_type == "similarity" and isinstance(english, Matcher):
        classifier = CosineClassifier(english.encoder)
    offered = answer.taxonomy_for(taxonomy, classifier.name)
    originals = checked_texts(texts)  # once: an iterator is empty afterwards
    own = request.examples or request.instructions
    found = (list if own else with_sets)(classifier.classify(originals, offered))
    genres = taxonomy.subject == "film"
    predictions = [answer.apply(prediction, taxonomy) for prediction in found]
    if answer.explain:
        predictions = Explainer(classifier).explain(originals, predictions, offered)
    return [
        ServiceAnswer(one, None, without_effect(request, answer, one), genres, applied(request, answer, taxonomy, one))
        for one in predictions
    ]


def classify_with_warnings(
    opened: Callable[[str, StaticExamples | None], Classifier], texts: Sequence[str | Text], taxonomy: Taxonomy,
    answer: AnswerOptions, instructions: str, examples: Iterable[FewShotExample | Mapping[str, Any] | Sequence[Any]],
) -> list[Prediction]:  # fmt: skip
    """Predictions under options; every option without effect is a ``UserWarning`` of the caller's caller.

    Args:
        opened: the classifier that reads these instructions and examples.
        texts: the texts.
        taxonomy: the labels.
        answer: options of the finished answers.
        instructions: for a language model.
        examples: for a language model; see ``example_of``.
    """
    shown = resolved_examples(map(example_of, examples), taxonomy)
    request = RequestOptions(instructions=instructions.strip(), examples=shown, score_type=answer.score_type)
    classifier = opened(request.instructions, shown)
    answers = classify_with_options(classifier, texts, taxonomy, request, answer, with_sets)
    for note in dict.fromkeys(note for one in answers for note in one.notes):
        warnings.warn(note, stacklevel=5)  # ``classify``, the wrapper of ``naming_extras`` and others are between
    return [one.prediction for one in answers]


def request_fields(request: RequestOptions, answer: AnswerOptions) -> dict[str, Any]:
    """The options as fields of ``POST /classify``."""
    examples = as_fields(request.examples.examples if request.examples else ())
    fields = {
        "threshold": answer.threshold, "top_k": answer.top_k, "score_type": answer.score_type,
        "instructions": request.instructions or None, "examples": examples or None,
        "allow_none": False if answer.at_least_one else None, "explain": answer.explain or None,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def as_fields(examples: Iterable[FewShotExample]) -> list[dict[str, Any]]:
    """Examples as entries of ``POST /classify``."""
    return [
        {"text": one.text.body, "title": one.text.title, "labels": list(one.labels), "explanation": one.explanation}
        for one in examples
    ]


def read_examples(path: Path | None) -> list[FewShotExample]:
    """Examples of a file of JSON lines, with ``text``, ``labels`` and perhaps ``explanation``; none without a file.

    Raises:
        InvalidExamples: the file cannot be read, or a line has another form.
    """
    found = []
    for number, line in enumerate(read_text(path, InvalidExamples).splitlines() if path else (), 1):
        try:
            found += [example_of(json.loads(line))] if line.strip() else []
        except (ValueError, TypeError, InvalidExamples):
            fault = 'give JSON such as {"text": "...", "labels": ["..."], "explanation": "..."}'
            raise InvalidExamples(f"{path}:{number}: this is no example; {fault}") from None
    return found


def example_of(value: FewShotExample | Mapping[str, Any] | Sequence[Any]) -> FewShotExample:
    """A few-shot example of a mapping (text, labels, explanation) or a sequence of the same.

    Raises:
        InvalidExamples: ``value`` has another form.
    """
    if isinstance(value, FewShotExample):
        return value
    pairs = value.items() if isinstance(value, Mapping) else zip(_PARTS, value, strict=False)
    parts: dict[str, Any] = {} if isinstance(value, str) else dict(pairs)
    labels = parts.get("labels", parts.pop("label", None))
    names = (labels,) if isinstance(labels, str) else tuple(labels or ())
    text, why = parts.get("text"), parts.get("explanation", "")
    if not parts.keys() <= {*_PARTS} or not isinstance(text, str | Text) or not all(isinstance(n, str) for n in names):
        raise InvalidExamples(f"the example {value!s:.60} has another form; give (text, labels) or (text, labels, why)")
    return FewShotExample(Text.of(text), names, str(why or ""))


def resolved_examples(examples: Iterable[FewShotExample], taxonomy: Taxonomy) -> StaticExamples | None:
    """Few-shot examples with the taxonomy's spellings of their labels; None where there are none.

    Raises:
        InvalidExamples: a label is not in the taxonomy, or an example has no label where one is required.
    """
    leaves = uncut(taxonomy)
    found = tuple(
        replace(example, labels=_resolved(example.labels, place, leaves)) for place, example in enumerate(examples)
    )
    return StaticExamples(found, taxonomy.name) if found else None


def _resolved(labels: Sequence[str], place: int, taxonomy: Taxonomy) -> tuple[str, ...]:
    if not labels and not taxonomy.allow_none:
        raise InvalidExamples(f"examples.{place} has no label; give one, or set allow_none to true")
    if len(labels) > taxonomy.max_labels:
        raise InvalidExamples(f"examples.{place} has {len(labels)} labels; at most {taxonomy.max_labels} here (multi)")
    names = [taxonomy.resolve(label) for label in labels]
    for label, name in zip(labels, names, strict=True):
        if name is None:
            close = get_close_matches(label, taxonomy.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"labels: {', '.join(taxonomy.names[:10])}"
            raise InvalidExamples(f"examples.{place}: there is no label {quoted(label)}; {hint}")
    return tuple(dict.fromkeys(name for name in names if name))


def _shares(probabilities: Mapping[str, float], none: bool) -> dict[str, float]:
    """Shares of one probability: the odds of the labels compete, as in a softmax; the odds of "none" are even."""
    clipped = {name: min(max(score, _LEAST), 1 - _LEAST) for name, score in probabilities.items()}
    odds = {name: score / (1 - score) for name, score in clipped.items()}
    total = sum(odds.values()) + none
    return {name: round(value / total, _DIGITS) for name, value in odds.items()}


_PLURAL: Mapping[ScoreType, str] = {"probability": "probabilities", "share": "shares", "similarity": "similarities"}
_REMEDY: Mapping[ScoreType, str] = {
    "probability": "the strategy yes_no gives probabilities",
    "share": "the strategy label_tokens gives shares",
    "similarity": "only the embedded classifier gives similarities",
}
