"""A chapter of a report piece by piece, for notebooks: words and tables as Markdown, drawings as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eval.report.document import Figure, Fold, Grid, Legend, Part, Section
from eval.report.page import part_as_markdown
from eval.report.picture import Picture, legend, picture


@dataclass(frozen=True)
class MarkdownText:
    """Markdown that Jupyter shows as such."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown


def pieces(section: Section, width: int = 460) -> Iterator[MarkdownText | Picture]:
    """What the chapter shows, in its order, for ``IPython.display.display(*pieces(...))``.

    Folds that the report keeps closed are left out, and so are drawings that are no single image; a table beside them
    says the same.

    Args:
        section: a chapter, as the functions of ``eval.report`` compose them.
        width: pixels of each picture.
    """
    yield MarkdownText(f"**{section.title}.** {section.lead}")
    for part in section.parts:
        yield from _pieces(part, width)


def _pieces(part: Part, width: int) -> Iterator[MarkdownText | Picture]:
    if isinstance(part, Grid):
        for inner in part.parts:
            yield from _pieces(inner, width)
    elif isinstance(part, Fold):
        if part.open:
            yield MarkdownText(f"*{part.title}*")
            yield from _pieces(Grid(part.parts), width)
    elif isinstance(part, Legend):
        yield legend(part.entries)
    elif isinstance(part, Figure):
        if part.drawing.startswith("<svg "):
            yield picture(part.drawing, width)
            yield from [MarkdownText(f"*{part.caption}*")] if part.caption else []
    else:
        yield MarkdownText(part_as_markdown(part))
