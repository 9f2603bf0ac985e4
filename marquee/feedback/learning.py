"""Learning from feedback: fit candidates, compare the best one with today's answers, and put it in force by a gate.

Thresholds need scores; few-shot examples and heads need texts. The three parts of the feedback are independent: the
candidates are fitted on the first, chosen on the second, and measured on the third.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from eval.compare import Comparison, GateResult, compare, gate
from eval.manifest import EvaluationData
from eval.results import RunResults
from eval.run import EvaluationRun, OpenedSystem, System
from llm.calibration.thresholds import micro_f1
from llm.classifier import Classifier, Prediction
from llm.few_shot import StaticExamples
from marquee.feedback.candidates import LearnedCandidate, LearningMaterial, candidates_of
from marquee.feedback.judged import JudgedText, JudgedTexts
from marquee.feedback.learned import Learned, LearnedParts
from marquee.feedback.versions import RUNS, LearnedManifest, LearnedVersion, TaxonomyVersions, parts_of_version
from prompts.errors import InvalidDataset, InvalidSetting
from prompts.files import make_folder
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Taxonomy

TODAY = "today"


@dataclass(frozen=True)
class Answering:
    """What answers today.

    Attributes:
        inner: the classifier of the settings, without what was learned.
        with_examples: the same with other few-shot examples.
        learned: what is in force for a taxonomy.
        trained: version of the trained model that ``inner`` is; empty for another one.
    """

    inner: Classifier
    with_examples: Callable[[StaticExamples], Classifier]
    learned: Callable[[Taxonomy], LearnedParts | None]
    trained: str = ""

    @property
    def today(self) -> Classifier:
        """The classifier with what is in force."""
        return Learned(self.inner, self.with_examples, self.learned)

    def under(self, parts: LearnedParts) -> Classifier:
        """The classifier with these parts in place of what is in force."""
        return Learned(self.inner, self.with_examples, lambda taxonomy: parts)


@dataclass(frozen=True)
class LearningOutcome:
    """What was learned, and whether it is in force.

    Attributes:
        judged: the feedback, in its parts.
        selection: micro-F1 of today's answers and of each candidate on the texts of the selection.
        notes: candidates that were not made and why, and feedback on answers of another model.
        chosen: name of the best candidate; empty where none is better than today's answers.
        comparison: today's answers (A) and the candidate (B) on the held-out texts; None without a candidate.
        gated: the outcome of the gate; None without a candidate.
        version: what was put in force; None where nothing was.
    """

    judged: JudgedTexts
    selection: Mapping[str, float]
    notes: tuple[str, ...]
    chosen: str = ""
    comparison: Comparison | None = None
    gated: GateResult | None = None
    version: LearnedVersion | None = None


@dataclass(frozen=True)
class Learning:
    """One run of ``main.py learn``.

    Attributes:
        taxonomy: the labels.
        judged: the feedback on them.
        answering: what answers today.
        versions: the versions of the taxonomy.
        margin: permitted loss of F1 at the gate.
        command: the command line, for manifests.
        dry_run: whether nothing is put in force.
    """

    taxonomy: Taxonomy
    judged: JudgedTexts
    answering: Answering
    versions: TaxonomyVersions
    margin: float = 0.01
    command: str = ""
    dry_run: bool = False
    seed: int = 0

    def run(self) -> LearningOutcome:
        """Fit, choose, compare, and put the candidate in force if it passes the gate.

        Raises:
            InvalidSetting: the taxonomy is a hierarchy, or what is in force cannot be compared without texts.
            InvalidDataset: no text of a part has an answer.
        """
        self._check()
        make_folder(self.versions.folder)
        work = Path(mkdtemp(dir=self.versions.folder, prefix=".learning-"))
        try:
            return self._learn(work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _check(self) -> None:
        if isinstance(self.taxonomy, Hierarchy):
            raise InvalidSetting(
                f"taxonomy {self.taxonomy.name!r} is a hierarchy; learn supports taxonomies without levels only"
            )
        current = self.answering.learned(self.taxonomy)
        if current and current.threshold is None and not self.judged.with_texts:
            raise InvalidSetting(
                f"a {current.version.manifest.kind} is in force for {self.taxonomy.name}, and no texts are stored that "
                "it could answer; go back first (main.py learn --back), or set MARQUEE_FEEDBACK_TEXTS=true"
            )

    def _learn(self, work: Path) -> LearningOutcome:
        fit, fitted = self._answered(self.judged.fit)
        material = LearningMaterial(self.taxonomy, fit, fitted, self.judged.with_texts, work, self.command, self.seed)
        made, notes = candidates_of(material)
        notes += _of_another_model(fit, material.source.model)
        selection = {TODAY: self._quality(self.answering.today)}
        selection |= {one.name: self._quality(self.answering.under(one.parts)) for one in made}
        outcome = LearningOutcome(self.judged, selection, tuple(notes))
        best = max(made, key=lambda one: selection[one.name], default=None)
        if best is None or selection[best.name] <= selection[TODAY]:
            return outcome
        return self._gated(replace(outcome, chosen=best.name), best, fitted[0], work)

    def _gated(
        self, outcome: LearningOutcome, best: LearnedCandidate, sample: Prediction, work: Path
    ) -> LearningOutcome:
        new = work / "new"
        new.mkdir()
        best.save(new)
        runs = new / RUNS
        old_run, new_run = runs / TODAY, runs / "new"
        self._measure(TODAY, self.answering.today, old_run)
        self._measure(best.name, self.answering.under(best.parts), new_run)
        comparison = compare(RunResults.read(old_run), RunResults.read(new_run))
        gated = gate(old_run, new_run, self.margin)
        found = replace(outcome, comparison=comparison, gated=gated)
        if not gated.passed or self.dry_run:
            return found
        manifest = self._manifest(outcome, best, gated, sample, new)
        return replace(found, version=self.versions.publish(new, manifest))

    def _manifest(
        self, outcome: LearningOutcome, best: LearnedCandidate, gated: GateResult, sample: Prediction, new: Path
    ) -> LearnedManifest:
        current, taxonomy = self.versions.current(), self.taxonomy
        return LearnedManifest(
            taxonomy.versioned_name, taxonomy.names, taxonomy.multi, best.kind, sample.source.model,
            sample.source.strategy, self.judged.counts, outcome.selection,
            {"margin": gated.margin, "summary": gated.summary, "differences": [asdict(d) for d in gated.differences]},
            datetime.now(UTC).isoformat(timespec="seconds"), current.name if current else "", parts_of_version(new),
            self.answering.trained,
        )  # fmt: skip

    def _answered(self, judged: Sequence[JudgedText]) -> tuple[list[JudgedText], list[Prediction]]:
        """The texts that the classifier without feedback answers, and its answers."""
        answers = self.answering.inner.classify([one.example().text for one in judged], self.taxonomy)
        pairs = [(one, answer) for one, answer in zip(judged, answers, strict=True) if not answer.problem]
        if not pairs:
            problem = answers[0].problem
            raise InvalidDataset(f"no text has an answer: {problem.detail if problem else 'there is none'}")
        return [one for one, _ in pairs], [answer for _, answer in pairs]

    def _quality(self, classifier: Classifier) -> float:
        """Micro-F1 on the texts of the selection."""
        judged = self.judged.selection
        answers = classifier.classify([one.example().text for one in judged], self.taxonomy)
        return round(micro_f1([one.labels for one in answers], [one.labels for one in judged]), 4)

    def _measure(self, name: str, classifier: Classifier, folder: Path) -> None:
        """Run a classifier over the held-out texts; the rows have no texts."""
        examples = [one.example() for one in self.judged.held_out]
        listed = folder.parent / "held-out.jsonl"
        make_folder(folder)
        lines = [json.dumps({"id": one.id, "labels": list(one.labels)}, ensure_ascii=False) for one in examples]
        listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        data = EvaluationData(listed, None, None, self.taxonomy, examples)
        system = System(name, {"model": classifier.name}, lambda: OpenedSystem(classifier))
        EvaluationRun(system, data, folder, command=self.command).execute()


def _of_another_model(judged: Sequence[JudgedText], model: str) -> list[str]:
    """A note where no answer with feedback is by the model that answers now, as with settings unlike the service's."""
    models = Counter(one.answer.source.model for one in judged if one.answer and not one.answer.version)
    if not models or model in models:
        return []
    (other, _), *_ = models.most_common(1)
    return [
        f"the answers with feedback are by {other}, and today's answers here are by {model}; a threshold is used only "
        "where the same model answers: give the settings of the service, and --trained where it has that option"
    ]
