"""Review files to and from other tools: tables, Label Studio's tasks and Argilla's records.

Label Studio: https://labelstud.io/guide/task_format. Argilla: ``Record.to_dict`` of its Python SDK 2, as
``dataset.records.to_json`` and ``from_json`` write and read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from marquee.feedback.entries import InvalidFeedback, right_labels
from marquee.review.review_file import Review, ReviewText
from prompts.errors import InvalidDataset, InvalidSetting, UnknownName
from prompts.files import write_text_atomically
from prompts.taxonomy import Taxonomy
from prompts.text import Text
from tabular import Row, strict_rows
from tabular.cells import labels_in, split_labels
from tabular.detection import suffix
from tabular.writing import write_table

QUESTION = "labels"
"""Name of Label Studio's control and of Argilla's question."""
_CANCELLED = "a skipped annotation"
_DIFFERENT = "annotations that differ from each other"
_PENDING = "no labels yet"
Cells = Mapping[str, Any]


class Skipped(Exception):
    """A row without labels to import; the message is the reason."""


@dataclass(frozen=True)
class ExchangeFormat:
    """How a tool writes a text and its labels.

    Attributes:
        row: the cells of a text; its right labels are None where it is not reviewed.
        id: the id of a row.
        text: the text of a row, to compare it.
        labels: the right labels of a row; raises ``Skipped`` or ``ValueError``.
        suffixes: of the files; empty for those of all tables.
    """

    row: Callable[[ReviewText, Taxonomy, tuple[str, ...] | None], Cells]
    id: Callable[[Cells], Any]
    text: Callable[[Cells], Text]
    labels: Callable[[Cells, Taxonomy], tuple[str, ...]]
    suffixes: tuple[str, ...] = ()


def export_review(path: Path, review: Review, right: Mapping[str, tuple[str, ...]], name: str) -> list[Path]:
    """Write the texts in a tool's format; for Label Studio, also the labelling configuration (``.xml``).

    Args:
        path: the file.
        review: the texts.
        right: right labels by the digest of the text, of those that are reviewed.
        name: of the format.

    Returns:
        The files.

    Raises:
        InvalidSetting: the suffix is not of the format.
    """
    format = _format(name)
    if format.suffixes and suffix(path) not in format.suffixes:
        raise InvalidSetting(f"{path}: the format {name} is written to a file that ends in {format.suffixes[0]}")
    write_table(path, [format.row(one, review.taxonomy, right.get(one.answer.digest)) for one in review.texts])
    if name != "label-studio":
        return [path]
    config = path.with_suffix(".xml")
    write_text_atomically(config, labelling_config(review))
    return [path, config]


@dataclass(frozen=True)
class ImportedLabels:
    """Right labels of texts, and the number of rows without, by the reason."""

    labels: tuple[tuple[ReviewText, tuple[str, ...]], ...]
    skipped: Mapping[str, int]


def import_labels(path: Path, review: Review, name: str) -> ImportedLabels:
    """The right labels in a file of a tool. All rows are checked before any of them is used.

    Raises:
        InvalidDataset: the file cannot be read, or a row has an unknown id, another text, or labels that are not in
            the taxonomy; the message has the row.
    """
    format, found, skipped = _format(name), list[tuple[ReviewText, tuple[str, ...]]](), Counter[str]()
    places: dict[str, str] = {}
    for row in strict_rows(path):
        try:
            text = _text_of(row, review, format)
            if text.id in places:
                raise InvalidDataset(f"the id {text.id!r} is in {places[text.id]} already; keep one of them")
            places[text.id] = row.where
            found.append((text, right_labels(format.labels(row.cells, review.taxonomy), review.taxonomy)))
        except Skipped as reason:
            skipped[str(reason)] += 1
        except (InvalidDataset, InvalidFeedback, ValueError) as error:
            raise InvalidDataset(f"{row.where}: {error}") from None
        except (TypeError, KeyError, AttributeError, IndexError):
            raise InvalidDataset(f"{row.where} is not in the format {name}; see docs/review.md") from None
    return ImportedLabels(tuple(found), dict(skipped))


def _text_of(row: Row, review: Review, format: ExchangeFormat) -> ReviewText:
    id = format.id(row.cells)
    if id in (None, ""):
        raise InvalidDataset("it has no id; keep the ids of the export")
    one = review.text(str(id))
    if _words(format.text(row.cells)) != _words(one.text):
        raise InvalidDataset(f"the text of {one.id!r} is not that of the review file; import the texts unchanged")
    return one


def _words(text: Text) -> tuple[list[str], list[str]]:
    """Title and text without their spaces and line breaks, which tools change."""
    return text.title.split(), text.body.split()


def _format(name: str) -> ExchangeFormat:
    if name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    return FORMATS[name]


# --- tables: an empty cell of labels is a text that is not reviewed, [] one to which no label applies ---


def _table_row(one: ReviewText, taxonomy: Taxonomy, right: tuple[str, ...] | None) -> Cells:
    answer = one.answer
    return {
        "id": one.id, "title": one.text.title, "text": one.text.body, "suggested": list(answer.labels),
        "labels": None if right is None else list(right), "why": one.why, "model": answer.source.model,
    }  # fmt: skip


def _table_labels(row: Cells, taxonomy: Taxonomy) -> tuple[str, ...]:
    cell = row["labels"]
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise Skipped(_PENDING)
    return split_labels(labels_in(cell), taxonomy.resolve)


def _plain_text(row: Cells) -> Text:
    return Text(str(row["text"] or ""), str(row.get("title") or ""))


# --- Label Studio: the suggestion is a prediction, the right labels are an annotation ---


def labelling_config(review: Review) -> str:
    """The labelling configuration of a Label Studio project for the exported tasks."""
    several = "multiple" if review.taxonomy.multi else "single-radio"
    required = str(not review.taxonomy.allow_none).lower()
    choices = "".join(
        f"    <Choice value={quoteattr(name)} hint={quoteattr(review.descriptions.get(name, name))}/>\n"
        for name in review.taxonomy.names
    )
    return (
        '<View>\n  <Header value="$title"/>\n  <Text name="text" value="$text"/>\n'
        f'  <Choices name="{QUESTION}" toName="text" choice="{several}" required="{required}">\n{choices}'
        "  </Choices>\n</View>\n"
    )


def _label_studio_task(one: ReviewText, taxonomy: Taxonomy, right: tuple[str, ...] | None) -> Cells:
    prediction = {
        "model_version": one.answer.source.model,
        "score": round(1 - one.doubt, 3),
        "result": _choices(one.answer.labels),
    }
    return {
        "data": {"review_id": one.id, "title": one.text.title, "text": one.text.body, "why": one.why},
        "predictions": [prediction],
        "annotations": [] if right is None else [{"result": _choices(right)}],
    }


def _choices(labels: tuple[str, ...]) -> list[Cells]:
    value = {"choices": list(labels)}
    return [{"from_name": QUESTION, "to_name": "text", "type": "choices", "value": value}] if labels else []


def _task_labels(row: Cells, taxonomy: Taxonomy) -> tuple[str, ...]:
    annotations = row.get("annotations") or []
    kept = [one for one in annotations if not one.get("was_cancelled")]
    if not kept:
        raise Skipped(_CANCELLED if annotations else _PENDING)
    truth = [one for one in kept if one.get("ground_truth")]
    found = [_chosen(one) for one in truth or kept]
    if len({frozenset(one) for one in found}) > 1:
        raise Skipped(_DIFFERENT)
    return found[0]


def _chosen(annotation: Cells) -> tuple[str, ...]:
    results = [one for one in annotation["result"] if one.get("type") == "choices"]
    names = sorted({str(one["from_name"]) for one in results})
    if results and QUESTION not in names:
        raise ValueError(f"its choices are of {', '.join(map(repr, names))}; name the control {QUESTION!r}")
    return tuple(str(name) for one in results if one["from_name"] == QUESTION for name in one["value"]["choices"])


# --- Argilla: the suggestion is a suggestion, the right labels are a response ---


def _argilla_record(one: ReviewText, taxonomy: Taxonomy, right: tuple[str, ...] | None) -> Cells:
    """A record; right labels are a suggestion of "feedback", because a response needs the id of an Argilla user."""
    labels = one.answer.labels if right is None else right
    scores = [one.answer.scores.get(name) for name in labels]
    known: Any = scores if right is None and None not in scores else None
    suggestion = {
        "value": list(labels) if taxonomy.multi else "".join(labels),
        "score": known if taxonomy.multi or known is None else known[0],
        "agent": one.answer.source.model if right is None else "feedback",
    }
    return {
        "id": one.id,
        "fields": {"title": one.text.title, "text": one.text.body},
        "metadata": {},
        "suggestions": {QUESTION: suggestion} if labels else {},
        "responses": {},
        "vectors": {},
    }


def _record_labels(row: Cells, taxonomy: Taxonomy) -> tuple[str, ...]:
    responses = (row.get("responses") or {}).get(QUESTION) or []
    kept = [one["value"] for one in responses if one.get("status", "submitted") in ("submitted", None)]
    if not kept:
        raise Skipped(_CANCELLED if responses else _PENDING)
    found = [(value,) if isinstance(value, str) else tuple(map(str, value)) for value in kept]
    if len({frozenset(one) for one in found}) > 1:
        raise Skipped(_DIFFERENT)
    return found[0]


FORMATS: Mapping[str, ExchangeFormat] = {
    "table": ExchangeFormat(_table_row, lambda row: row["id"], _plain_text, _table_labels),
    "label-studio": ExchangeFormat(
        _label_studio_task,
        lambda row: row["data"]["review_id"],
        lambda row: _plain_text(row["data"]),
        _task_labels,
        (".json",),
    ),
    "argilla": ExchangeFormat(
        _argilla_record, lambda row: row["id"], lambda row: _plain_text(row["fields"]), _record_labels, (".json",)
    ),
}
