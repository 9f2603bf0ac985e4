"""Tune the embedded classifier for one taxonomy file by descriptions of its labels, and measure what it changes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llm.authoring import label_descriptions
from llm.embedded import label_tuning
from llm.embedded.cosine import described
from llm.embedded.label_tuning import FEWEST, LabelTuning, LabelWords
from llm.embedded.matcher import Matcher
from llm.embedded.tunings import Tunings, made_from
from marquee.settings import Settings, read_settings
from prompts import registry
from prompts.errors import InvalidTaxonomy, quoted
from prompts.files import write_text_atomically
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import descriptions_in
from prompts.taxonomy_places import Place, place_of
from prompts.text import spelling_key

if TYPE_CHECKING:
    from eval.compare import Difference
    from eval.datasets import Example
    from llm.backends.backend import Backend
    from llm.classifier import Prediction

_SHOWN = 8  # labels in an error message


@dataclass(frozen=True)
class TunedTaxonomy:
    """A finished tuning.

    Attributes:
        taxonomy: of the file.
        tuning: what was learned.
        path: the file that has it.
        written: descriptions that the language model wrote, by label.
        notes: what was left out of them, a sentence each.
        seconds: of the whole tuning.
    """

    taxonomy: Taxonomy
    tuning: LabelTuning
    path: Path
    written: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    seconds: float


def tune_taxonomy(
    file: Path, classifier: Matcher, settings: Settings | None = None, command: str = ""
) -> TunedTaxonomy:
    """Learn a vector per label from its descriptions, and write it beside the taxonomy's file, with a manifest.

    Labels with fewer than five descriptions get further ones from the language model of the settings.

    Args:
        file: YAML file of the taxonomy.
        classifier: the embedded classifier, without tunings.
        settings: None: those of the environment.
        command: the command line, for the manifest.

    Raises:
        InvalidTaxonomy: the file cannot be used, is a hierarchy or bundled, or lacks descriptions and there is no
            language model to write them.
    """
    start = time.perf_counter()
    taxonomy, place = tunable(file)
    found = _descriptions(file, taxonomy, settings)
    words = [LabelWords(one.name, one.aliases, found.of[one.name], described(one)) for one in taxonomy.predictable]
    vectors, offsets = label_tuning.train(words, classifier.encoder)
    tuning = LabelTuning(vectors, offsets, made_from(taxonomy, place, classifier.weights))
    label_tuning.save(tuning, label_tuning.tuned_path(file))
    seconds = time.perf_counter() - start
    manifest = {
        "digest": tuning.digest,
        "taxonomy": taxonomy.versioned_name,
        "made from": asdict(tuning.made_from),
        "encoder": classifier.encoder.name,
        "training": label_tuning.settings_of_training(),
        "descriptions": {label.name: len(label.descriptions) for label in words},
        "written by": {"model": found.model, "descriptions": found.written} if found.model else None,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }
    document = json.dumps(manifest, indent=2, ensure_ascii=False)
    write_text_atomically(label_tuning.manifest_path(file), document + "\n")
    return TunedTaxonomy(taxonomy, tuning, label_tuning.tuned_path(file), found.written, found.notes, seconds)


def tunable(file: Path) -> tuple[Taxonomy, Place]:
    """The taxonomy of a file, and its place.

    Raises:
        InvalidTaxonomy: the file cannot be used, is a hierarchy, or is bundled.
    """
    taxonomy = registry.taxonomy_at(str(file))
    if isinstance(taxonomy, Hierarchy):
        raise InvalidTaxonomy(f"{file.name} is a hierarchy; only a taxonomy without levels can be tuned")
    place = place_of(taxonomy)
    # A copy with the same name and labels has a place too.
    if place is None or file.resolve().parent == registry.TAXONOMIES.resolve():
        raise InvalidTaxonomy(f"{file} is a bundled taxonomy; copy it, and tune the copy")
    return taxonomy, place


def remove_tuning(file: Path) -> list[Path]:
    """Delete the tuning of a taxonomy's file and its manifest; returns what was deleted."""
    found = [path for path in (label_tuning.tuned_path(file), label_tuning.manifest_path(file)) if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def check_tuning(tuned: TunedTaxonomy, classifier: Matcher, examples: Sequence[Example]) -> list[Difference]:
    """Compare the classifier before and after tuning on labelled texts.

    Differences have a paired bootstrap interval. p is of the paired randomisation test, Holm-corrected; macro-AP has
    none.
    """
    from eval.metrics import indicator

    texts = [example.text for example in examples]
    before = classifier.classify(texts, tuned.taxonomy)
    after = Tunings(classifier.encoder, classifier.weights).adjusted(texts, before, tuned.taxonomy, tuned.tuning)
    true = indicator([example.labels for example in examples], tuned.taxonomy)
    return _differences(true, [before, after], tuned.taxonomy)


def _differences(true: Any, answers: Sequence[Sequence[Prediction]], taxonomy: Taxonomy) -> list[Difference]:
    from eval.compare import average_precision_difference, corrected_differences
    from eval.metrics import ACCURACY, METRICS, indicator, single
    from eval.significance import Sums, group_numbers

    chosen = [indicator([one.labels for one in found], taxonomy) for found in answers]
    groups = group_numbers([f"{number:09}" for number in range(len(true))])
    metrics = ACCURACY if single(true, chosen[0]) else {"micro-F1": METRICS["micro-F1"]}
    metrics = {**metrics, "macro-F1": METRICS["macro-F1"]}
    before, after = (Sums.of(metrics, true, one, groups) for one in chosen)
    old, new = (
        np.array([[one.scores.get(name, 0.0) for name in taxonomy.names] for one in found]) for found in answers
    )
    return [*corrected_differences(before, after), average_precision_difference(true, old, new, groups)]


def as_rows(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """The differences for JSON."""
    names = {"a": "before", "b": "after"}
    return [{names.get(name, name): value for name, value in asdict(one).items()} for one in found]


@dataclass(frozen=True)
class _Descriptions:
    of: Mapping[str, tuple[str, ...]]  # all of a label, five or more
    model: str = ""  # the language model that wrote some of them
    written: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _descriptions(file: Path, taxonomy: Taxonomy, settings: Settings | None) -> _Descriptions:
    """The descriptions in the file, and those that the language model of the settings writes where they are few."""
    given = descriptions_in(file)
    lacking = [label for label in taxonomy.predictable if len(given[label.name]) < FEWEST]
    if not lacking:
        return _Descriptions(given)
    backend = _backend(settings or read_settings())
    if backend is None:
        raise InvalidTaxonomy(_request(file, lacking, given) + "; or set OPENAI_BASE_URL, and a model writes them")
    pairs = list(zip(lacking, label_descriptions.written(backend, lacking, taxonomy), strict=True))
    written = {label.name: lines for label, (lines, _) in pairs}
    notes = tuple(f"{label.name!r}: {why}" for label, (_, why) in pairs if why)
    merged = {name: _merged(lines, written.get(name, ())) for name, lines in given.items()}
    if short := [label for label in lacking if len(merged[label.name]) < FEWEST]:
        reasons = f"; the language model did not write enough: {'; '.join(notes[:_SHOWN])}"
        raise InvalidTaxonomy(_request(file, short, merged) + reasons)
    return _Descriptions(merged, backend.name, written, notes)


def _backend(settings: Settings) -> Backend | None:
    """The language model of the settings; None where there is none that writes sentences."""
    from marquee.backends import backend_of

    return backend_of(settings) if settings.uses_language_model and not settings.local_model else None


def _merged(given: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    lines: dict[str, str] = {}
    for line in (*given, *more):
        lines.setdefault(spelling_key(line), line)
    return tuple(lines.values())


def _request(file: Path, labels: Sequence[Label], given: Mapping[str, Sequence[str]]) -> str:
    """Which labels lack how many descriptions, and the YAML that is expected."""
    names = ", ".join(f"{quoted(one.name)} {FEWEST - len(given[one.name])}" for one in labels[:_SHOWN])
    rest = f" and {len(labels) - _SHOWN} more labels" * (len(labels) > _SHOWN)
    return (
        f"{file.name}: tuning needs {FEWEST} descriptions of every label; missing are {names}{rest}; add them: "
        f"- {{name: {labels[0].name}, description: a definition, descriptions: [typical words, a situation, an example "
        "text, another one]}"
    )
