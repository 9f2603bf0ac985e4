"""The document of an evaluation, and its two forms: one HTML file that needs nothing beside it, and Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from eval.report import by_label, charts, curves, examples, headline, llm_section, provenance
from eval.report.document import Document, Part, Section
from eval.report.folder import Evaluation
from eval.report.headline import Intervals
from eval.report.metric_columns import shown
from prompts.files import write_text_atomically

HERE = Path(__file__).parent


def write(
    evaluation: Evaluation, texts: Mapping[str, str] | None = None, intervals: Intervals | None = None
) -> list[Path]:
    """Write ``report.html`` and ``report.md`` into the folder of an evaluation.

    Args:
        evaluation: as ``eval.report.read`` reads it.
        texts: text by id, for excerpts beside the worst examples; without them no text enters the files.
        intervals: 95% bounds by system and figure, e.g. ``{"embedded": {"micro-F1": (.38, .41)}}``.

    Returns:
        The two files. The same input makes the same bytes.
    """
    document = compose(evaluation, texts, intervals or {})
    files = {"report.html": as_html(document), "report.md": as_markdown(document)}
    for name, content in files.items():
        write_text_atomically(evaluation.folder / name, content)
    return [evaluation.folder / name for name in files]


def compose(evaluation: Evaluation, texts: Mapping[str, str] | None, intervals: Intervals) -> Document:
    """Everything that the report says, chapter by chapter; chapters with nothing to say are left out."""
    chapters: list[Section | None] = [
        headline.section(evaluation, intervals),
        by_label.labels_section(evaluation),
        by_label.slices_section(evaluation),
        curves.precision_section(evaluation),
        curves.reliability_section(evaluation),
        by_label.errors_section(evaluation),
        llm_section.section(evaluation),
        examples.section(evaluation, texts),
        provenance.section(evaluation),
    ]
    columns = shown(evaluation.systems, evaluation.single)
    return Document(
        title=_title(evaluation),
        facts=tuple(_facts(evaluation)),
        warnings=evaluation.warnings,
        sections=tuple(chapter for chapter in chapters if chapter),
        definitions=tuple((column.name, column.about) for column in columns),
    )


def as_html(document: Document) -> str:
    """The report as one HTML file; its policy allows its own style and script by their digests, and nothing else."""
    style, script = (_compact((HERE / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    environment = _environment()
    environment.filters |= {"breakable": _breakable, "series": charts.series, "coded": _coded}
    template = environment.get_template("report.html.jinja")
    rendered = template.render(
        document=document,
        style=Markup(style),
        script=Markup(script),
        style_digest=_digest(style),
        script_digest=_digest(script),
    )
    return _compact(rendered)


def as_markdown(document: Document) -> str:
    """The report as Markdown; what is drawn stands in tables."""
    return _spaced(_markdown_environment().get_template("report.md.jinja").render(document=document))


def part_as_markdown(part: Part) -> str:
    """One part of a chapter as Markdown, as ``as_markdown`` writes it."""
    module: Any = _markdown_environment().get_template("parts.md.jinja").module
    return _spaced(str(module.part(part))).strip()


def _markdown_environment() -> Environment:
    environment = _environment()
    environment.finalize = _plain_markdown
    return environment


def _spaced(rendered: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", rendered)


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _title(evaluation: Evaluation) -> str:
    data = _stated(evaluation, "data")
    return str(data.get("name") or headline.taxonomy_name(evaluation) or "Evaluation")


def _facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    data, vocabulary = _stated(evaluation, "data"), headline.taxonomy_name(evaluation)
    yield "texts", f"{len(evaluation.widest.run.rows):,}"
    yield "labels", f"{len(evaluation.vocabulary)}" + (f", {vocabulary}" if vocabulary else "")
    yield "systems", str(len(evaluation.compared))
    split = data.get("split") or next(
        (s.run.manifest["split"] for s in evaluation.systems if s.run.manifest.get("split")), None
    )
    if split:
        yield "split", str(split)
    ended = [str(system.run.manifest["ended"]) for system in evaluation.systems if system.run.manifest.get("ended")]
    if ended:
        yield "ended", max(ended)[:16].replace("T", " ")


def _stated(evaluation: Evaluation, name: str) -> Mapping[str, Any]:
    """What the first manifest that tells it says under a name."""
    found = [system.run.manifest.get(name) for system in evaluation.systems]
    return next((one for one in found if isinstance(one, dict)), {})


def _compact(content: str) -> str:
    """Without empty lines; done before digests are taken too, for they hold to the byte."""
    return re.sub(r"\n\s*\n", "\n", content).lstrip()


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _breakable(name: str) -> Markup:
    """A name that may be broken after its punctuation."""
    return Markup(re.sub(r"([:/@_])(?=\S)", r"\1<wbr>", str(escape(name))))


def _coded(text: str) -> Markup:
    """Words between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _plain_markdown(value: object) -> object:
    """A value so written that Markdown shows it as it is; what the template's own macros wrote stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    flat = " ".join(value.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"([\\`*_\[\]|~])", r"\\\1", safe))
