"""Tune the embedded classifier for a taxonomy file by descriptions and unlabelled texts; measure what it changes."""

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
from llm.embedded import label_tuning, text_tuning
from llm.embedded.cosine import described
from llm.embedded.label_tuning import FEWEST, LabelTuning, LabelWords, MadeFrom
from llm.embedded.matcher import Matcher
from llm.embedded.tunings import SMALLEST, Tunings, made_from
from marquee.settings import Settings, read_settings
from prompts import registry
from prompts.errors import InvalidDataset, InvalidTaxonomy, quoted
from prompts.files import write_text_atomically
from prompts.hierarchy import Hierarchy
from prompts.taxonomy import Label, Taxonomy
from prompts.taxonomy_file import descriptions_in
from prompts.taxonomy_places import Place, place_of
from prompts.text import Text, checked_texts, spelling_key
from similarity.encoders.tokens import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        notes: what was left out, a sentence each.
        texts: number of texts without labels that it learned from.
        seconds: of the whole tuning.
    """

    taxonomy: Taxonomy
    tuning: LabelTuning
    path: Path
    written: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    texts: int
    seconds: float


def tune_taxonomy(
    file: Path,
    classifier: Matcher,
    settings: Settings | None = None,
    command: str = "",
    texts: Sequence[str | Text] = (),
) -> TunedTaxonomy:
    """Learn a vector per label, and write it beside the taxonomy's file, with a manifest.

    It is learned from five descriptions or more of each label, and then from the texts, if there are some. Labels with
    fewer descriptions get further ones from the language model of the settings. Without one, the texts alone are used.

    Args:
        file: YAML file of the taxonomy.
        classifier: the embedded classifier, without tunings.
        settings: None: those of the environment.
        command: the command line, for the manifest.
        texts: none, or 50 or more of the kind that the taxonomy is for, without labels.

    Raises:
        InvalidTaxonomy: the file cannot be used, is a hierarchy or bundled; it lacks descriptions, and there are
            neither texts nor a language model to write them; or there are texts and it has several labels per text.
        InvalidDataset: too few texts, without those that are empty or outside the taxonomy.
    """
    start = time.perf_counter()
    taxonomy, place = tunable(file, by_texts=bool(texts))
    version = made_from(taxonomy, place, classifier.weights)
    found = _descriptions(file, taxonomy, settings, optional=bool(texts))
    read = _usable(texts, taxonomy, classifier) if texts else None
    by_descriptions = LabelTuning(*_from_descriptions(found, taxonomy, classifier), version) if found.of else None
    tuning = _with_texts(by_descriptions, read, taxonomy, classifier, version) if read else by_descriptions
    assert tuning is not None  # without texts, there are descriptions
    label_tuning.save(tuning, label_tuning.tuned_path(file))
    seconds = time.perf_counter() - start
    manifest = {
        "digest": tuning.digest,
        "taxonomy": taxonomy.versioned_name,
        "made from": asdict(tuning.made_from),
        "encoder": classifier.encoder.name,
        "training": label_tuning.settings_of_training() if found.of else None,
        "descriptions": {name: len(lines) for name, lines in found.of.items()},
        "texts": {"number": len(read.texts), **text_tuning.settings_of_training()} if read else None,
        "written by": {"model": found.model, "descriptions": found.written} if found.model else None,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }
    document = json.dumps(manifest, indent=2, ensure_ascii=False)
    write_text_atomically(label_tuning.manifest_path(file), document + "\n")
    path, count = label_tuning.tuned_path(file), len(read.texts) if read else 0
    return TunedTaxonomy(taxonomy, tuning, path, found.written, found.notes, count, seconds)


def tunable(file: Path, by_texts: bool = False) -> tuple[Taxonomy, Place]:
    """The taxonomy of a file, and its place.

    Raises:
        InvalidTaxonomy: the file cannot be used, is a hierarchy, or is bundled; or by texts, if a text has several
            labels.
    """
    taxonomy = registry.taxonomy_at(str(file))
    if isinstance(taxonomy, Hierarchy):
        raise InvalidTaxonomy(f"{file.name} is a hierarchy; only a taxonomy without levels can be tuned")
    place = place_of(taxonomy)
    # A copy with the same name and labels has a place too.
    if place is None or file.resolve().parent == registry.TAXONOMIES.resolve():
        raise InvalidTaxonomy(f"{file} is a bundled taxonomy; copy it, and tune the copy")
    if by_texts and not taxonomy.exclusive:
        raise InvalidTaxonomy(
            f"{file.name} has several labels per text, and texts without labels were found to help where there is one "
            "(`multi: false`); leave the texts out, and give five descriptions of each label"
        )
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
class _UsableTexts:
    texts: Sequence[Text]
    answers: list[Prediction]


def _usable(texts: Sequence[str | Text], taxonomy: Taxonomy, classifier: Matcher) -> _UsableTexts:
    """The texts that the classifier finds a label for."""
    checked = checked_texts(texts)
    answered = [
        (text, one) for text, one in zip(checked, classifier.classify(checked, taxonomy), strict=True) if one.labels
    ]
    if len(answered) < text_tuning.FEWEST:
        without = f" ({len(texts) - len(answered)} more are empty or outside the taxonomy)" * (
            len(texts) > len(answered)
        )
        raise InvalidDataset(
            f"tuning by texts needs {text_tuning.FEWEST} texts or more, but there are {len(answered)}{without}; add "
            "texts of the kind that the taxonomy is for"
        )
    return _UsableTexts([text for text, _ in answered], [one for _, one in answered])


def _with_texts(
    before: LabelTuning | None, read: _UsableTexts, taxonomy: Taxonomy, classifier: Matcher, version: MadeFrom
) -> LabelTuning:
    tunings = Tunings(classifier.encoder, classifier.weights)
    answers = tunings.adjusted(read.texts, read.answers, taxonomy, before) if before else read.answers
    shares = np.array([[max(one.scores[name], SMALLEST) for name in taxonomy.names] for one in answers])
    encoded = classifier.encoder.encode(cut([text.joined for text in read.texts]))
    vectors, offsets = text_tuning.train(encoded, shares / shares.sum(axis=1, keepdims=True))
    if before is None:
        return LabelTuning(vectors, offsets, version)
    return LabelTuning(before.vectors + vectors, before.offsets + offsets, version)


def _from_descriptions(
    found: _Descriptions, taxonomy: Taxonomy, classifier: Matcher
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    labels = [LabelWords(one.name, one.aliases, found.of[one.name], described(one)) for one in taxonomy.predictable]
    return label_tuning.train(labels, classifier.encoder)


@dataclass(frozen=True)
class _Descriptions:
    of: Mapping[str, tuple[str, ...]]  # all of a label, five or more; empty: tuned by texts alone
    model: str = ""  # the language model that wrote some of them
    written: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _descriptions(file: Path, taxonomy: Taxonomy, settings: Settings | None, optional: bool) -> _Descriptions:
    """The descriptions in the file, and those that the language model of the settings writes where they are few."""
    given = descriptions_in(file)
    lacking = [label for label in taxonomy.predictable if len(given[label.name]) < FEWEST]
    if not lacking:
        return _Descriptions(given)
    backend = _backend(settings or read_settings())
    if backend is None and optional:
        return _Descriptions({}, notes=(f"tuned by texts alone: {len(lacking)} labels lack descriptions",))
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
