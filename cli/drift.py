"""`main.py drift`: what changed between two tables of labelled texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.arguments import PATH, json_option, print_json, print_table, say
from cli.group import examples
from cli.names import complete_taxonomy

if TYPE_CHECKING:
    from eval.drift import DriftTable

_TEXTS = ("text", "description", "overview", "plot", "review")
_LABELS = ("labels", "label", "genres")
_SCORES = ("scores", "score", "confidence")


@click.command(
    short_help="What changed between two tables of labelled texts.",
    epilog=examples(
        "drift march.labelled.csv april.labelled.csv",
        "drift a.jsonl b.jsonl --most 0.25 --json",
        "drift march.labelled.csv --save tickets",
    ),
)
@click.argument("table_a", type=PATH)
@click.argument("table_b", type=PATH, required=False)
@click.option("--text-field", help=f"Column of the text.  [default: the first of {', '.join(_TEXTS)}]")
@click.option("--labels-field", help=f"Column of the labels.  [default: the first of {', '.join(_LABELS)}]")
@click.option("--scores-field", help=f"Column of scores, or of one.  [default: the first of {', '.join(_SCORES)}]")
@click.option("--save", metavar="TAXONOMY", shell_complete=complete_taxonomy, help="Keep TABLE_A as its reference.")
@click.option("--most", type=click.FloatRange(0), help="Exit with 1 if a significant index is above this.")
@json_option
def drift(
    table_a: Path, table_b: Path | None, text_field: str | None, labels_field: str | None, scores_field: str | None,
    save: str | None, most: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare TABLE_A, the reference, with TABLE_B: labels, confidence (the highest score) and length of the texts.

    For each, the population stability index (PSI; 0.1 is moderate, 0.25 large by convention), the p value of a
    permutation test, and the largest changes in words. Tables are those of `bulk`, or any with such columns.

    With --save, TABLE_A becomes the reference of a taxonomy (in MARQUEE_DRIFT_PATH): a service that is started
    afterwards compares its latest answers with it in /metrics.
    """
    if table_b is None and save is None:
        raise click.UsageError("there is nothing to compare with; give TABLE_B, or --save TAXONOMY")
    fields = text_field, labels_field, scores_field
    reference = _table(table_a, fields)
    saved = _saved(reference, save) if save else {}
    compared = _compared(reference, _table(table_b, fields), most, as_json, saved) if table_b else True
    if as_json and not table_b:
        print_json(saved)
    if saved and not as_json:
        say(f"reference of {save} saved in {saved['reference']}; a service reads it when it starts")
    if not compared:
        raise SystemExit(1)


def _saved(table: DriftTable, name: str) -> dict[str, Any]:
    from marquee.classification import load_taxonomy
    from marquee.drift import reference_of, save_reference
    from marquee.settings import read_settings

    reference = reference_of(table, load_taxonomy(name))
    path = save_reference(reference, read_settings().drift_path)
    return {"reference": path, "taxonomy": reference.taxonomy, "rows": reference.rows}


def _compared(a: DriftTable, b: DriftTable, most: float | None, as_json: bool, saved: dict[str, Any]) -> bool:
    """Print the comparison; False where a significant index is above ``most``."""
    from eval.drift import drift as measured

    found = measured(a, b)
    above = [one for one in found if most is not None and one.psi > most and one.verdict != "none"]
    if as_json:
        print_json({"parts": [asdict(one) | {"verdict": one.verdict} for one in found], **saved})
    else:
        rows = [
            (one.part, f"{one.psi:.3f}", "<0.001" if one.p < 0.001 else f"{one.p:.3f}", one.verdict) for one in found
        ]
        print_table(("part", "PSI", "p", "drift"), rows)
        for one in found:
            click.echo("\n" + "\n".join(one.changes))
    return not above


def _table(path: Path, fields: tuple[str | None, ...]) -> DriftTable:
    from eval.drift import DriftTable
    from prompts.errors import InvalidDataset
    from tabular import strict_rows

    rows = [row.cells for row in strict_rows(path) if not row.cells.get("problem")]
    if not rows:
        raise InvalidDataset(f"{path} has no row with an answer; nothing can be compared")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text, labels, scores = (
        _column(path, columns, given, usual) for given, usual in zip(fields, (_TEXTS, _LABELS, _SCORES), strict=True)
    )
    confidences = [one for row in rows if (one := _confidence(row.get(scores))) is not None] if scores else []
    return DriftTable(
        [_labels(row.get(labels)) for row in rows] if labels else None,
        confidences or None,
        [len(str(row.get(text) or "")) for row in rows] if text else None,
    )


def _column(path: Path, columns: list[str], given: str | None, usual: tuple[str, ...]) -> str | None:
    from prompts.errors import InvalidDataset

    if given is not None and given not in columns:
        raise InvalidDataset(f"{path} has no column {given!r}; its columns: {', '.join(columns)}")
    return given or next((name for name in usual if name in columns), None)


def _labels(cell: Any) -> tuple[str, ...]:
    from tabular.cells import labels_in, split_labels

    return split_labels(labels_in(cell), lambda name: None)


def _confidence(cell: Any) -> float | None:
    value = _parsed(cell)
    if isinstance(value, Mapping):
        numbers = [float(one) for one in value.values() if isinstance(one, int | float)]
        return max(numbers, default=None)
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def _parsed(cell: Any) -> Any:
    """An object that CSV has as JSON in a cell."""
    if isinstance(cell, str) and cell.startswith("{"):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell
