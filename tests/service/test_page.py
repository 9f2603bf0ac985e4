"""The page and the docs in a real browser, over a real service."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright

from tests.support.process import service

PLOT = "A young wizard learns magic to defeat a dragon."
_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("MARQUEE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]  # as root in a container; no request but the page's own
PATIENCE = 60_000  # milliseconds; a busy machine is no fault of the page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install one or set MARQUEE_CHROMIUM")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service() as running:
        yield running.url_within(PATIENCE / 250)


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Browser]:
    """Closed before the service is: its idle connections would keep the service from stopping at once."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture
def asked() -> list[str]:
    """Every address that the page has asked."""
    return []


@pytest.fixture
def complaints() -> list[str]:
    """Every word on the console, and every error of a script."""
    return []


@pytest.fixture
def page(browser: Browser, url: str, asked: list[str], complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(url)
    expect(opened.locator("#taxonomy")).to_have_value("tmdb")
    yield opened
    context.close()
    hosts = {urlsplit(address).hostname for address in asked if not address.startswith("blob:")}
    assert hosts == {"127.0.0.1"}


def test_a_plot_gets_genres_and_says_who_answered(page: Page, complaints: list[str]) -> None:
    expect(page.get_by_text("No answer yet")).to_be_visible()
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".chip").first).to_contain_text("Fantasy")
    expect(page.locator("#who")).to_contain_text("embedded/matcher.v1 answered in")
    expect(page.get_by_role("status").first).to_contain_text("Fantasy")
    page.get_by_text("All scores").click()
    expect(page.locator("#scores li")).to_have_count(18)
    page.get_by_text("The exact prompt").click()
    expect(page.locator("#messages pre").last).to_contain_text(PLOT)
    assert complaints == []


def test_an_example_is_a_click_and_the_page_can_be_cleared(page: Page) -> None:
    page.get_by_role("button", name="The parcel").click()
    expect(page.locator(".chip").first).to_be_visible()
    expect(page.locator("#labels")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("No answer yet")).to_be_visible()
    expect(page.locator("#taxonomy")).to_have_value("tmdb")


def test_own_labels_by_keyboard_alone_and_markup_in_them_stays_text(page: Page, complaints: list[str]) -> None:
    page.get_by_label("Text", exact=True).fill("The app closes itself at start")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("billing\n<img src=x onerror=alert(1)>: the program stops working")
    page.get_by_label("Allow no label").uncheck()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip").first).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#board img").count() == 0
    assert complaints == []


def test_none_applies_is_an_answer_of_its_own(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("The violinist tunes her instrument before the concert.")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("tax law\nplumbing")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("None of the 2 labels applies.")).to_be_visible()


def test_errors_are_told_in_words(page: Page, asked: list[str]) -> None:
    before = len(asked)
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert").first).to_contain_text("There is no text yet")
    assert len(asked) == before
    page.get_by_label("Text", exact=True).fill("x" * 60_000)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The text is too long")).to_be_visible()
    expect(page.get_by_text("Text has 60000 characters; at most 50000.", exact=True)).to_be_visible()
    page.get_by_role("link", name="Usual causes and what to do").click()
    expect(page.get_by_role("heading", name="The text is too long")).to_be_visible()
    expect(page.get_by_text("Raise MARQUEE_MAX_TEXT_CHARS")).to_be_visible()


def test_a_service_that_has_gone_is_told_and_can_be_asked_again(page: Page) -> None:
    page.route("**/classify", lambda route: route.abort())
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The service cannot be reached")).to_be_visible()
    page.unroute("**/classify")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".chip").first).to_contain_text("Fantasy")


def test_many_texts_become_a_table_and_a_csv(page: Page, complaints: list[str]) -> None:
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill(
        f'{PLOT}\n\nCowboys, outlaws\nand a "sheriff".\n\nGhosts haunt a house.'
    )
    expect(page.locator("#count")).to_have_text("3 texts")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.locator("#rows tr").nth(1)).to_contain_text("Western")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    written = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert written.startswith("text,labels,model,problem")
    assert '"Cowboys, outlaws\nand a ""sheriff"".",Western' in written
    assert complaints == []


def test_a_key_is_asked_for_where_one_is_wanted_and_stays_in_the_tab(page: Page) -> None:
    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer open-sesame":
            return route.continue_()
        return route.fulfill(status=401, json={"title": "A key is needed", "detail": "send one"})

    page.route("**/classify", guarded)
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="This key is not valid")).to_be_visible()
    page.get_by_label("API key").fill("open-sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".chip").first).to_contain_text("Fantasy")
    assert page.evaluate("localStorage.length") == 0
    assert "open-sesame" not in page.url


def test_films_stand_beside_an_answer_where_the_service_has_them(page: Page) -> None:
    film = {"id": "1", "title": "<b>Dragonslayer", "year": 1981, "genres": ["Fantasy"], "score": 0.7}
    page.route("**/similar", lambda route: route.fulfill(json={"films": [film]}))
    page.evaluate("document.getElementById('desk').dataset.similar = 'True'")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#films li")).to_contain_text("<b>Dragonslayer 1981")


def test_real_films_stand_beside_the_genres_of_a_plot_and_not_beside_other_texts(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#films li")).to_have_count(6)
    expect(page.get_by_role("heading", name="Similar films")).to_be_visible()
    page.get_by_label("Taxonomy").select_option("tickets")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#who")).to_contain_text("taxonomy tickets")
    expect(page.get_by_role("heading", name="Similar films")).to_be_hidden()


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it stands, for people who cannot see or point."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_by_day_or_night(browser: Browser, url: str, scheme: Literal["light", "dark"]) -> None:
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto(url, timeout=PATIENCE)
    expect(page.locator("#taxonomy")).to_have_value("tmdb")
    assert faults(page) == []
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert").first).to_be_visible()
    assert faults(page) == [], "nothing to read"
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip").first).to_be_visible()
    page.get_by_text("All scores").click()
    page.get_by_text("The exact prompt").click()
    expect(page.locator("#messages pre").last).to_be_visible()
    assert faults(page) == [], "an answer"
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill(f"{PLOT}\n\nGhosts haunt a house.")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    assert faults(page) == [], "a table"
    page.goto(f"{url}/docs", timeout=PATIENCE)
    expect(page.locator(".route").first).to_be_visible()
    assert faults(page) == [], "the docs"
    page.goto(f"{url}/problems/invalid-request", timeout=PATIENCE)
    expect(page.locator(".explained")).to_be_visible()
    assert faults(page) == [], "an explanation"
    page.close()


def test_axe_would_find_a_fault(page: Page) -> None:
    page.evaluate("document.querySelector('label[for=taxonomy]').remove()")
    assert "select-name" in [fault.split(":")[0] for fault in faults(page)]


@pytest.mark.parametrize("path", ["/", "/docs", "/problems/invalid-request"])
def test_a_phone_needs_no_sideways_scrolling_and_the_night_is_dark(browser: Browser, url: str, path: str) -> None:
    phone: ViewportSize = {"width": 390, "height": 844}
    page = browser.new_page(viewport=phone, color_scheme="dark", reduced_motion="reduce")
    page.goto(url + path, timeout=PATIENCE)
    expect(page.locator("#taxonomy option, .route, .explained").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60
    page.close()


def test_the_docs_try_a_route(page: Page, url: str, complaints: list[str]) -> None:
    page.goto(f"{url}/docs")
    form = page.get_by_role("form", name="Try POST /classify")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("200 in")
    expect(form.get_by_label("Answer")).to_contain_text('"Fantasy"')
    expect(page.get_by_role("heading", name="GET /healthz")).to_be_visible()
    assert complaints == []
