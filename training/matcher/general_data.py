"""Training data of the general branch: label sets of many fields, the phrasings of their labels, and their texts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from eval.datasets import Example, families
from eval.datasets.families import SuiteFamily
from prompts.errors import InvalidDataset
from prompts.files import read_json
from similarity.encoders.tokens import cut
from training.matcher.dataset import Concept

_FIELDS_FILE = Path(__file__).parent / "general_fields.yaml"
MAX_PIECES = 62  # of a text, without its two ends; longer texts cost more than they teach
ENGLISH = "en"
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class FamilyTexts:
    """Texts that share labels.

    Attributes:
        name: ``FAMILY``, or ``FAMILY/parents`` for the upper level of its labels.
        family: the data set that the texts are from.
        field: families of one field have labels of one kind.
        multi: whether a text may have several labels.
        labels: names of the labels.
        phrasings: of each label.
        texts: word pieces of each text, at most ``MAX_PIECES``.
        true: places of each text's labels; empty: no label applies.
    """

    name: str
    family: str
    field: str
    multi: bool
    labels: tuple[str, ...]
    phrasings: tuple[tuple[str, ...], ...]
    texts: tuple[tuple[int, ...], ...]
    true: tuple[tuple[int, ...], ...]

    def sample(self, count: int) -> FamilyTexts:
        """A random sample of the texts, always the same one."""
        order = list(range(len(self.texts)))
        random.Random(self.name).shuffle(order)
        chosen = order[:count]
        return replace(self, texts=tuple(self.texts[at] for at in chosen), true=tuple(self.true[at] for at in chosen))


def general_sets(folder: Path, split: str, excluded: Iterable[str] = ()) -> list[FamilyTexts]:
    """The English families of a folder (``eval.datasets.families``), by labels and, where there are any, by parents.

    Args:
        folder: of ``NAME.jsonl.gz`` and ``NAME.labels.json``. Beside what an evaluation reads, a label may have a
            ``code`` (its name at the source) and a ``parent``, a row a ``parent`` list and a ``language``.
        split: ``train`` or ``validation``.
        excluded: families to leave out.

    Raises:
        InvalidDataset: a file cannot be read, or no English text is left.
        UnknownName: an excluded family that does not exist.
    """
    every = families(folder)
    left_out = {one.name for one in families(folder, excluded)} if excluded else set()
    found = [one for family in every if family.name not in left_out for one in _sets(family, split)]
    if not found:
        raise InvalidDataset(f"{folder} has no English text of the split {split!r}")
    return found


def _sets(family: SuiteFamily, split: str) -> list[FamilyTexts]:
    chosen = [row for row in family.rows() if row.get("split") == split and (row.get("language") or ENGLISH) == ENGLISH]
    if not chosen:
        return []
    entries = read_json(family.data.with_name(f"{family.name}.labels.json"), InvalidDataset)["labels"]
    if any((entry.get("language") or ENGLISH) != ENGLISH for entry in entries):
        return []
    texts = tuple(_pieces([str(row["text"]) for row in chosen]))
    phrasings = {str(entry["name"]): _phrasings(entry) for entry in entries}
    found = [_label_set(family, family.name, phrasings, texts, [row["labels"] for row in chosen])]
    parents = {str(name): (str(name),) for row in chosen for name in row.get("parent") or ()}
    if len(parents) > 1:
        true = [row.get("parent") or () for row in chosen]
        found.append(_label_set(family, f"{family.name}/parents", parents, texts, true))
    return found


def _label_set(
    family: SuiteFamily,
    name: str,
    phrasings: Mapping[str, tuple[str, ...]],
    texts: tuple[tuple[int, ...], ...],
    true: Sequence[Sequence[str]],
) -> FamilyTexts:
    place = {label: at for at, label in enumerate(phrasings)}
    multi = family.taxonomy.multi or any(len(labels) > 1 for labels in true)
    places = tuple(tuple(place[label] for label in labels) for labels in true)
    field = _fields().get(family.name, family.name)
    return FamilyTexts(name, family.name, field, multi, tuple(phrasings), tuple(phrasings.values()), texts, places)


def _phrasings(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Phrasings of a label: first its name, last its name and description; those that users write are more frequent."""
    name, parent, code = str(entry["name"]), entry.get("parent"), entry.get("code")
    found = [name, name, name.lower(), name.capitalize()]
    if isinstance(parent, str) and parent:
        found.append(f"{parent}: {name}")
    if code:
        found.append(" ".join(str(code).replace("_", " ").replace("-", " ").split()))
    description = " ".join(str(entry.get("description") or "").split())
    found += [description, f"{name}: {description}"] if description else []
    return (*found, f"{name}: {description}" if description else name)


def film_sets(films: Sequence[Example], reviews: Sequence[Example], concepts: Sequence[Concept]) -> list[FamilyTexts]:
    """Films by genre and by sub-genre, and reviews by verdict, under the phrasings of ``concepts``.

    Films with an incomplete list of genres are left out: a missing label there is unknown.
    """
    complete = [film for film in films if film.complete]
    detailed = [film for film in films if film.extra]
    return [
        _of_concepts("film_genres", "genres", complete, [film.labels for film in complete], concepts),
        _of_concepts("film_interests", "interests", detailed, [film.extra for film in detailed], concepts),
        _of_concepts("reviews", "reviews", reviews, [review.labels for review in reviews], concepts),
    ]


def _of_concepts(
    name: str, kind: str, examples: Sequence[Example], true: Sequence[Sequence[str]], concepts: Sequence[Concept]
) -> FamilyTexts:
    known = {concept.name: concept.wordings for concept in concepts if concept.kind == kind}
    place = {label: at for at, label in enumerate(known)}
    rows = [
        (example.text.body, tuple(place[label] for label in labels if label in place))
        for example, labels in zip(examples, true, strict=True)
    ]
    kept = [row for row in rows if row[1]]
    texts = tuple(_pieces([text for text, _ in kept], from_end=kind == "reviews"))
    field, multi = _fields().get(name, name), kind != "reviews"
    return FamilyTexts(
        name, name, field, multi, tuple(known), tuple(known.values()), texts, tuple(at for _, at in kept)
    )


def _pieces(texts: Sequence[str], from_end: bool = False) -> list[tuple[int, ...]]:
    """Word pieces of texts; of long ones the start, or the end, where most of a review's opinion is."""
    return [tuple(one.pieces[-MAX_PIECES:] if from_end else one.pieces[:MAX_PIECES]) for one in cut(texts)]


def folds(sets: Sequence[FamilyTexts]) -> list[frozenset[str]]:
    """Families that each fold leaves out of its training, of those that there are."""
    names = {one.family for one in sets}
    found = [frozenset(names.intersection(fold)) for fold in _file()["folds"]]
    return [fold for fold in found if fold]


def digest(sets: Sequence[FamilyTexts]) -> str:
    """Digest of label sets: of their texts, labels and phrasings."""
    found = hashlib.sha256()
    for one in sets:
        found.update(repr((one.name, one.phrasings, one.texts, one.true)).encode())
    return found.hexdigest()[:16]


def _fields() -> dict[str, str]:
    return {family: field for field, names in _file()["fields"].items() for family in names}


@cache
def _file() -> dict[str, Any]:
    return dict(yaml.safe_load(_FIELDS_FILE.read_text(encoding="utf-8")))
