"""Composes the report of an evaluation, and renders it: as one self-contained HTML file, as Markdown, in notebooks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from eval.report import charts, curves, errors
from eval.report.document import Document, Figure, Fold, Grid, Legend, Part, Section
from eval.report.evaluation import Evaluation
from eval.report.llm_section import llm_section
from eval.report.overview import available, cost_section, evidence_section, overview_section
from eval.report.provenance import provenance_section
from prompts.files import write_text_atomically

_FOLDER = Path(__file__).parent
_COLOURS = ("#0b6aa8", "#c8501a", "#0a8a68", "#a34a86", "#b98200", "#3f9bd1", "#6b5bbd", "#7a8a1f")
_STYLE = """
.marquee { background: #fff; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; max-width: 100%; }
.marquee text { fill: #1c2430; } .marquee .dim, .marquee .tick, .marquee .axis { fill: #5f6b7a; }
.marquee .small, .marquee .tick, .marquee .axis { font-size: 11px; } .marquee .cell { font-size: 9.5px; }
.marquee .bar { fill: #2f6db5; } .marquee .hole { fill: #dde2e8; } .marquee .strong { fill: #fff; }
.marquee .grid, .marquee .diagonal { stroke: #dde2e8; stroke-width: 1; } .marquee .diagonal { stroke-dasharray: 4 3; }
.marquee .middle { text-anchor: middle; } .marquee .end { text-anchor: end; }
.marquee polyline { fill: none; stroke: var(--c, #2f6db5); stroke-width: 2; stroke-dasharray: var(--dash); }
.marquee .dot, .marquee .key { fill: var(--c, #2f6db5); }
.marquee .grey { --c: #8b939d; --dash: 2 3; }
"""
_SERIES = " ".join(f".marquee .s{place} {{ --c: {colour}; }}" for place, colour in enumerate(_COLOURS, 1))
_ROW = 18


def write(evaluation: Evaluation, texts: Mapping[str, str] | None = None) -> list[Path]:
    """Write ``report.html`` and ``report.md`` into the folder of an evaluation; the same input gives the same bytes.

    ``texts`` by id give excerpts of errors; without them the files contain no text.
    """
    return write_document(_compose(evaluation, texts), evaluation.folder)


def write_document(document: Document, folder: Path, name: str = "report") -> list[Path]:
    """Write a document as ``report.html`` and ``report.md``, or files of another name, into a folder."""
    files = {f"{name}.html": _html(document), f"{name}.md": _markdown(document)}
    for file, content in files.items():
        write_text_atomically(folder / file, content)
    return [folder / file for file in files]


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


def _compose(evaluation: Evaluation, texts: Mapping[str, str] | None) -> Document:
    """All sections; those without content are left out."""
    sections = [
        overview_section(evaluation, evaluation.intervals(), evaluation.comparisons()),
        errors.labels_section(evaluation),
        errors.slices_section(evaluation),
        curves.precision_section(evaluation),
        curves.reliability_section(evaluation),
        errors.errors_section(evaluation),
        llm_section(evaluation),
        evidence_section(evaluation),
        cost_section(evaluation),
        errors.examples_section(evaluation, texts),
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
    """A name that may be broken after its punctuation, but not at a hyphen."""
    marked = re.sub(r"([:/@_])(?=\S)", "\\1\0", str(escape(name)))
    whole = re.sub(r"[^\s\0]+-[^\s\0]+", r'<span class="word">\g<0></span>', marked)
    return Markup(whole.replace("\0", "<wbr>"))


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


@dataclass(frozen=True)
class Picture:
    """An SVG image with its own style, which Jupyter displays."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class MarkdownText:
    """Markdown that Jupyter renders."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown


def picture(drawing: Markup, width: int = 720) -> Picture:
    """A chart of ``eval.report.charts`` with its own colours, for pages without the report's style sheet."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="marquee" width="{width}" '
    attributes, _, rest = str(drawing).removeprefix("<svg ").partition(">")
    return Picture(f"{head}{attributes}><style>{_STYLE}{_SERIES}</style>{rest}")


def legend(entries: Sequence[tuple[int | None, str, str]]) -> Picture:
    """Names of systems beside their colours, each with a value that may be empty; see ``Legend``."""
    rows = [
        Markup(
            '<rect class="key {}" x="2" y="{}" width="12" height="12" rx="2"/><text x="22" y="{}">{} {}</text>'
        ).format(charts.series_class(series), number * _ROW + 3, number * _ROW + 13, name, value)
        for number, (series, name, value) in enumerate(entries)
    ]
    head = Markup('<svg viewBox="0 0 480 {}" role="img" aria-label="Legend">').format(len(rows) * _ROW + 4)
    return picture(head + Markup("").join(rows) + Markup("</svg>"), 480)


def cells(section: Section, width: int = 460) -> Iterator[MarkdownText | Picture]:
    """The content of a section, for ``IPython.display.display(*cells(...))``; ``width`` of a picture is in pixels.

    Closed folds are left out, and so are drawings that are not a single image; a table has their numbers.
    """
    yield MarkdownText(f"**{section.title}.** {section.lead}")
    for part in section.parts:
        yield from _cells(part, width)


def _cells(part: Part, width: int) -> Iterator[MarkdownText | Picture]:
    if isinstance(part, Grid):
        for inner in part.parts:
            yield from _cells(inner, width)
    elif isinstance(part, Fold):
        if part.open:
            yield MarkdownText(f"*{part.title}*")
            yield from _cells(Grid(part.parts), width)
    elif isinstance(part, Legend):
        yield legend(part.entries)
    elif isinstance(part, Figure):
        if part.drawing.startswith("<svg "):
            yield picture(part.drawing, width)
            yield from [MarkdownText(f"*{part.caption}*")] if part.caption else []
    elif markdown := part_as_markdown(part):
        yield MarkdownText(markdown)
