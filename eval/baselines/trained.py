"""A trained baseline: a classifier, and the manifest that is stored beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.baselines.data import Scorer, sentence
from eval.baselines.thresholds import Decoding
from llm.classifier import AnswerSource, Prediction, no_text
from prompts.errors import InvalidSetting, InvalidTaxonomy, OtherTaxonomy
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text, checked_texts

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Trained:
    """A classifier for the labels that it was trained for.

    Scores are probabilities, best first. A request may change the number of labels and ``allow_none``, but not the
    labels.

    Attributes:
        kind: name of the baseline.
        taxonomy: taxonomy of the training.
        scorer: the weights.
        decoding: rule from probabilities to labels.
        manifest: data, settings and metrics of the training.
    """

    kind: str
    taxonomy: Taxonomy
    scorer: Scorer
    decoding: Decoding
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``trained/`` and the kind."""
        return f"trained/{self.kind}"

    def classify(self, texts: Sequence[str | Text], taxonomy: Taxonomy) -> list[Prediction]:
        """See ``Classifier.classify``.

        Raises:
            OtherTaxonomy: the taxonomy has other labels than that of the training.
        """
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

    def _predictions(self, texts: Sequence[str], taxonomy: Taxonomy, source: AnswerSource) -> list[Prediction]:
        scores = self.scorer.probabilities(texts)
        predicted = self.decoding.choose(scores, taxonomy.max_labels, taxonomy.allow_none)
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
    """Manifest, taxonomy and decoding of a trained baseline.

    Raises:
        InvalidSetting: no manifest, another format, or a missing or wrong entry.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InvalidSetting(f"{folder} has no trained baseline (no {MANIFEST}); train one: main.py train") from None
    except ValueError as error:
        raise InvalidSetting(f"{path} is not JSON ({error}); train again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
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
