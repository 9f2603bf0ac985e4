"""Prediction sets on the page, in a real browser, over the real classifier with a calibration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from llm.calibration.prediction_sets import SetRule, SetStore
from llm.classifier import AnswerSource
from llm.embedded.matcher import Matcher
from prompts import registry
from service.app import create_app
from service.services import Services
from tests.service import test_page
from tests.service.test_page import PLOT
from tests.support.served import served_at

pytestmark = test_page.pytestmark
browser, page, requested, messages = test_page.browser, test_page.page, test_page.requested, test_page.messages


@pytest.fixture(scope="module")
def url(embedded: Matcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with every label in every set, and an abstention from two labels on."""
    tmdb, sets = registry.taxonomy("tmdb"), SetStore(tmp_path_factory.mktemp("sets") / "coverage.json")
    least = dict.fromkeys(tmdb.names)
    rule = SetRule(tmdb.names, 0.9, 20, 1, True, least=least, taxonomy=tmdb.versioned_name)
    sets.put({SetStore.key(AnswerSource(embedded.name, tmdb.versioned_name)): rule})
    services = Services(lambda options: embedded, lambda: None, lambda: None, "tmdb", sets=sets)
    with served_at(create_app(services)) as at:
        yield at


def test_the_set_is_below_the_answer_and_spoken(page: Page, messages: list[str]) -> None:
    page.get_by_label("Text", exact=True).fill(PLOT)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#source")).to_contain_text("Prediction set: Fantasy, ")
    expect(page.locator("#source .warning")).to_contain_text("The classifier abstains.")
    expect(page.get_by_role("status").first).to_contain_text("Prediction set: Fantasy, ")
    assert [one for one in messages if "503" not in one] == []  # the service has no index of films
