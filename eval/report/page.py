"""Composes the report of an evaluation, and renders it as one self-contained HTML file and as Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from eval.report import charts, curves, per_label
from eval.report.document import MISSING, Cell, Document, Fold, Head, Part, ReportTable, Section, TableRow
from eval.report.evaluation import Evaluation, SystemResults
from eval.report.examples import examples_section
from eval.report.llm_section import llm_section
from eval.report.overview import Intervals, available, cost_section, overview_section
from prompts.files import write_text_atomically

_FOLDER = Path(__file__).parent
_LONGEST_LIST = 40


def write(
    evaluation: Evaluation, texts: Mapping[str, str] | None = None, intervals: Intervals | None = None
) -> list[Path]:
    """Write ``report.html`` and ``report.md`` into the folder of an evaluation.

    Args:
        evaluation: as ``eval.report.read`` reads it.
        texts: text by id, for excerpts of examples; without them the files contain no text.
        intervals: 95% bounds by system and metric, such as ``{"embedded": {"micro-F1": (.38, .41)}}``.

    Returns:
        The two files. The same input gives the same bytes.
    """
    document = _compose(evaluation, texts, intervals or {})
    files = {"report.html": _html(document), "report.md": _markdown(document)}
    for name, content in files.items():
        write_text_atomically(evaluation.folder / name, content)
    return [evaluation.folder / name for name in files]


def part_as_markdown(part: Part) -> str:
    """One part of a section as Markdown."""
    module: Any = _markdown_environment().get_template("parts.md.jinja").module
    return _single_blank_lines(str(module.part(part))).strip()


def environment() -> Environment:
    """The environment of the templates in this folder; values are escaped for HTML."""
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _compose(evaluation: Evaluation, texts: Mapping[str, str] | None, intervals: Intervals) -> Document:
    """All sections; those without content are left out."""
    sections = [
        overview_section(evaluation, intervals),
        per_label.labels_section(evaluation),
        per_label.slices_section(evaluation),
        per_label.errors_section(evaluation),
        curves.precision_section(evaluation),
        curves.reliability_section(evaluation),
        cost_section(evaluation),
        llm_section(evaluation),
        examples_section(evaluation, texts),
        provenance_section(evaluation),
    ]
    columns = available(evaluation.systems, evaluation.single)
    return Document(
        title=str(evaluation.recorded("data").get("name") or evaluation.taxonomy_name or "Evaluation"),
        facts=tuple(_facts(evaluation)),
        warnings=evaluation.warnings,
        sections=tuple(section for section in sections if section),
        definitions=tuple((column.name, column.about) for column in columns),
    )


def _facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    manifests = [system.run.manifest for system in evaluation.systems]
    yield "texts", f"{len(evaluation.reference.run.rows):,}"
    yield "labels", f"{len(evaluation.labels)}" + f", {evaluation.taxonomy_name}" * bool(evaluation.taxonomy_name)
    yield "systems", str(len(evaluation.compared))
    splits = [evaluation.recorded("data").get("split"), *(manifest.get("split") for manifest in manifests)]
    if split := next(filter(None, splits), None):
        yield "split", str(split)
    if ended := [str(manifest["ended"]) for manifest in manifests if manifest.get("ended")]:
        yield "ended", max(ended)[:16].replace("T", " ")


def provenance_section(evaluation: Evaluation) -> Section:
    """The manifests, and every metric of every system."""
    flat = [dict(_flatten(system.run.manifest)) for system in evaluation.systems]
    names = list(dict.fromkeys(name for one in flat for name in one))
    shared = [name for name in names if len({one.get(name) for one in flat}) == 1 and len(flat) > 1]
    parts: list[Part] = [_settings("Shared by all systems", flat[0], shared)] if shared else []
    for system, own in zip(evaluation.systems, flat, strict=True):
        if differing := [name for name in own if name not in shared]:
            table = _settings(f"Manifest of {system.name}", own, differing)
            parts.append(Fold(system.name, (table,), open=len(flat) == 1, series=evaluation.series(system)))
    lead = "Data, settings, code version and hardware of the runs, and all metrics."
    return Section("provenance", "Provenance", lead, (*parts, *_all_metrics(evaluation.systems)))


def _settings(caption: str, manifest: Mapping[str, str], names: Sequence[str]) -> ReportTable:
    rows = tuple(TableRow((Cell(name), Cell(manifest[name]))) for name in names)
    heads = (Head("setting", numeric=False), Head("value", numeric=False))
    return ReportTable(caption, heads, rows, "wide", sortable=False)


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of dotted name and text; long lists are cut."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        more = f" … {len(value) - _LONGEST_LIST} more" if len(value) > _LONGEST_LIST else ""
        yield name, ", ".join(map(_word, value[:_LONGEST_LIST])) + more
    else:
        yield name, _word(value)


def _word(value: Any) -> str:
    return MISSING if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _all_metrics(systems: Sequence[SystemResults]) -> list[Part]:
    names = list(dict.fromkeys(name for system in systems for name in system.metrics))
    rows = []
    for name in names:
        values = [system.metrics.get(name) for system in systems]
        rows.append(TableRow((Cell(name), *(Cell(_number(value), sort=value) for value in values))))
    heads = (Head("metric", numeric=False), *(Head(system.name) for system in systems))
    return [Fold("All metrics", (ReportTable("Content of metrics.json", heads, tuple(rows)),))] if rows else []


def _number(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"


def _html(document: Document) -> str:
    """One HTML file; its content security policy permits only its own style and script, by their digests."""
    style, script = (_compact((_FOLDER / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    jinja = environment()
    jinja.filters |= {"breakable": _breakable, "series": charts.series_class, "coded": _coded}
    rendered = jinja.get_template("report.html.jinja").render(
        document=document,
        style=Markup(style),
        script=Markup(script),
        style_digest=_digest(style),
        script_digest=_digest(script),
    )
    return _compact(rendered)


def _markdown(document: Document) -> str:
    return _single_blank_lines(_markdown_environment().get_template("report.md.jinja").render(document=document))


def _markdown_environment() -> Environment:
    jinja = environment()
    jinja.finalize = _escape_markdown
    return jinja


def _single_blank_lines(rendered: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", rendered)


def _compact(content: str) -> str:
    """Without empty lines; applied before the digests, which are of the exact bytes."""
    return re.sub(r"\n\s*\n", "\n", content).lstrip()


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation."""
    return Markup(re.sub(r"([:/@_])(?=\S)", r"\1<wbr>", str(escape(name))))


def _coded(text: str) -> Markup:
    """Words between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _escape_markdown(value: object) -> object:
    """A string escaped for Markdown; output of the template's macros is left as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    flat = " ".join(value.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\`*_\[\]|~])", r"\\\1", safe))
