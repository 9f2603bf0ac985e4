"""Answers as learned from feedback: a wrapper around the classifier of the settings, and the versions in force."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm.calibration.thresholds import LabelThreshold
from llm.classifier import Classifier, Prediction
from llm.few_shot import StaticExamples
from llm.wrappers.admission import MicroBatched
from marquee.factory import ClassifierFor, RequestOptions
from marquee.feedback.store import store_of
from marquee.feedback.versions import EXAMPLES, HEAD, THRESHOLD, LearnedVersion, TaxonomyVersions
from marquee.settings import Settings
from prompts.errors import InvalidSetting, MarqueeError
from prompts.files import read_json
from prompts.taxonomy import Label, Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text, checked_texts
from similarity.micro_batching import Admission

log = logging.getLogger(__name__)
TextsOf = Callable[[], Mapping[str, Text]]
_Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class LearnedParts:
    """A version that is loaded; one of the three parts is there.

    Attributes:
        version: its folder and manifest.
        threshold: from the scores of the inner classifier to labels.
        examples: few-shot examples for the language model.
        head: a classifier that answers in place of the inner one, for exactly ``labels``.
    """

    version: LearnedVersion
    threshold: LabelThreshold | None = None
    examples: StaticExamples | None = None
    head: Classifier | None = None
    labels: tuple[Label, ...] = ()

    def fits(self, taxonomy: Taxonomy, trained: str = "") -> bool:
        """Whether this version answers for a taxonomy: its labels are those of the learning.

        A threshold is for the scores of one model, so for no other training of the same kind (``trained``).
        """
        made = self.version.manifest
        same = (taxonomy.names, taxonomy.multi) == (made.labels, made.multi)
        if self.threshold is not None and made.trained != trained:
            return False
        return same and (self.head is None or taxonomy.labels == self.labels)

    def relabelled(self, prediction: Prediction, taxonomy: Taxonomy) -> Prediction:
        """The prediction with the learned threshold, where it is by the model of the learning and has scores."""
        made, source = self.version.manifest, prediction.source
        ours = (source.model, source.strategy) == (made.model, made.strategy)
        if self.threshold is None or not ours or prediction.problem or not prediction.scores:
            return prediction
        exclusive = prediction.score_type == "share"
        scores = self.threshold.adjusted(prediction.scores, exclusive)
        labels = self.threshold.choose(scores, taxonomy, exclusive)
        score_type = "probability" if self.threshold.separate else prediction.score_type
        return replace(prediction, labels=labels, scores=scores, score_type=score_type)


class LearnedVersions:
    """The versions in force by taxonomy; a newer one is used without a restart.

    A version that cannot be loaded is logged, and the one before it answers on.

    Args:
        folder: has a folder per taxonomy.
        texts_of: gives the texts of stored feedback by their digests, for few-shot examples.
        admission: limit on requests that wait for a head.
        trained: version of the trained model that answers; empty where another model does.
    """

    def __init__(self, folder: Path, texts_of: TextsOf, admission: Admission | None = None, trained: str = "") -> None:
        self.folder, self._texts_of, self._admission = folder, texts_of, admission or Admission(None)
        self.trained = trained
        self._loaded: dict[str, tuple[_Stamp, LearnedParts | None]] = {}
        self._lock = threading.Lock()

    def get(self, taxonomy: Taxonomy) -> LearnedParts | None:
        """What is in force for a taxonomy; None for nothing, or where its labels have changed since."""
        versions = TaxonomyVersions(self.folder / taxonomy.name)
        stamp, (known, parts) = versions.stamp(), self._loaded.get(taxonomy.name, (None, None))
        if stamp != known:
            with self._lock:
                parts = self._reloaded(taxonomy.name, versions, stamp)
        return parts if parts and parts.fits(taxonomy, self.trained) else None

    def name(self, taxonomy: Taxonomy) -> str:
        """The version in force, such as ``tmdb/000002``; empty for none."""
        parts = self.get(taxonomy)
        return f"{taxonomy.name}/{parts.version.name}" if parts else ""

    def _reloaded(self, name: str, versions: TaxonomyVersions, stamp: _Stamp) -> LearnedParts | None:
        known, parts = self._loaded.get(name, (None, None))
        if known == stamp:  # another thread was faster
            return parts
        try:
            version = versions.current()
            parts = load_version(version, self._texts_of, self._admission) if version else None
            log.info("learned from feedback on %s: %s", name, f"version {version.name}" if version else "nothing")
            if parts and parts.threshold and parts.version.manifest.trained != self.trained:
                log.warning(
                    "learned from feedback on %s: version %s is not used: its threshold is for another model than the "
                    "one that answers; run `main.py learn` again, with --trained where `serve` has it", name,
                    parts.version.name,
                )  # fmt: skip
        except (MarqueeError, OSError) as error:
            log.error("learned from feedback on %s: the new version cannot be used: %s", name, error)
        self._loaded[name] = stamp, parts
        return parts


@dataclass(frozen=True)
class Learned:
    """Answers by what is in force for the taxonomy, and by the inner classifier where there is nothing."""

    inner: Classifier  # the classifier of the settings
    with_examples: Callable[[StaticExamples], Classifier]  # the same with other few-shot examples
    learned: Callable[[Taxonomy], LearnedParts | None]  # what is in force; ``LearnedVersions.get``

    @property
    def name(self) -> str:
        return self.inner.name

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``."""
        originals = checked_texts(texts)
        parts = self.learned(taxonomy)
        if parts is None:
            return self.inner.classify(originals, taxonomy)
        found = self._by_parts(parts, originals, taxonomy)
        return [replace(one, learned=f"{taxonomy.name}/{parts.version.name}") for one in found]

    def _by_parts(self, parts: LearnedParts, texts: Sequence[Text], taxonomy: Taxonomy) -> list[Prediction]:
        if parts.head:
            return parts.head.classify(texts, taxonomy)
        classifier = self.with_examples(parts.examples) if parts.examples else self.inner
        return [parts.relabelled(one, taxonomy) for one in classifier.classify(texts, taxonomy)]


def with_learned(classifier_for: ClassifierFor, versions: LearnedVersions) -> ClassifierFor:
    """The same with what is learned, for requests without options of the model."""

    def chosen(options: RequestOptions) -> Classifier:
        inner = classifier_for(options)
        if options != RequestOptions(cache=options.cache):
            return inner
        return Learned(inner, lambda shown: classifier_for(replace(options, examples=shown)), versions.get)

    return chosen


def versions_of(settings: Settings, trained: Classifier | None = None) -> LearnedVersions:
    """The versions of the settings, for answers of their classifier, or of a trained one in its place."""
    store = store_of(settings)

    def texts() -> Mapping[str, Text]:
        return {one.digest: one.text for one in store.entries() if one.text} if store.path.exists() else {}

    version = str(getattr(trained, "version", ""))  # of ``eval.baselines.Trained``, which the service need not load
    return LearnedVersions(settings.learned_path, texts, Admission(settings.max_pending), version)


def load_version(version: LearnedVersion, texts_of: TextsOf, admission: Admission | None = None) -> LearnedParts:
    """Load the part of a version.

    Raises:
        InvalidSetting: the part is damaged.
    """
    folder = version.path
    try:
        if (folder / THRESHOLD).exists():
            return LearnedParts(version, LabelThreshold(**read_json(folder / THRESHOLD, InvalidSetting)))
        if (folder / EXAMPLES).exists():
            return LearnedParts(version, examples=_examples(folder / EXAMPLES, version, texts_of()))
    except (TypeError, KeyError) as error:
        raise InvalidSetting(f"{folder} has a damaged part ({error}); go back, or learn again") from None
    from eval.baselines import load

    head = load(folder / HEAD)
    return LearnedParts(version, head=MicroBatched(head, admission or Admission(None)), labels=head.taxonomy.labels)


def _examples(path: Path, version: LearnedVersion, texts: Mapping[str, Text]) -> StaticExamples | None:
    """The examples whose texts are still stored."""
    rows: Sequence[Mapping[str, Any]] = read_json(path, InvalidSetting)["examples"]
    found = [FewShotExample(texts[row["digest"]], tuple(row["labels"])) for row in rows if row["digest"] in texts]
    return StaticExamples(tuple(found), version.manifest.taxonomy.partition("@")[0]) if found else None


def write_examples(path: Path, examples: Mapping[str, Sequence[str]]) -> None:
    """Write the labels of few-shot examples by the digests of their texts."""
    rows = [{"digest": digest, "labels": list(labels)} for digest, labels in examples.items()]
    path.write_text(json.dumps({"examples": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
