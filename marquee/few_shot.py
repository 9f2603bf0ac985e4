"""Few-shot examples of the settings: from a labelled table to what a language model is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llm.few_shot import ExampleSelector, NearestExamples, StaticExamples, no_examples, text_key
from prompts.errors import InvalidSetting
from prompts.hierarchy import uncut
from prompts.taxonomy import Taxonomy
from prompts.template import FewShotExample
from prompts.text import Text

if TYPE_CHECKING:
    from eval.datasets import Fields
    from eval.datasets.example import Record
    from marquee.settings import Settings
    from similarity.encoders.minilm import MiniLM

_SPLIT = "train"
_MOST_FOR_EVERY_TEXT = 100


def example_selector(
    settings: Settings, encoder: MiniLM, taxonomy: Taxonomy, excluded: Sequence[Text] = ()
) -> ExampleSelector:
    """The examples to show for a taxonomy, from the table that the settings name.

    ``excluded`` are texts that are no examples, such as those of an evaluation.

    Raises:
        InvalidSetting: more examples than a prompt may have, or see ``load_examples``.
    """
    if settings.examples_path is None:
        return no_examples
    examples = load_examples(settings.examples_path, taxonomy, excluded)
    if not settings.examples_nearest:
        if len(examples) > _MOST_FOR_EVERY_TEXT:
            raise InvalidSetting(
                f"MARQUEE_EXAMPLES_PATH: {settings.examples_path} has {len(examples):,} examples, and all would be "
                "in every prompt; set MARQUEE_EXAMPLES_NEAREST=8 to show the nearest ones"
            )
        return StaticExamples(examples, taxonomy.name)
    folder = settings.cache_path.parent
    return NearestExamples(encoder, examples, taxonomy.name, settings.examples_nearest, folder)


def load_examples(path: Path, taxonomy: Taxonomy, excluded: Sequence[Text] = ()) -> tuple[FewShotExample, ...]:
    """The labelled texts of a table or another data set, with their labels in the order of the data.

    The columns are ``text`` and ``labels``, or those of ``eval.datasets``. Of data with splits, the split ``train`` is
    used. Rows without a text are left out, and rows without labels where the taxonomy does not allow none.

    Raises:
        InvalidDataset: the file cannot be read, or a column is missing.
        InvalidSetting: a label is not in the taxonomy, or no example remains.
    """
    from eval.datasets.registry import records

    fields, explanations = _columns(path)
    rows = records(path, fields).rows
    splits = {row.split for row in rows if row.split}
    if splits:
        rows = tuple(row for row in rows if row.split == _SPLIT)
    keys = set(map(text_key, excluded))
    found = [
        FewShotExample(row.text, _labels(row, uncut(taxonomy)), explanations.get(row.where, ""))
        for row in rows
        if not row.text.empty and text_key(row.text) not in keys
    ]
    kept = tuple(example for example in found if example.labels or taxonomy.allow_none)
    if not kept:
        known = f" of split {_SPLIT!r}; its splits: {', '.join(sorted(splits))}" if splits else " left"
        raise InvalidSetting(f"MARQUEE_EXAMPLES_PATH: {path} has no labelled example{known}; name another table")
    return kept


def _columns(path: Path) -> tuple[Fields, Mapping[str, str]]:
    """The columns ``text`` and ``labels`` where a table has them, else the defaults; explanations by place."""
    from eval.datasets import Fields
    from eval.datasets.registry import TABLES, format_of
    from tabular import open_table

    if not path.exists() or format_of(path) not in TABLES:
        return Fields(), {}
    cells = {row.where: row.cells for row in open_table(path).rows()}
    text, labels = (name if any(name in one for one in cells.values()) else None for name in ("text", "labels"))
    return Fields(text, labels), {where: str(one.get("explanation") or "") for where, one in cells.items()}


def _labels(row: Record, taxonomy: Taxonomy) -> tuple[str, ...]:
    from tabular.cells import split_labels

    names = split_labels(row.labels, taxonomy.known)
    if unknown := next((name for name in names if taxonomy.known(name) is None), None):
        raise InvalidSetting(
            f"MARQUEE_EXAMPLES_PATH: {row.where}: label {unknown!r} is not in taxonomy {taxonomy.name!r}; "
            "name a table with its labels, or set MARQUEE_TAXONOMY to theirs"
        )
    return tuple(dict.fromkeys(name for name in map(taxonomy.resolve, names) if name))
