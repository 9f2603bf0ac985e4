"""The review page in a real browser, over a real service with a review file and a file of feedback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from llm.classifier import AnswerSource
from marquee.feedback.entries import RecordedAnswer, text_digest
from marquee.feedback.store import FeedbackStore
from marquee.review.review_file import Review, ReviewText
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.text import Text
from service.access_control import Keys
from tests.support.browser import PATIENCE, chromium, needs_chromium
from tests.support.process import ServiceProcess, service

pytestmark = needs_chromium
TEXTS = ("A duel at noon.", "Two armies meet in the snow.", "A wedding goes wrong.", "<img src=x onerror=alert(1)>")


def review_of(taxonomy: Taxonomy, suggested: str, texts: tuple[str, ...] = TEXTS) -> Review:
    source = AnswerSource("embedded/matcher.v2", taxonomy.versioned_name)
    scores = {name: round(0.9 - 0.03 * place, 2) for place, name in enumerate(taxonomy.names)}
    answers = [
        RecordedAnswer(text_digest(text), taxonomy, (suggested,), scores, "probability", source, text=text)
        for text in (Text(body, f"Film {place}") for place, body in enumerate(texts, 1))
    ]
    why = "Action 0.32 is near the threshold 0.32"
    items = tuple(ReviewText(f"f{place}", answer, 1.0, why) for place, answer in enumerate(answers, 1))
    return Review.of(taxonomy, items)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the review file, the file of feedback and the file of keys, which the tests of this module replace."""
    folder = tmp_path_factory.mktemp("review")
    review_of(registry.taxonomy("tmdb"), "Western").write(folder / "review.jsonl")
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[ServiceProcess]:
    settings = {
        "MARQUEE_FEEDBACK": "true",
        "MARQUEE_FEEDBACK_TEXTS": "true",
        "MARQUEE_FEEDBACK_PATH": str(folder / "feedback.sqlite"),
        "MARQUEE_REVIEW_PATH": str(folder / "review.jsonl"),
        "MARQUEE_KEYS_PATH": str(folder / "keys.json"),
        "MARQUEE_LEARNED_PATH": str(folder / "learned"),
    }
    with service(**settings) as started:
        started.url_within(PATIENCE / 250)
        yield started


@pytest.fixture(scope="module")
def browser(running: ServiceProcess) -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def store(folder: Path, running: ServiceProcess) -> FeedbackStore:
    """Without entries; the review file has films again, and there is no key."""
    review_of(registry.taxonomy("tmdb"), "Western").write(folder / "review.jsonl")
    (folder / "keys.json").unlink(missing_ok=True)
    store = FeedbackStore(folder / "feedback.sqlite", with_texts=True)
    store.delete()
    return store


@pytest.fixture
def messages() -> list[str]:
    """Every message on the console, and every error of a script."""
    return []


@pytest.fixture
def page(browser: Browser, running: ServiceProcess, store: FeedbackStore, messages: list[str]) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(f"{running.url}/review")
    expect(page.locator("#place")).to_have_text("Text 1 of 4")
    yield page
    context.close()


def stored(store: FeedbackStore) -> dict[str, tuple[str, ...]]:
    """Right labels by the title of the text."""
    return {entry.text.title: entry.labels for entry in store.entries() if entry.text}


def test_labels_are_accepted_and_corrected_by_pointer(page: Page, store: FeedbackStore, messages: list[str]) -> None:
    expect(page.get_by_text("A duel at noon.")).to_be_visible()
    expect(page.locator("#about")).to_contain_text("suggests Western. Picked because Action 0.32 is near the threshold")
    expect(page.get_by_role("checkbox", name="Western")).to_be_checked()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    page.get_by_role("checkbox", name="Western").uncheck()
    page.get_by_role("checkbox", name="War").check()
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_role("status")).to_contain_text("Corrected: War.")
    assert stored(store) == {"Film 1": ("Western",), "Film 2": ("War",)}
    assert [entry.kind for entry in store.entries()] == ["confirmed", "corrected"]
    assert messages == []


def test_all_texts_are_reviewed_by_keyboard_alone(page: Page, store: FeedbackStore, messages: list[str]) -> None:
    """With the keys of labels: 1 is the first one, a the tenth."""
    names = registry.taxonomy("tmdb").names
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    expect(page.locator("#body")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#place")).to_have_text("Text 3 of 4")
    western = "123456789abcdefghijklmnopqrstvwxyz"[names.index("Western")]
    for key in (western, "1", "a"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 4 of 4")
    page.keyboard.press("u")
    expect(page.locator("#place")).to_have_text("Text 3 of 4")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    expect(page.get_by_role("alert").last).to_contain_text("the stored labels stay until you accept again")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 4 of 4")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("3 of 4 reviewed")
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    page.keyboard.press("Enter")
    expect(page.get_by_text("All texts are reviewed.")).to_be_visible()
    expect(page.locator("#learn")).to_have_text("main.py learn --taxonomy tmdb")
    assert stored(store) == dict.fromkeys(("Film 1", "Film 2", "Film 4"), ("Western",)) | {"Film 3": (names[0],)}
    assert page.locator("#text img").count() == 0
    assert messages == []


def test_focus_is_visible_and_a_button_keeps_its_enter(page: Page) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        outline = focused.evaluate(
            "one => getComputedStyle(one.matches('.choices input') ? one.closest('label') : one).outlineStyle"
        )
        assert outline != "none", focused.evaluate("one => one.outerHTML")
        if focused.evaluate("one => one.id") == "next":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    expect(page.locator("#count")).to_have_text("0 of 4 reviewed")


def test_a_page_that_is_loaded_again_continues(page: Page, store: FeedbackStore) -> None:
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    page.reload()
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#state")).to_have_text("Reviewed: Western")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 2 of 4")
    assert stored(store) == {"Film 1": ("Action", "Western")}


def test_a_decision_that_is_not_stored_stays_on_the_page(page: Page, store: FeedbackStore) -> None:
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").last).to_contain_text("The service cannot be reached")
    expect(page.get_by_role("checkbox", name="Action")).to_be_checked()
    expect(page.locator("#count")).to_have_text("0 of 4 reviewed")
    page.context.set_offline(False)
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    assert stored(store) == {"Film 1": ("Action", "Western")}


def test_a_key_reads_the_texts_and_undo_deletes_its_feedback(page: Page, folder: Path, store: FeedbackStore) -> None:
    key = Keys(folder / "keys.json").add("ada")
    page.reload()
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#place")).to_have_text("Text 1 of 4")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    assert [entry.key for entry in store.entries()] == ["ada"]
    page.keyboard.press("u")
    expect(page.locator("#count")).to_have_text("0 of 4 reviewed")
    assert stored(store) == {}
    expect(page.locator("#fault")).to_be_hidden()


def test_one_label_of_a_taxonomy_of_many_is_found_by_its_name(page: Page, folder: Path, store: FeedbackStore) -> None:
    labels = tuple(Label(f"topic {place}") for place in range(1, 61))
    many = Taxonomy("topics", labels, multi=False)
    review_of(many, "topic 7").write(folder / "review.jsonl")
    page.reload()
    expect(page.locator("#limit")).to_have_text("one")
    page.keyboard.press("/")
    page.keyboard.type("topic 5")
    expect(page.locator("#labels li:visible")).to_have_count(11)
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox", name="topic 53")).to_be_checked()
    expect(page.locator("#labels input:checked")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    assert stored(store) == {"Film 1": ("topic 53",)}


def test_too_many_labels_and_none_are_refused_where_the_taxonomy_refuses_them(page: Page, folder: Path) -> None:
    films = replace(registry.taxonomy("tmdb"), max_labels=2, allow_none=False)
    review_of(films, "Western").write(folder / "review.jsonl")
    page.reload()
    expect(page.locator("#limit")).to_have_text("up to 2")
    for key in "12":
        page.keyboard.press(key)
    expect(page.locator("#fault")).to_have_text("A text has at most 2 labels. Remove one first.")
    expect(page.locator("#labels input:checked")).to_have_count(2)
    page.get_by_role("checkbox", name="Western").uncheck()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#fault")).to_contain_text("Choose a label")
    expect(page.locator("#count")).to_have_text("0 of 4 reviewed")


def test_a_file_that_cannot_be_read_is_an_error_that_can_be_tried_again(page: Page, folder: Path) -> None:
    (folder / "review.jsonl").rename(folder / "moved.jsonl")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#fault")).to_contain_text("This service has no texts to review: cannot read")
    (folder / "moved.jsonl").rename(folder / "review.jsonl")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#count")).to_have_text("1 of 4 reviewed")
    page.route("**/review/texts", lambda route: route.fulfill(status=501, json={"title": "Gone", "detail": "no file"}))
    page.reload()
    expect(page.get_by_role("heading", name="Gone")).to_be_visible()
    page.unroute("**/review/texts")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#place")).to_have_text("Text 2 of 4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_does_not_scroll_sideways(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 800})
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_role("button", name="Accept")).to_be_in_viewport()
