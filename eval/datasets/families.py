"""A folder of labelled data sets, each with its own labels: ``NAME.jsonl.gz`` and ``NAME.labels.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.datasets.example import Example, Fields, LoadedDataset
from eval.datasets.loading import load
from prompts.errors import InvalidDataset, UnknownName
from prompts.files import read_json
from prompts.taxonomy import DEFAULT_ATTRIBUTE, Label, Taxonomy
from tabular import strict_rows

_LABELS = ".labels.json"
_TEXTS = (".jsonl.gz", ".jsonl")
_FIELDS = Fields(text="text", labels="labels", id="id")
_REPORTED = "test"


@dataclass(frozen=True)
class SuiteFamily:
    """A data set, and the taxonomy that its labels file describes."""

    name: str
    data: Path
    taxonomy: Taxonomy

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The cells of each row, with the columns that an evaluation does not read.

        Raises:
            InvalidDataset: the file cannot be read, or a row has a problem.
        """
        return (row.cells for row in strict_rows(self.data))

    def load(self, split: str | None) -> LoadedFamily:
        """Read its texts.

        A text without labels is an example of "none of these labels". The taxonomy allows that answer only if there is
        such a text.

        Args:
            split: only texts of this split; None: ``test`` where the data has it, else all.

        Raises:
            InvalidDataset: a row that cannot be read, an unknown label, or no text in the split.
        """
        found = load(self.data, self.taxonomy, _FIELDS, unlabelled=True)
        splits = {example.split for example in found.examples}
        chosen = (_REPORTED if _REPORTED in splits else None) if split is None else split
        if chosen is not None and chosen not in splits:
            known = ", ".join(sorted(splits - {""})) or "none"
            raise InvalidDataset(f"{self.data.name} has no text with split {chosen!r}; its splits: {known}")
        none = any(not example.labels for example in found.examples)
        selected = tuple(example for example in found.examples if chosen in (None, example.split))
        dataset = replace(found, examples=selected, taxonomy=self.taxonomy.shaped(allow_none=none))
        return LoadedFamily(self.name, self.data, chosen, dataset, _commonest(found.examples))


@dataclass(frozen=True)
class LoadedFamily:
    """The texts of one split, or of all (``split`` is None), and the commonest label of the training texts."""

    name: str
    data: Path
    split: str | None
    dataset: LoadedDataset
    commonest: str


def families(folder: Path, names: Iterable[str] = ()) -> list[SuiteFamily]:
    """The families of a folder; all of them, or those of the given names.

    A labels file is a JSON object with ``labels``: objects with ``name`` and, where there is one, ``description``; and,
    where it is not the default, ``multi`` (whether a text may have several labels), ``attribute`` and ``subject``.

    Raises:
        InvalidDataset: the folder has no family, or a file is missing or damaged.
        UnknownName: a family that does not exist.
        InvalidTaxonomy: labels that are no taxonomy.
    """
    found = {path.name.removesuffix(_LABELS): path for path in sorted(folder.glob(f"*{_LABELS}"))}
    if not found:
        raise InvalidDataset(f"{folder} has no family; a family is two files, NAME{_TEXTS[0]} and NAME{_LABELS}")
    chosen = list(dict.fromkeys(names)) or list(found)
    if unknown := next((name for name in chosen if name not in found), None):
        raise UnknownName("family", unknown, found)
    return [_family(name, found[name]) for name in chosen]


def _family(name: str, labels: Path) -> SuiteFamily:
    paths = [labels.with_name(f"{name}{ending}") for ending in _TEXTS]
    data = next((path for path in paths if path.is_file()), None)
    if data is None:
        raise InvalidDataset(f"{labels} has no texts: there is no {paths[0].name} beside it")
    return SuiteFamily(name, data, _taxonomy(name, read_json(labels, InvalidDataset), labels))


def _taxonomy(name: str, body: Mapping[str, Any], path: Path) -> Taxonomy:
    entries, multi = body.get("labels"), body.get("multi", False)
    if not isinstance(entries, list) or not all(isinstance(one, dict) and _is_text(one.get("name")) for one in entries):
        raise InvalidDataset(f"{path}: 'labels' must be a list of objects with a 'name'")
    if not isinstance(multi, bool):
        raise InvalidDataset(f"{path}: 'multi' is {multi!r}; give true or false")
    labels = [Label(one["name"], " ".join(str(one.get("description") or "").split())) for one in entries]
    attribute, subject = _word(body, "attribute", DEFAULT_ATTRIBUTE, path), _word(body, "subject", "text", path)
    taxonomy = Taxonomy.of(labels, name=name, multi=multi, allow_none=False)
    return replace(taxonomy, attribute=attribute, subject=subject)


def _word(body: Mapping[str, Any], name: str, default: str, path: Path) -> str:
    word = default if body.get(name) is None else body[name]
    if not _is_text(word):
        raise InvalidDataset(f"{path}: {name!r} is {word!r}; give a word")
    return str(word)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _commonest(examples: Iterable[Example]) -> str:
    """The label that most training texts have; of all texts where there are no training texts."""
    every = list(examples)
    counts = Counter(label for one in every if one.split == "train" for label in one.labels)
    counts = counts or Counter(label for one in every for label in one.labels)
    return min(counts, key=lambda label: (-counts[label], label))
