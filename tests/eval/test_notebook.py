"""Chapters of a report in notebooks: Markdown and pictures that stand by themselves."""

from xml.etree import ElementTree

from markupsafe import Markup

from eval.report import charts
from eval.report.document import (
    Cell,
    Figure,
    Fold,
    Grid,
    Head,
    Legend,
    Note,
    ReportExample,
    ReportTable,
    Section,
    TableRow,
    Tag,
)
from eval.report.page import MarkdownText, Picture, cells, legend, picture

TABLE = ReportTable(
    "Counts", (Head("label", numeric=False), Head("texts")), (TableRow((Cell("A|B"), Cell("3", best=True))),)
)
DRAWING = charts.lines(charts.Frame(100, 80, "A & B"), [charts.Line("<x>", 0, [(0, 0), (1, 1)], [3, 3])])


def shown(*parts: object) -> list[MarkdownText | Picture]:
    return list(cells(Section("id", "Title", "Lead.", parts)))[1:]  # type: ignore[arg-type]


def test_a_picture_is_an_image_of_its_own() -> None:
    for drawing in (DRAWING, charts.histogram((0, 5, 10), (1, 2), "words")):
        root = ElementTree.fromstring(picture(drawing, 300).svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert (root.get("width"), root.get("viewBox")) == ("300", drawing.split('viewBox="')[1].split('"')[0])
        assert ".marquee .bar" in (root[0].text or "")


def test_a_legend_escapes_names_and_keeps_figures() -> None:
    root = ElementTree.fromstring(legend([(0, "<a>", ".634"), (-1, "prior", "")]).svg)
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")] == ["<a> .634", "prior "]


def test_tables_notes_and_examples_come_as_the_markdown_of_reports() -> None:
    told = shown(TABLE, Note("Mind the *gap*."), ReportExample("x-1", (Tag("War", True, ".010"),), (), "A war."))
    table, note, example = (one.markdown for one in told if isinstance(one, MarkdownText))
    assert table.splitlines() == ["**Counts**", "", "| label | texts |", "| --- | ---: |", "| A\\|B | **3** |"]
    assert note == "Mind the \\*gap\\*."
    assert "true War .010 (missed); predicted none" in example
    assert "> A war." in example


def test_grids_open_up_and_closed_folds_stay_away() -> None:
    figure = Figure(DRAWING, "Beside")
    told = shown(Grid((figure, Legend(((0, "a", ""),)))), Fold("Open", (TABLE,), open=True), Fold("Closed", (TABLE,)))
    assert [type(one) for one in told] == [Picture, MarkdownText, Picture, MarkdownText, MarkdownText]
    assert [one.markdown for one in told if isinstance(one, MarkdownText)][:2] == ["*Beside*", "*Open*"]


def test_what_is_no_single_image_is_left_to_the_table_beside_it() -> None:
    assert shown(Figure(Markup('<div class="dots"></div>'))) == []
