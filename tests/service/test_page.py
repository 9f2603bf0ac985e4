"""The page and the docs in a real browser, over a real service."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    FilePayload,
    JSHandle,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
)

from llm.backends.backend import FakeBackend
from llm.language_model import LanguageModel
from service.app import create_app
from service.services import Services
from tests.support.browser import PATIENCE, chromium, needs_chromium
from tests.support.process import service

PLOT = "A young wizard learns magic to defeat a dragon."

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with service() as running:
        yield running.url_within(PATIENCE / 250)


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Browser]:
    """Closed before the service is: its idle connections would keep the service from stopping at once."""
    with chromium() as started:
        yield started


@pytest.fixture
def requested() -> list[str]:
    """Every URL that the page has requested."""
    return []


@pytest.fixture
def messages() -> list[str]:
    """Every message on the console, and every error of a script."""
    return []


@pytest.fixture
def page(browser: Browser, url: str, requested: list[str], messages: list[str]) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    opened.on("request", lambda request: requested.append(request.url))
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.goto(url)
    expect(opened.locator("#taxonomy")).to_have_value("tmdb")
    yield opened
    context.close()
    hosts = {urlsplit(address).hostname for address in requested if not address.startswith("blob:")}
    assert hosts == {"127.0.0.1"}


def test_a_plot_gets_genres_and_the_name_of_the_model(page: Page, messages: list[str]) -> None:
    expect(page.get_by_text("No answer yet")).to_be_visible()
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".chip").first).to_contain_text("Fantasy")
    expect(page.locator("#source")).to_contain_text("embedded/matcher.v2 answered in")
    expect(page.get_by_role("status").first).to_contain_text("Fantasy")
    page.get_by_text("All scores").click()
    expect(page.locator("#scores li")).to_have_count(18)
    page.get_by_text("The exact prompt").click()
    expect(page.locator("#messages pre").last).to_contain_text(PLOT)
    assert messages == []


def test_the_evidence_is_highlighted_label_by_label_and_stays_text(page: Page, messages: list[str]) -> None:
    """With a character that JavaScript counts as two; by keyboard."""
    text = "\U0001f920 A cowboy rides into a frontier town. <img src=x onerror=alert(1)>"
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".chip").first).to_contain_text("Western")
    page.locator("#evidence summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#evidence-text mark.word").first).to_have_text("cowboy")
    passage = "".join(page.locator("#evidence-text mark.passage").all_text_contents())
    assert passage == "\U0001f920 A cowboy rides into a frontier town."
    assert page.locator("#evidence-text").text_content() == text
    expect(page.locator("#evidence-list")).to_contain_text("Word: cowboy +")
    chosen = page.locator("#evidence-labels button").first
    expect(chosen).to_have_attribute("aria-pressed", "true")
    assert page.locator("#result img").count() == 0
    assert messages == []


def classified(page: Page) -> list[Any]:
    """The bodies of all later requests to /classify."""
    sent: list[Any] = []

    def note(request: Request) -> None:
        if request.url.endswith("/classify"):
            sent.append(request.post_data_json)

    page.on("request", note)
    return sent


PATHS = "Electronics > Cameras: cameras, lenses and tripods\nElectronics > Phones\nClothing > Shoes\nBooks"


def test_paths_are_a_tree_by_keyboard_and_the_path_of_an_answer_is_open_and_highlighted(
    page: Page, messages: list[str]
) -> None:
    sent = classified(page)
    page.get_by_label("Text", exact=True).fill("A tripod for long exposures.")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill(PATHS)
    page.get_by_label("A text may have several labels").uncheck()
    page.get_by_label("Allow no label").uncheck()
    tree = page.locator("#taxonomy-tree")
    expect(page.locator("#taxonomy-about")).to_have_text("4 labels:")
    expect(tree.locator("details[open]")).to_have_count(0)
    tree.locator("summary").first.focus()
    page.keyboard.press("ArrowRight")
    expect(tree.get_by_text("Phones")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(page.locator("summary:focus")).to_contain_text("Clothing")
    page.keyboard.press("Enter")
    expect(tree.get_by_text("Shoes")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(tree.get_by_text("Shoes")).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip-name")).to_have_text("Electronics > Cameras")
    assert sent[0]["labels"][:2] == [
        {"name": "Electronics"},
        {"name": "Cameras", "parent": "Electronics", "description": "cameras, lenses and tripods"},
    ]
    page.get_by_text("All scores").click()
    for place in ("#taxonomy-tree", "#scores"):
        lit = page.locator(f"{place} .predicted .tree-name")
        expect(lit.last).to_be_visible()
        assert [name.split()[0] for name in lit.all_text_contents()] == ["Electronics", "Cameras"]
    expect(page.locator("#scores .line").first).to_contain_text(re.compile(r"Electronics 2\s*\d+ %"))
    assert faults(page) == []
    assert messages == []


def test_a_named_hierarchy_is_drawn_down_to_its_level_without_labels_that_are_never_predicted(
    browser: Browser, url: str
) -> None:
    paths = ["A", "A > 1", "A > 1 > x", "B", "B > 1", "C"]
    labels = [{"name": path, "description": "", "aliases": [], "predict": path != "B"} for path in paths]
    shape = {"multi": False, "max_labels": 1, "subject": "text", "level": 2, "leaves_only": True}
    answer = {"default": "tree", "taxonomies": [{"name": "tree", "labels": labels, **shape}]}
    page = browser.new_page(reduced_motion="reduce")
    page.route("**/taxonomies", lambda route: route.fulfill(json=answer))
    page.goto(url, timeout=PATIENCE)
    expect(page.locator("#taxonomy option").first).to_have_text("tree (one of 2 labels)")
    page.locator("#taxonomy-tree summary").click()
    assert page.locator("#taxonomy-tree .tree-name").all_text_contents() == ["A 1", "1", "C"]
    page.close()


def choose_three(page: Page) -> None:
    """Custom labels and two named taxonomies."""
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("billing\ncrash")
    page.get_by_text("More taxonomies").click()
    for name in ("sentiment", "tickets"):
        page.get_by_role("checkbox", name=name).check()
    expect(page.locator("#further summary")).to_have_text("More taxonomies (2)")


def test_several_taxonomies_have_a_card_each_and_the_details_of_one(page: Page, messages: list[str]) -> None:
    sent = classified(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Text", exact=True).fill("My card was charged twice for one order.")
    choose_three(page)
    page.keyboard.press("Control+Enter")
    cards = page.locator("#several > li")
    expect(cards).to_have_count(3)
    assert cards.locator("h3").all_text_contents() == ["custom labels", "sentiment", "tickets"]
    expect(cards.nth(0)).to_contain_text(re.compile(r"billing\s*\d+ %"))
    expect(cards.nth(2).locator(".chip-name").first).to_have_text("Billing")
    own = {"name": "custom labels", "labels": ["billing", "crash"], "multi": True, "allow_none": True}
    assert [one["taxonomies"] for one in sent] == [[own, "sentiment", "tickets"]]
    expect(page.get_by_role("status").first).to_contain_text("custom labels: billing. sentiment: negative. tickets: ")
    page.get_by_role("button", name="Copy labels").click()
    expect(page.locator("button:focus")).to_have_text("Copied")
    copied = str(page.evaluate("navigator.clipboard.readText()")).splitlines()
    assert copied[:2] == ["custom labels: billing", "sentiment: negative"]
    page.get_by_text("All scores").click()
    page.get_by_text("Evidence in the text").click()
    expect(page.locator("#scores li")).to_have_count(2)
    page.get_by_role("button", name="tickets").click()
    expect(page.locator("#scores li")).to_have_count(10)
    expect(page.locator("#source")).to_contain_text("taxonomy tickets")
    expect(page.locator("#evidence-labels")).to_contain_text("Billing")
    page.get_by_text("The exact prompt").click()
    expect(page.locator("#messages pre").first).to_contain_text("You classify texts by topic.")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#further summary")).to_have_text("More taxonomies")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#predicted .chip").first).to_contain_text("Fantasy")
    expect(page.locator("#several")).to_be_hidden()
    assert messages == []


def test_custom_labels_are_sent_with_what_they_are_about(page: Page) -> None:
    """The page of a service with a language model has this input."""
    sent = classified(page)
    page.evaluate("document.getElementById('labels-hint').insertAdjacentHTML('afterend', '<input id=attribute>')")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("billing\ncrash")
    for about in ("", " team "):
        page.locator("#attribute").fill(about)
        page.keyboard.press("Control+Enter")
        expect(page.get_by_role("status").first).to_contain_text("Answered by")
        page.get_by_role("status").first.evaluate("status => { status.textContent = ''; }")
    assert [one.get("attribute") for one in sent] == [None, "team"]


def test_one_of_several_taxonomies_may_have_no_answer(page: Page) -> None:
    found = {"labels": ["positive"], "model": "m", "taxonomy": "sentiment", "scores": {"positive": 0.75}}
    problem = {"title": "No list", "detail": "the answer has no list of labels", "status": 502}
    failed = {"labels": [], "model": "m", "taxonomy": "tickets", "problem": problem}
    none = {"labels": [], "model": "m", "taxonomy": "custom"}
    answer = {"taxonomies": {"custom labels": none, "sentiment": found, "tickets": failed}}
    page.route("**/classify", lambda route: route.fulfill(json=answer))
    page.get_by_label("Text", exact=True).fill(PLOT)
    choose_three(page)
    page.keyboard.press("Control+Enter")
    cards = page.locator("#several > li")
    expect(cards.nth(0)).to_contain_text("None of the 2 labels applies.")
    expect(cards.nth(1)).to_contain_text("75 %")
    expect(cards.nth(2)).to_contain_text("The answer has no list of labels.")
    page.get_by_role("button", name="tickets").click()
    expect(page.locator("#evidence")).to_be_hidden()


def test_many_texts_have_a_column_per_taxonomy(page: Page, messages: list[str]) -> None:
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill("The app crashes.\nMy card was charged twice.")
    choose_three(page)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    assert page.locator("#table-head th").all_text_contents() == ["#", "Text", "custom labels", "sentiment", "tickets"]
    expect(page.locator("#rows tr").nth(1).locator("td.labels").first).to_contain_text("billing")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    header, first, _ = csv.reader(Path(download.value.path()).read_text(encoding="utf-8").splitlines())
    parts = ("labels", "scores", "model", "problem")
    assert header == [
        "text",
        *(f"{name}_{part}" for name in ("custom labels", "sentiment", "tickets") for part in parts),
    ]
    assert (first[1], first[3], first[5]) == ("crash", "embedded/matcher.v2", "negative")
    assert messages == []


def test_an_answer_without_evidence_says_so(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("anything")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("bug\npraise")
    page.get_by_label("Allow no label").uncheck()
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("Evidence in the text").click()
    expect(page.locator("#evidence-list")).to_contain_text("no sentence or word by itself raises its score")
    expect(page.locator("#evidence-text")).to_be_hidden()


def test_words_left_out_are_underlined(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("My card was charged twice, give me my money back")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("refund\ndelivery")
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("Evidence in the text").click()
    expect(page.locator("#evidence-list li").first).to_contain_text("Left out: ")
    expect(page.locator("#evidence-about")).to_contain_text("each left out by itself")
    quoted = page.locator("#evidence-text mark.word").all_text_contents()
    assert "money" in quoted


def test_an_example_is_a_click_and_the_page_can_be_cleared(page: Page) -> None:
    page.get_by_role("button", name="The parcel").click()
    expect(page.locator(".chip").first).to_be_visible()
    expect(page.locator("#labels")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("No answer yet")).to_be_visible()
    expect(page.locator("#taxonomy")).to_have_value("tmdb")


def test_custom_labels_by_keyboard_alone_and_markup_in_them_stays_text(page: Page, messages: list[str]) -> None:
    page.get_by_label("Text", exact=True).fill("The app closes itself at start")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("billing\n<img src=x onerror=alert(1)>: the program stops working")
    page.get_by_label("Allow no label").uncheck()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip").first).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#result img").count() == 0
    assert messages == []


def test_none_applies_is_an_answer_of_its_own(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill("The violinist tunes her instrument before the concert.")
    page.get_by_label("Taxonomy").select_option(label="custom labels …")
    page.get_by_label("Custom labels").fill("tax law\nplumbing")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("None of the 2 labels applies.")).to_be_visible()


def test_errors_are_shown_as_sentences(page: Page, requested: list[str]) -> None:
    before = len(requested)
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert").first).to_contain_text("There is no text yet")
    assert len(requested) == before
    page.get_by_label("Text", exact=True).fill("x" * 60_000)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The text is too long")).to_be_visible()
    expect(page.get_by_text("Text has 60000 characters; at most 50000.", exact=True)).to_be_visible()
    page.get_by_role("link", name="Usual causes and what to do").click()
    expect(page.get_by_role("heading", name="The text is too long")).to_be_visible()
    expect(page.get_by_text("Raise MARQUEE_MAX_TEXT_CHARS")).to_be_visible()


def test_an_unreachable_service_is_an_error_with_a_retry(page: Page) -> None:
    page.route("**/classify", lambda route: route.abort())
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The service cannot be reached")).to_be_visible()
    page.unroute("**/classify")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".chip").first).to_contain_text("Fantasy")


def test_many_texts_become_a_table_and_a_csv(page: Page, messages: list[str]) -> None:
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill(
        f'{PLOT}\n\nCowboys, outlaws\nand a "sheriff".\n\nGhosts haunt a house.'
    )
    expect(page.locator("#count")).to_have_text("3 texts")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.locator("#rows tr").nth(1)).to_contain_text("Western")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    written = Path(download.value.path()).read_text(encoding="utf-8")
    header, _, western, _ = csv.reader(written.splitlines(keepends=True))
    assert header == ["text", "labels", "scores", "model", "problem"]
    assert western[0] == 'Cowboys, outlaws\nand a "sheriff".'
    labels, scores = western[1].split("|"), [float(score) for score in western[2].split("|")]
    assert labels[0] == "Western"
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(labels)
    shown = page.locator("#rows tr").nth(1).locator(".tag").all_inner_texts()
    assert shown == [f"{name} {round(score * 100)} %" for name, score in zip(labels, scores, strict=True)]
    assert messages == []


def test_the_page_names_its_model_before_a_request_and_how_to_connect_another(page: Page, url: str) -> None:
    expect(page.locator("#model")).to_contain_text(
        "Answers come from embedded/matcher.v2, on the machine of the service."
    )
    hint = page.get_by_role("complementary", name="Connect a language model")
    expect(hint).to_contain_text("MARQUEE_MODEL=gpt-4o-mini")
    hint.get_by_role("link").click()
    expect(page.get_by_text("OPENAI_BASE_URL=http://127.0.0.1:11434/v1")).to_be_visible()
    page.goto(url)
    hint.get_by_role("button", name="Dismiss").click()
    expect(hint).to_be_hidden()
    page.reload()
    expect(page.locator("#taxonomy")).to_have_value("tmdb")
    expect(hint).to_be_hidden()


def test_a_language_model_is_named_with_its_strategy_and_no_other_one_is_offered() -> None:
    model = LanguageModel(FakeBackend(name="qwen"))
    client = create_app(
        Services(lambda options: model, lambda: None, lambda: None, "tmdb", strategy="yes_no")
    ).test_client()
    shown = client.get("/", headers={"Accept": "text/html"}).text
    assert "Answers come from <strong>qwen</strong>, strategy yes_no." in shown
    assert 'id="hint"' not in shown
    assert 'id="attribute"' in shown
    assert client.get("/version").get_json() | {"version": ""} == {
        "name": "marquee", "version": "", "model": "qwen", "strategy": "yes_no"
    }  # fmt: skip


def test_a_running_request_shows_its_seconds_and_can_be_cancelled(page: Page) -> None:
    failed: list[str | None] = []
    page.on("requestfailed", lambda request: failed.append(request.failure))
    page.route("**/classify", lambda route: None)
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#elapsed")).to_have_text("1 s")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("No answer yet")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.locator("#submit")).to_be_focused()
    expect(page.get_by_role("status").first).to_have_text("Cancelled")
    assert failed == ["net::ERR_ABORTED"]
    page.unroute("**/classify")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip").first).to_contain_text("Fantasy")


def test_cancelling_keeps_the_texts_that_are_classified(page: Page) -> None:
    sent: list[Route] = []

    def second_waits(route: Route) -> None:
        sent.append(route)
        if len(sent) == 1:
            route.continue_()

    page.route("**/classify", second_waits)
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill("\n".join([PLOT] * 40))
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_text("32 of 40 texts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="32 of 40 texts")).to_be_visible()
    expect(page.locator("#rows tr")).to_have_count(32)
    assert len(sent) == 2


def test_the_answer_the_command_and_the_prompt_can_be_copied(page: Page, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    def copied(name: str) -> str:
        page.get_by_role("button", name=name).click()
        expect(page.locator("button:focus")).to_have_text("Copied")
        return str(page.evaluate("navigator.clipboard.readText()"))

    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    labels = copied("Copy labels").split(", ")
    answer = json.loads(copied("Copy JSON"))
    assert "Fantasy" in labels
    assert (answer["labels"], answer["model"]) == (labels, "embedded/matcher.v2")
    page.get_by_text("The same request with curl").click()
    assert copied("Copy command").startswith(f"curl -X POST {url}/classify")
    page.get_by_text("The exact prompt").click()
    prompt = copied("Copy prompt")
    assert prompt.startswith("system:\n")
    assert PLOT in prompt
    expect(page.get_by_role("button", name="Copy labels")).to_be_visible()  # the name is back


def test_copying_works_without_the_clipboard_of_secure_pages(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read"])
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Copy labels").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.reload()
    assert "Fantasy" in page.evaluate("navigator.clipboard.readText()")


def file_of(content: str | bytes, name: str) -> FilePayload:
    """A file for the many-texts form."""
    return {"name": name, "mimeType": "", "buffer": content.encode() if isinstance(content, str) else content}


def open_file(page: Page, content: str | bytes, name: str = "films.csv") -> None:
    page.get_by_text("Many texts", exact=True).click()
    page.locator("#file").set_input_files(files=[file_of(content, name)])


QUOTED = f'id,plot,labels\r\n7,"{PLOT}, and\na ""sword""",old\r\n8,,old\r\n'


def test_a_csv_file_is_classified_and_keeps_its_columns(page: Page, messages: list[str]) -> None:
    open_file(page, QUOTED)
    expect(page.locator("#file-about")).to_have_text("films.csv 2 rows")
    expect(page.get_by_label("Column of the text").locator("option:checked")).to_have_text("plot")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr").first).to_contain_text("Fantasy")
    expect(page.locator("#rows tr").nth(1)).to_contain_text("there is no text to label")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "films.labels.csv"
    written = Path(download.value.path()).read_text(encoding="utf-8")
    header, film, empty = csv.reader(written.splitlines(keepends=True))
    assert header == ["id", "plot", "labels", "marquee_labels", "scores", "model", "problem"]
    assert film[:3] == ["7", f'{PLOT}, and\na "sword"', "old"]
    assert empty[-1] == "there is no text to label"
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_label("Texts", exact=True)).to_be_visible()
    assert messages == []


@pytest.mark.parametrize(
    ("name", "content", "chosen", "first"),
    [
        ("semicolons.csv", 'id;body\n1;"a; b"\n2;c, d\n', "body", "a; b"),
        ("one-column.csv", "note\nfirst, with a comma\nsecond\n", "note", "first, with a comma"),
        ("sep-line.csv", "sep=|\nx|long texts\n1|p, q\n", "long texts", "p, q"),
        ("no-names.csv", '1,"' + "word " * 30 + '"\n2,b\n', "Column 2", "word " * 30),
        ("open-quote.tsv", 'text\tyear\n"Quoted" name\t1\n"open\t2\n', "text", '"Quoted" name'),
        ("utf-16.csv", "\ufeffText,n\ncafé,1\n".encode("utf-16-le"), "Text", "café"),
        ("lines.txt", "one line, whole\nanother\n", "text", "one line, whole"),
    ],
    ids=lambda value: value if str(value).endswith((".csv", ".tsv", ".txt")) else "",
)
def test_files_are_read_as_they_are_written(
    page: Page, name: str, content: str | bytes, chosen: str, first: str
) -> None:
    open_file(page, content, name)
    expect(page.locator("#column option:checked")).to_have_text(chosen)
    expect(page.locator("#file-preview li").first).to_have_text(first)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", "a.xlsx is not a CSV, TSV or TXT file. Export it as CSV."),
        ("a.csv", b"text\ncaf\xe9\n", "a.csv is not text in UTF-8 or UTF-16."),
        ("a.csv", "", "a.csv has no text."),
        ("a.csv", 'id,text\n1,a\n2,"b\n', "a.csv: the quote on line 3 never closes."),
    ],
    ids=["suffix", "encoding", "empty", "quote"],
)
def test_a_file_that_cannot_be_read_is_an_error_in_one_line(
    page: Page, name: str, content: str | bytes, message: str
) -> None:
    open_file(page, content, name)
    expect(page.get_by_role("alert").first).to_contain_text(message)
    expect(page.get_by_label("Texts", exact=True)).to_be_visible()


def test_a_file_with_too_many_rows_says_how_many_are_classified(page: Page) -> None:
    open_file(page, "text\n" + "a\n" * 5_001)
    expect(page.locator("#file-about")).to_have_text("films.csv 5,001 rows")
    expect(page.locator("#file-limit")).to_contain_text("Only the first 5,000 rows are classified.")
    page.get_by_role("button", name="Remove").click()
    page.get_by_label("Texts", exact=True).evaluate("field => { field.value = 'a\\n'.repeat(5001); }")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert").first).to_contain_text("These are 5001 texts; this page takes up to 5000.")


def dragged(page: Page, file: str) -> JSHandle:
    """What a drag event has for a file, which an expression of JavaScript makes."""
    return page.evaluate_handle(f"() => {{ const data = new DataTransfer(); data.items.add({file}); return data; }}")


def test_a_file_can_be_dropped_and_its_column_changed(page: Page) -> None:
    drop = f"new File(['first,second\\n{PLOT},b\\n'], 'a.csv')"
    page.dispatch_event("#text", "dragover", {"dataTransfer": dragged(page, drop)})
    expect(page.locator("#form")).to_have_class("card dropping")
    page.dispatch_event("#text", "drop", {"dataTransfer": dragged(page, drop)})
    expect(page.locator("#form")).to_have_class("card")
    expect(page.locator("#mode-many")).to_be_checked()
    expect(page.locator("#file-preview")).to_have_text(PLOT)
    page.get_by_label("Column of the text").select_option("second")
    expect(page.locator("#file-preview")).to_have_text("b")
    page.get_by_label("The first row has the column names").uncheck()
    expect(page.locator("#file-preview li")).to_have_text(["second", "b"])


def test_a_dropped_file_that_is_too_large_is_not_read(page: Page) -> None:
    page.dispatch_event("#text", "drop", {"dataTransfer": dragged(page, "new File([new Uint8Array(1.01e7)], 'a.txt')")})
    expect(page.get_by_role("alert").first).to_contain_text("a.txt has 10.1 MB; this page reads up to 10 MB.")


def test_scores_of_labels_that_look_like_numbers_are_best_first(page: Page) -> None:
    answer = {
        "labels": ["9"],
        "scores": {"9": 0.8, "1": 0.1},
        "score_type": "probability",
        "model": "m",
        "taxonomy": "t",
    }
    page.route("**/classify", lambda route: route.fulfill(json=answer))
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    page.get_by_text("All scores").click()
    expect(page.locator("#scores .score-name")).to_have_text(["9", "1"])


def test_an_answer_says_how_many_labels_the_model_chose_from(page: Page) -> None:
    answer = {"labels": ["War"], "model": "m", "taxonomy": "t", "shortlist": {"offered": 20, "total": 45}}
    page.route("**/classify", lambda route: route.fulfill(json=answer))
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#source")).to_contain_text("chose from 20 of 45 labels")


def test_the_printed_page_is_light_and_has_no_controls(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".chip").first).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("button").or_(page.get_by_role("navigation")).filter(visible=True)).to_have_count(0)
    shown = "(({backgroundColor, colorScheme}) => [backgroundColor, colorScheme])(getComputedStyle(document.body))"
    assert page.evaluate(shown) == ["rgb(255, 255, 255)", "light"]
    expect(page.locator(".chip").first).to_be_visible()


def test_a_key_is_prompted_for_and_stays_in_the_tab(page: Page) -> None:
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


def test_films_are_shown_with_an_answer_where_the_service_has_them(page: Page) -> None:
    film = {"id": "1", "title": "<b>Dragonslayer", "year": 1981, "genres": ["Fantasy"], "score": 0.7}
    page.route("**/similar", lambda route: route.fulfill(json={"films": [film]}))
    page.evaluate("document.getElementById('layout').dataset.similar = 'True'")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#films li")).to_contain_text("<b>Dragonslayer 1981")


def test_similar_films_are_shown_for_plots_and_not_for_other_texts(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#films li")).to_have_count(6)
    expect(page.get_by_role("heading", name="Similar films")).to_be_visible()
    page.get_by_label("Taxonomy").select_option("tickets")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#source")).to_contain_text("taxonomy tickets")
    expect(page.get_by_role("heading", name="Similar films")).to_be_hidden()


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it stands, for people who cannot see or point."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_light_or_dark(browser: Browser, url: str, scheme: Literal["light", "dark"]) -> None:
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
    page.get_by_text("Evidence in the text").click()
    expect(page.locator("#evidence-text mark").first).to_be_visible()
    assert faults(page) == [], "an answer"
    choose_three(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#several > li")).to_have_count(3)
    assert faults(page) == [], "several answers"
    page.get_by_text("Many texts", exact=True).click()
    page.get_by_label("Texts", exact=True).fill(f"{PLOT}\n\nGhosts haunt a house.")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    assert faults(page) == [], "a table"
    open_file(page, QUOTED)
    expect(page.locator("#file-preview li")).to_have_count(2)
    page.route("**/classify", lambda route: None)
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    assert faults(page) == [], "a file, while waiting"
    page.goto(f"{url}/docs#language-model", timeout=PATIENCE)
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
def test_a_phone_needs_no_sideways_scrolling_and_has_a_dark_scheme(browser: Browser, url: str, path: str) -> None:
    phone: ViewportSize = {"width": 390, "height": 844}
    page = browser.new_page(viewport=phone, color_scheme="dark", reduced_motion="reduce")
    page.goto(url + path, timeout=PATIENCE)
    expect(page.locator("#taxonomy option, .route, .explained").first).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60
    page.close()


def test_a_phone_shows_a_file_its_table_and_the_running_request_without_sideways_scrolling(
    browser: Browser, url: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page.goto(url, timeout=PATIENCE)
    expect(page.locator("#taxonomy")).to_have_value("tmdb")
    open_file(page, QUOTED, f"{'long-name-' * 12}.csv")
    sent: list[Route] = []
    page.route("**/classify", lambda route: sent.append(route))
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#elapsed")).to_be_visible()
    buttons = [page.locator(name).bounding_box() for name in ("#submit", "#cancel", "#elapsed")]
    first, *others = [box["y"] + box["height"] / 2 for box in buttons if box]
    assert [abs(other - first) < 5 for other in others] == [True, True], "one row"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sent[0].continue_()
    expect(page.locator("#rows tr")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.unroute("**/classify")
    choose_three(page)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#table-head th")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_long_names_need_no_sideways_scrolling_on_a_phone(browser: Browser, url: str) -> None:
    name = "long-name-" * 12
    page = browser.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")

    def with_a_long_name(route: Route) -> None:
        found = route.fetch().json()
        found["taxonomies"][0]["name"] = name
        route.fulfill(json=found)

    answer = {"labels": [name], "model": "m", "taxonomy": name, "scores": {name: 0.5}}
    page.route("**/taxonomies", with_a_long_name)
    page.route("**/classify", lambda route: route.fulfill(json={"taxonomies": {"tmdb": answer, name: answer}}))
    page.goto(url, timeout=PATIENCE)
    expect(page.locator("#taxonomy")).to_have_value("tmdb")
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.get_by_text("More taxonomies").click()
    page.get_by_role("checkbox", name=name).check()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#several > li")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_an_error_that_starts_with_an_address_keeps_it(page: Page) -> None:
    problem = {"title": "The model cannot be reached", "detail": "http://127.0.0.1:1/v1 did not answer", "status": 503}
    page.route("**/classify", lambda route: route.fulfill(status=503, json=problem))
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#error-detail")).to_have_text("http://127.0.0.1:1/v1 did not answer.")


def test_the_docs_try_a_route(page: Page, url: str, messages: list[str]) -> None:
    page.goto(f"{url}/docs")
    form = page.get_by_role("form", name="Try POST /classify")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("200 in")
    expect(form.get_by_label("Answer")).to_contain_text('"Fantasy"')
    expect(page.get_by_role("heading", name="GET /healthz")).to_be_visible()
    assert messages == []


def test_the_docs_send_the_method_of_the_route(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    form = page.get_by_role("form", name="Try DELETE /feedback", exact=True)
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_label("Answer")).to_contain_text("/problems/no-feedback")


def test_the_contents_of_the_docs_have_each_path_once(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    expect(page.locator("#contents")).to_contain_text("/feedback/texts/")
    paths = page.locator("#contents a").all_inner_texts()
    assert len(paths) == len(set(paths))
