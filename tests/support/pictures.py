"""Take the README's screenshots of the page and of a report: ``make pictures``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser

from tests.support.browser import chromium
from tests.support.process import ROOT, service

IMAGES = ROOT / "docs" / "images"
_TICKET = "I was charged twice for my order last week, and nobody has answered my e-mails since."
_LABELS = """billing: charges, invoices and refunds
delivery: where a parcel is, or that it came late
support: slow or missing answers from customer service
praise"""
_EVALUATE = (
    "evaluate --data data/sample/films.jsonl --text-field plot --labels-field tmdb_genres --limit 200 "
    "--systems embedded,minilm-plain"
)


def take() -> None:
    """Write all pictures to ``docs/images``."""
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        with service() as running:
            for scheme in ("light", "dark"):
                _take_page(browser, running.url, scheme)
        _take_report(browser, Path(folder))


def _take_page(browser: Browser, url: str, scheme: Literal["light", "dark"]) -> None:
    page = browser.new_page(viewport={"width": 1180, "height": 880}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(url)
    page.locator("#taxonomy").select_option(label="custom labels …")
    page.get_by_label("Text", exact=True).fill(_TICKET)
    page.get_by_label("Custom labels, one per line").fill(_LABELS)
    for _ in range(2):  # the first answer of a process is slow
        page.get_by_role("button", name="Classify").click()
        page.locator("#answer").wait_for()
    page.get_by_text("All scores").click()
    page.locator("#scores li").first.wait_for()
    page.locator("#text").evaluate("field => { field.rows = 4; }")
    page.locator(".masthead").evaluate("masthead => { masthead.hidden = true; }")
    page.locator("main").evaluate("main => { main.style = 'padding: 28px 38px; max-width: none'; }")
    page.locator("#layout").evaluate("layout => document.getElementById('main').replaceChildren(layout)")
    page.locator("main").screenshot(path=IMAGES / f"page-{scheme}.png")
    page.close()


def _take_report(browser: Browser, folder: Path) -> None:
    command = [
        sys.executable,
        "main.py",
        *_EVALUATE.split(),
        "--systems",
        "embedded,minilm-plain",
        "--out",
        str(folder),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    page = browser.new_page(viewport={"width": 1180, "height": 900}, reduced_motion="reduce")
    page.goto((folder / "report.html").as_uri())
    page.screenshot(path=IMAGES / "report.png")
    page.close()


if __name__ == "__main__":
    take()
