"""What a training takes (splits as arrays) and makes: a scorer, and a classifier with a manifest beside its weights."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from eval.baselines.thresholds import Decoding
from eval.datasets import Example
from eval.metrics import Labels, indicator
from llm.classifier import AnswerSource, Prediction, no_text
from prompts.errors import InvalidDataset, InvalidSetting, InvalidTaxonomy, OtherTaxonomy
from prompts.files import digest_of, read_json, write_text_atomically
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import as_yaml
from prompts.text import Text, checked_texts

Probabilities = NDArray[np.float32]
Item = TypeVar("Item")
MANIFEST = "manifest.json"
FORMAT = 1
_LEAST = 1e-6


class Track(Protocol):
    """Yields the items and shows progress."""

    def __call__(self, items: Collection[Item], label: str) -> Iterator[Item]: ...


def untracked(items: Collection[Item], label: str) -> Iterator[Item]:
    """Yields the items without showing progress."""
    yield from items


@dataclass(frozen=True)
class Split:
    """Labelled texts as arrays.

    Attributes:
        truth: shape (texts, labels), columns in taxonomy order.
        complete: shape (texts,); False if a missing label is unknown rather than false.
        digest: 12 hex digits of ids, texts and labels.
        soft: a teacher's probability of each label, same shape as ``truth``; None without a teacher.
    """

    texts: tuple[str, ...]
    truth: Labels
    complete: NDArray[np.bool_]
    digest: str
    soft: Probabilities | None = None

    @classmethod
    def of(cls, examples: Sequence[Example], taxonomy: Taxonomy) -> Split:
        rows = [[one.id, one.text.title, one.text.body, one.labels, one.complete] for one in examples]
        truth = indicator([one.labels for one in examples], taxonomy)
        complete = np.array([one.complete for one in examples], dtype=bool)
        texts = tuple(sentence(one.text) for one in examples)
        return cls(texts, truth, complete, digest_of(json.dumps(rows), 12))

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def known(self) -> Labels:
        """Whether a label's truth is known, shape (texts, labels): always in a complete row, else if it is true."""
        return self.truth | self.complete[:, None]

    @property
    def targets(self) -> Probabilities:
        """The teacher's probabilities, else 0 and 1."""
        return self.truth.astype(np.float32) if self.soft is None else self.soft

    @cached_property
    def frequencies(self) -> NDArray[np.float64]:
        """Share of each label among the texts where it is known, smoothed to lie between 0 and 1."""
        return np.asarray((self.truth.sum(axis=0) + 0.5) / (self.known.sum(axis=0) + 1.0))

    def complete_rows(self) -> Split:
        """The rows with complete labels, which metrics use; raises ``InvalidDataset`` if there are none."""
        if not self.complete.any():
            raise InvalidDataset("no validation row has complete labels, which the tuning of thresholds needs")
        return self if self.complete.all() else self.take(np.flatnonzero(self.complete))

    def joined(self, other: Split) -> Split:
        """Both splits, this one first."""
        soft = None if self.soft is None and other.soft is None else np.concatenate([self.targets, other.targets])
        digest = digest_of(f"{self.digest} {other.digest}", 12)
        truth = np.concatenate([self.truth, other.truth])
        complete = np.concatenate([self.complete, other.complete])
        return Split((*self.texts, *other.texts), truth, complete, digest, soft)

    def take(self, rows: NDArray[np.intp]) -> Split:
        """Rows by index; an index may be repeated."""
        texts = tuple(self.texts[row] for row in rows)
        soft = None if self.soft is None else self.soft[rows]
        return Split(texts, self.truth[rows], self.complete[rows], self.digest, soft)


@dataclass(frozen=True)
class TrainingData:
    """Input of a training: a split for the weights, and one for settings, early stopping and thresholds.

    ``cache`` is the folder of cached embeddings, ``scratch`` of temporary files.
    """

    taxonomy: Taxonomy
    train: Split
    validation: Split
    seed: int
    cache: Path
    scratch: Path
    track: Track = untracked


class Scorer(Protocol):
    """A trained model: texts to one probability per label."""

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Shape (texts, labels), columns in taxonomy order; rows sum to 1 for single-label taxonomies."""

    def save(self, folder: Path) -> None:
        """Write the weights into an existing folder."""

    def train_info(self) -> dict[str, object]:
        """Settings chosen by the training and facts about it, for the manifest (``notes``)."""
        return {}

    def decoding(self) -> Decoding | None:
        """A default decoding that needs no tuning."""
        return None


def sentence(text: Text) -> str:
    """Title and body as one string, the same in training and in use."""
    return f"{text.title.strip()}. {text.body.strip()}" if text.title.strip() else text.body.strip()


def from_log_odds(odds: NDArray[np.floating], multi: bool) -> Probabilities:
    """Log-odds per label as probabilities: independent ones, or normalised to sum to 1 for single-label taxonomies."""
    independent = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    found = independent if multi else independent / independent.sum(axis=1, keepdims=True)
    return np.asarray(found, dtype=np.float32)


def likelihoods(scores: Probabilities, truth: Labels, multi: bool) -> NDArray[np.float64]:
    """Likelihood of the truth, at least 1e-6: of every text and label in one row, or of every text if single-label."""
    right = np.where(truth, scores, 1 - scores).ravel() if multi else scores[truth]
    return np.clip(np.asarray(right, np.float64), _LEAST, None)


@dataclass(frozen=True)
class Trained:
    """A classifier for the labels that it was trained for.

    Scores are probabilities, best first. A request may change the number of labels and ``allow_none``, but not the
    labels. ``manifest`` has data, settings and metrics of the training.
    """

    kind: str
    taxonomy: Taxonomy
    scorer: Scorer
    decoding: Decoding
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"trained/{self.kind}"

    @cached_property
    def version(self) -> str:
        """12 hex digits of what it was made from: kind, labels, texts, settings and seed of the training.

        All models of a kind have one name. What is learned about the answers of one of them is stored with this.
        """
        data = self.manifest.get("data", {})
        parts: list[Any] = [self.kind, self.taxonomy.as_json(), self.decoding.as_json()]
        parts += [data.get(split, {}).get("digest") for split in ("train", "validation")]
        parts += [self.manifest.get(name) for name in ("seed", "settings", "teacher")]
        return digest_of(json.dumps(parts, sort_keys=True), 12)

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``; raises ``OtherTaxonomy`` for other labels than those of the training."""
        self._check_labels(taxonomy)
        source = AnswerSource(self.name, taxonomy.versioned_name)
        originals = checked_texts(texts)
        sentences = [sentence(text) for text in originals]
        filled = [text for text in sentences if text]
        answers = iter(self._predictions(filled, taxonomy, source) if filled else ())
        return [
            next(answers) if text else Prediction((), source, problem=no_text(original))
            for original, text in zip(originals, sentences, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write weights, taxonomy (a YAML file of its name) and manifest into an existing folder."""
        self.scorer.save(folder)
        if Path(self.taxonomy.name).name == self.taxonomy.name:  # a program may give it any name
            write_text_atomically(folder / f"{self.taxonomy.name}.yaml", as_yaml(self.taxonomy))
        write_manifest(folder, self.manifest)

    def _predictions(self, texts: Sequence[str], taxonomy: Taxonomy, source: AnswerSource) -> list[Prediction]:
        scores = self.scorer.probabilities(texts)
        predicted = self.decoding.choose(scores, taxonomy.max_labels, bool(taxonomy.allow_none))
        names, found = taxonomy.names, []
        for row, has_label in zip(scores, predicted, strict=True):
            order = (-row).argsort(kind="stable")
            labels = tuple(names[place] for place in order if has_label[place])
            found.append(Prediction(labels, source, {names[place]: round(float(row[place]), 6) for place in order}))
        return found

    def _check_labels(self, taxonomy: Taxonomy) -> None:
        own = self.taxonomy
        if (own.multi, own.labels, own.name) != (taxonomy.multi, taxonomy.labels, taxonomy.name):
            raise OtherTaxonomy(
                f"{self.name} was trained for {own.versioned_name} and cannot answer for {taxonomy.versioned_name}; "
                "use its own taxonomy, or train another baseline"
            )


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, always last: a folder without one is an unfinished training."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> tuple[dict[str, Any], Taxonomy, Decoding]:
    """Manifest, taxonomy and decoding of a baseline; raises ``InvalidSetting`` if they are missing or damaged."""
    path = folder / MANIFEST
    if not path.exists():
        raise InvalidSetting(f"{folder} has no trained baseline (no {MANIFEST}); train one: main.py train")
    manifest = read_json(path, InvalidSetting)
    if manifest.get("format") != FORMAT:
        raise InvalidSetting(f"{path} is not a manifest of format {FORMAT}; train again")
    if manifest.get("kind") == "lora":
        raise InvalidSetting(f"{folder} has a LoRA adapter; serve it with --vllm MODEL or --local MODEL, and --adapter")
    try:
        return manifest, _taxonomy(manifest["taxonomy"]), Decoding.of_json(manifest["decoding"])
    except (KeyError, TypeError, InvalidTaxonomy) as error:
        raise InvalidSetting(f"{path} is damaged ({error!r}); train again") from None


def _taxonomy(entry: Mapping[str, Any]) -> Taxonomy:
    parts = {key: value for key, value in entry.items() if key != "digest"}
    labels = tuple(Label(**{**label, "aliases": tuple(label["aliases"])}) for label in parts.pop("labels"))
    return Taxonomy(labels=labels, **parts)
