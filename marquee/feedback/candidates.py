"""Candidates that are learned from feedback: a threshold, a line per label, few-shot examples, and a head."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llm.calibration.label_calibration import fit_lines
from llm.calibration.thresholds import LabelThreshold, fit
from llm.classifier import AnswerSource, Prediction
from llm.few_shot import StaticExamples
from marquee.feedback.judged import JudgedText
from marquee.feedback.learned import LearnedParts, write_examples
from marquee.feedback.versions import EXAMPLES, HEAD, THRESHOLD, LearnedManifest, LearnedVersion
from marquee.review.picking import pick
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample

MOST_EXAMPLES = 8
LEAST_FOR_HEAD = 200
"""Number of texts from which a head is trained."""
HEAD_KIND = "few-examples"  # what ``main.py fit`` makes, too; see ``eval.baselines.registry``
_VALIDATION = 5  # every fifth text chooses the thresholds of a head


@dataclass(frozen=True)
class LearningMaterial:
    """What candidates are learned from.

    Attributes:
        taxonomy: the labels.
        judged: texts with their right labels.
        answers: the answers for them, without what was learned before.
        with_texts: whether the texts are known.
        work: folder for files of the training.
        command: the command line, for manifests.
        seed: of the training.
    """

    taxonomy: Taxonomy
    judged: Sequence[JudgedText]
    answers: Sequence[Prediction]
    with_texts: bool
    work: Path
    command: str = ""
    seed: int = 0

    @property
    def source(self) -> AnswerSource:
        """The source of the answers."""
        return self.answers[0].source


@dataclass(frozen=True)
class LearnedCandidate:
    """Something learned: its name in tables, its kind in manifests, what it does, and how it is saved."""

    name: str
    kind: str
    parts: LearnedParts
    save: Callable[[Path], object]


def candidates_of(material: LearningMaterial) -> tuple[list[LearnedCandidate], list[str]]:
    """All candidates that the material allows, and why others were not made."""
    found: list[LearnedCandidate] = []
    notes: list[str] = []
    for make in (_thresholds, _examples, _head):
        made = list(make(material))
        found += [one for one in made if isinstance(one, LearnedCandidate)]
        notes += [one for one in made if isinstance(one, str)]
    return found, notes


def _thresholds(material: LearningMaterial) -> Iterator[LearnedCandidate | str]:
    """One threshold for all labels, and a line per label with a threshold."""
    scored = [(one, answer) for one, answer in zip(material.judged, material.answers, strict=True) if answer.scores]
    if not scored:
        yield f"no thresholds: {material.source.model} gives no scores"
        return
    scores, truth = [answer.scores for _, answer in scored], [one.labels for one, _ in scored]
    exclusive = scored[0][1].score_type == "share"
    if material.taxonomy.multi or material.taxonomy.allow_none:
        yield _threshold("one threshold", fit(scores, truth, material.taxonomy, exclusive), material)
    yield _threshold("a line per label", fit_lines(scores, truth, material.taxonomy, exclusive), material)


def _threshold(name: str, threshold: LabelThreshold, material: LearningMaterial) -> LearnedCandidate:
    def save(folder: Path) -> None:
        (folder / THRESHOLD).write_text(json.dumps(asdict(threshold), indent=2) + "\n", encoding="utf-8")

    return LearnedCandidate(name, "threshold", LearnedParts(_unpublished(material), threshold), save)


def _examples(material: LearningMaterial) -> Iterator[LearnedCandidate | str]:
    """Few-shot examples for a language model: corrected texts that differ from each other."""
    if material.source.strategy is None:
        return
    corrected = [one for one in material.judged if one.corrected and one.text]
    if not corrected:
        yield "no few-shot examples: texts of corrections are not stored (MARQUEE_FEEDBACK_TEXTS)"
        return
    chosen = _diverse(corrected, MOST_EXAMPLES)
    shown = tuple(FewShotExample(one.text, one.labels) for one in chosen if one.text)
    parts = LearnedParts(_unpublished(material), examples=StaticExamples(shown, material.taxonomy.name))
    labels = {one.digest: one.labels for one in chosen}
    yield LearnedCandidate(
        f"{len(chosen)} examples", "examples", parts, lambda folder: write_examples(folder / EXAMPLES, labels)
    )


def _diverse(judged: Sequence[JudgedText], most: int) -> list[JudgedText]:
    """Texts far from each other by MiniLM, those with labels that no chosen one has first."""
    from similarity.encoders.minilm import MiniLM

    vectors = MiniLM().encode([one.text.joined for one in judged if one.text])
    chosen = pick([0.0] * len(judged), vectors, most, 1.0, [one.labels for one in judged])
    return [judged[place] for place in chosen]


def _head(material: LearningMaterial) -> Iterator[LearnedCandidate | str]:
    """A classifier over frozen vectors."""
    if not material.with_texts:
        yield "no head: texts are not stored (MARQUEE_FEEDBACK_TEXTS)"
        return
    if len(material.judged) < LEAST_FOR_HEAD:
        yield f"no head: {len(material.judged)} texts to learn from; a head needs {LEAST_FOR_HEAD}"
        return
    yield _trained(material)


def _trained(material: LearningMaterial) -> LearnedCandidate:
    from eval.baselines import TrainingPlan, train

    examples = [one.example() for one in material.judged]
    validation = examples[::_VALIDATION]
    training = [one for place, one in enumerate(examples) if place % _VALIDATION]
    folder = material.work / HEAD
    plan = TrainingPlan(HEAD_KIND, {}, seed=material.seed, data="feedback", command=material.command, objective="micro")
    head = train(plan, material.taxonomy, training, validation, folder)
    parts = LearnedParts(_unpublished(material), head=head, labels=material.taxonomy.labels)
    return LearnedCandidate(f"head {HEAD_KIND}", "head", parts, lambda new: shutil.copytree(folder, new / HEAD))


def _unpublished(material: LearningMaterial) -> LearnedVersion:
    """The version of a candidate: only its model counts, whose answers a threshold changes."""
    taxonomy, source = material.taxonomy, material.source
    nothing: Mapping[str, float] = {}
    manifest = LearnedManifest(
        taxonomy.versioned_name, taxonomy.names, taxonomy.multi, "", source.model, source.strategy, {}, nothing, {}, "",
        "", {},
    )  # fmt: skip
    return LearnedVersion(material.work, manifest)
