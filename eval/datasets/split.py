"""Identity of films, grouped and stratified splits, and the file that stores a split.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, ECML PKDD) over groups instead of single examples: a
group is never divided, and every split gets its share of every label.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eval.datasets.example import Example, Record
from prompts import files
from prompts.errors import InvalidDataset, InvalidSetting

EXCLUDED = "barred"  # in split files: further rows of films of a given test split, which no split may use
_FORMAT = "marquee-split-1"
_DEFAULT = "train"
_ROWS = ""  # a label of every row: it balances the sizes of the splits, also for groups without labels

_GAPS = re.compile(r"[\W_]+")


def normal(text: str) -> str:
    """Normalise a text for comparison: case, punctuation, white space and Unicode form are removed."""
    return _GAPS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def film(title: str, year: str) -> str:
    """Normalised title and year; empty without a title."""
    name = normal(title)
    return f"{name} ({year})" if name else ""


def groups(rows: Sequence[Record]) -> list[str]:
    """The group of each row, 12 hex digits, independent of the order of the rows.

    Rows with the same title and year, or with the same description, are in one group; the relation is transitive
    (union-find, with the least key of a group as its root).
    """
    keys = [_keys(row) for row in rows]
    parents: dict[str, str] = {}
    for first, *others in keys:
        for other in others:
            low, high = sorted((_root(parents, first), _root(parents, other)))
            parents[high] = low
    return [files.digest_of(_root(parents, first), 12) for first, *_ in keys]


def _keys(row: Record) -> list[str]:
    """What identifies a row's film: title and description, else its id."""
    known = {"film": film(row.title, row.year), "text": normal(row.text.body)}
    return [f"{kind} {key}" for kind, key in known.items() if key] or [f"id {row.id}"]


def _root(parents: dict[str, str], key: str) -> str:
    while (parent := parents.setdefault(key, key)) != key:
        parents[key] = parents[parent]
        key = parents[key]
    return key


def more_texts(
    training: Sequence[Example], everything: Sequence[Example], others: Sequence[Example]
) -> tuple[list[Example], Counter[str]]:
    """Join the texts of another table to training films by title and year; its labels are ignored.

    Returns the further texts with the labels of the same films, and counts of the skipped rows of such films by reason.
    Rows with an ambiguous title, or with a text of ``everything`` (all splits of the same data), are skipped, because
    they could belong to a film of another split.
    """
    unique_films = _unique_films(everything) & _unique_films(others)
    known_texts = {normal(example.text.body) for example in everything}
    by_film = {one.film: one for one in training if one.film and not one.film.endswith("()")}  # with a year
    skipped: Counter[str] = Counter()
    found = []
    for other in others:
        if (example := by_film.get(other.film)) is None:
            continue
        if reason := _skip_reason(example, other, unique_films, known_texts):
            skipped[reason] += 1
        else:
            text = replace(example.text, body=other.text.body)
            found.append(replace(example, id=f"{example.id}+{other.id}", text=text, truncated=other.truncated))
    return found, skipped


def _skip_reason(example: Example, other: Example, unique_films: set[str], known_texts: set[str]) -> str | None:
    if other.film not in unique_films:
        return "with a title and year of more than one film"
    if other.split and other.split != example.split:
        return "of a film in another split of that table"
    return "with a text of the data" if normal(other.text.body) in known_texts else None


def _unique_films(examples: Iterable[Example]) -> set[str]:
    return {film for film, count in Counter(example.film for example in examples).items() if count == 1}


def assign(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each example by its id, independent of the order of the examples.

    The seed orders groups of equal size.

    Raises:
        InvalidSetting: shares that are not above 0 or do not sum to 1.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise InvalidSetting(f"shares must be above 0 and sum to 1, not {dict(shares)}")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        counts[example.group].update((*example.labels, _ROWS))
    totals = sum(counts.values(), Counter[str]())
    split_of = _distributed(_shuffled(counts, seed), counts, totals, shares)
    return {example.id: split_of[example.group] for example in examples}


def _shuffled(counts: Mapping[str, Counter[str]], seed: int) -> list[str]:
    """Groups in random order, the largest first, because large groups get harder to place."""
    order = sorted(counts)
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda group: -counts[group][_ROWS])


def _distributed(
    order: Sequence[str], counts: Mapping[str, Counter[str]], totals: Counter[str], shares: Mapping[str, float]
) -> dict[str, str]:
    """Assign groups: the label with the fewest remaining rows first, to the split that lacks most of it."""
    missing = {name: {label: share * totals[label] for label in totals} for name, share in shares.items()}
    remaining, found = Counter(totals), dict[str, str]()
    having: dict[str, list[str]] = defaultdict(list)
    for group in order:
        for label in counts[group]:
            having[label].append(group)
    while having:
        label = min(having, key=lambda name: (name == _ROWS, remaining[name], name))
        for group in having.pop(label):
            if group not in found:
                found[group] = max(missing, key=lambda name: (missing[name][label], missing[name][_ROWS]))
                remaining.subtract(counts[group])
                for name, count in counts[group].items():
                    missing[found[group]][name] -= count
    return found


@dataclass(frozen=True)
class SplitFile:
    """The split of every row, stored once and bound to its data by a digest.

    ``data`` is the digest of the rows, ``sides`` has the ids of every split but ``train``, and ``taxonomy`` is the name
    of the taxonomy whose labels were balanced.
    """

    data: str
    seed: int
    shares: Mapping[str, float]
    sides: Mapping[str, tuple[str, ...]]
    taxonomy: str

    @classmethod
    def of(
        cls, rows: Sequence[Record], splits: Mapping[str, str], seed: int, shares: Mapping[str, float], taxonomy: str
    ) -> SplitFile:
        """From ``splits``, the split of each row by its id."""
        ids: dict[str, list[str]] = defaultdict(list)
        for row in sorted(splits):
            ids[splits[row]].append(row)
        sides = {name: tuple(ids[name]) for name in sorted(ids) if name != _DEFAULT}
        return cls(digest_of(rows), seed, shares, sides, taxonomy)

    @classmethod
    def read(cls, path: Path) -> SplitFile:
        """Read what ``write`` wrote; raises ``InvalidDataset`` for another kind of file, or a split that was edited."""
        body = files.read_json(path, InvalidDataset)
        if body.get("format") != _FORMAT:
            raise InvalidDataset(f"{path.name} is not a split of this program; make one with `main.py split`")
        try:
            sides = {name: tuple(ids) for name, ids in body["sides"].items()}
            found = cls(body["data"], body["seed"], body["shares"], sides, body["taxonomy"])
        except (KeyError, AttributeError, TypeError) as error:
            raise InvalidDataset(f"{path.name} is not a split of this program: {error} is missing") from None
        if found.digest != body.get("digest"):
            raise InvalidDataset(f"{path.name} was changed after it was written; make it again with `main.py split`")
        return found

    def write(self, path: Path) -> None:
        """Write the split as JSON."""
        body = {"format": _FORMAT, "digest": self.digest, **asdict(self)}
        files.write_text_atomically(path, json.dumps(body, ensure_ascii=False, indent=1) + "\n")

    @property
    def digest(self) -> str:
        """12 hex digits of the data and of the split of every row."""
        canonical = json.dumps([self.data, {name: sorted(ids) for name, ids in self.sides.items()}], sort_keys=True)
        return files.digest_of(canonical, 12)

    def applied(self, rows: Sequence[Record]) -> tuple[Record, ...]:
        """The rows with their splits; raises ``InvalidDataset`` if they differ from those that were split."""
        if (found := digest_of(rows)) != self.data:
            raise InvalidDataset(
                f"the split was made for other rows (digest {self.data}, here {found}): the data or the choice of its "
                "columns has changed; make the split again with `main.py split`"
            )
        split_of = {id: name for name, ids in self.sides.items() for id in ids}
        return tuple(replace(row, split=split_of.get(row.id, _DEFAULT)) for row in rows)


def digest_of(rows: Sequence[Record]) -> str:
    """12 hex digits of all rows in any order: ids, texts, titles, years and labels as the file spells them."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        digest.update(json.dumps([row.id, row.text.body, row.title, row.year, row.labels]).encode())
    return digest.hexdigest()[:12]
