"""Reports and data cards in a real browser: what fits, what breaks, and what axe-core finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from eval.datasets import Fields, load
from eval.report import dashboard, data_card, read, write
from prompts import registry
from tests.eval.test_report import LABELS, TEXTS, put, row
from tests.support.browser import chromium, needs_chromium
from tests.support.process import ROOT

pytestmark = needs_chromium
SYSTEMS = ("embedded", "minilm-plain", "tfidf-lr", "prior", "llm:label_tokens:plot-with-many-rules.v3")
KINDS = ("report", "data card", "all runs")
WIDTH = 1180
A4 = 688  # CSS pixels between margins of 14 mm


Pages = Mapping[str, Path]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """The pages by their kind, each with everything that such a page can have."""
    folder = tmp_path_factory.mktemp("pages")
    long_names = [f"{name} and a longer name" for name in LABELS] + [f"Label {number}" for number in range(20)]
    extra = dict.fromkeys(("accuracy", "samples-F1", "Jaccard", "AL-1", "AL-2", "macro-AP", "LRAP", "ECE"), 0.4567)
    for place, system in enumerate(SYSTEMS):
        names = dict(zip(LABELS, long_names, strict=False))
        rows = [_renamed(row(number + place), names, number) for number in range(TEXTS)]
        put(folder / "report", system, rows, {"micro-F1": 0.6 - place / 10, **extra}, long_names)
    report, _ = write(read(folder / "report"), {f"t{number}": "A war. " * 40 for number in range(TEXTS)})
    films = load(ROOT / "data/sample/films.jsonl", registry.taxonomy("tmdb"), Fields(text="plot", labels="tmdb_genres"))
    card, _ = data_card.write(data_card.describe("films.jsonl", films), folder / "card.html")
    for week in range(3):
        put(folder / "runs" / f"w{week}", SYSTEMS[-1], metrics={"micro-F1": 0.6}, ended=f"2026-05-0{week + 1}T08:00:00")
    page, _ = dashboard.write(folder / "runs")
    return {"report": report, "data card": card, "all runs": page}


def _renamed(one: Mapping[str, Any], names: Mapping[str, str], number: int) -> Mapping[str, Any]:
    return {**one,
        "id": f"t{number}", "group": f"g{number}", "truth": [names[LABELS[number % 4]]],
        "labels": [names[label] for label in one["labels"]],
        "scores": {names[label]: score for label, score in one["scores"].items()},
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def opened(browser: Browser, path: Path, scheme: Literal["light", "dark"] = "light") -> Page:
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(browser: Browser, pages: Pages, kind: str, scheme: Literal["light", "dark"]) -> None:
    page = opened(browser, pages[kind], scheme)
    found = Axe().run(page).response["violations"]
    page.close()
    assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_a_screen_and_a_sheet_of_a4(browser: Browser, pages: Pages, kind: str) -> None:
    page = opened(browser, pages[kind])
    on_screen = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.set_viewport_size({"width": A4, "height": 1000})
    page.emulate_media(media="print")
    on_paper = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.close()
    assert (on_screen, on_paper) == (0, 0)


def test_the_first_table_fits_and_its_rows_are_two_lines_high_with_names_in_one_piece(
    browser: Browser, pages: Pages
) -> None:
    page = opened(browser, pages["report"])
    first = page.locator("#overview .scroll").first
    assert first.evaluate("one => one.scrollWidth - one.clientWidth") == 0
    heights = first.locator("tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    lines = page.locator("table .word").evaluate_all(
        "words => words.filter(one => one.getClientRects().length > 1).map(one => one.textContent)"
    )
    page.close()
    assert len(heights) == len(SYSTEMS)
    assert max(heights) < 60
    assert lines == []


@pytest.mark.parametrize("kind", ["report", "all runs"])
def test_a_table_that_is_wider_than_a_phone_says_so(browser: Browser, pages: Pages, kind: str) -> None:
    page = opened(browser, pages[kind])
    caption = page.locator(".scroll caption span").first
    hint = "one => getComputedStyle(one, '::after').content"
    assert caption.evaluate(hint) == "none"
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(f"one => ({hint})(one).includes('scroll')", arg=caption.element_handle())
    page.close()
