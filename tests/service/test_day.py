"""From unlabelled texts to a better classifier, as docs/day.md describes it: files, exit statuses, HTTP and the page.

The messages and the stand-in for the language model are those of the page. All labels that ``learn`` uses are given on
the review page.
"""

from __future__ import annotations

import csv
import json
import runpy
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from main import main
from prompts import registry
from tests.support.browser import chromium, needs_chromium
from tests.support.misbehaving import Endpoint, chats, endpoint, follows, says
from tests.support.process import ROOT, service

pytestmark = [
    needs_chromium,
    pytest.mark.timeout(600),  # a training, a browser and a service after each other, on a machine that may be busy
]
EXAMPLE = runpy.run_path(str(ROOT / "docs/examples/helpdesk_day.py"))
RIGHT: dict[str, tuple[str, ...]] = dict(EXAMPLE["messages"]())
REQUEST = {"text": "The invoice charged me twice, and I want my money back.", "taxonomy": "tickets"}
TEXTS, REVIEWED = 400, 40


@pytest.fixture
def language_model() -> Iterator[Endpoint]:
    def by_words(handler: BaseHTTPRequestHandler) -> None:
        request: Any = getattr(handler, "request_body", None)
        says(json.dumps(EXAMPLE["labels_by_words"](request["messages"][-1]["content"])))(handler)

    with endpoint(follows(chats(by_words))) as running:
        yield running


def run(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(main, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def review_by_keyboard(page: Page) -> int:
    """Give every text its right labels; returns for how many the suggestion was wrong."""
    names, corrected = registry.taxonomy("tickets").names, 0
    for number in range(1, REVIEWED + 1):
        expect(page.locator("#place")).to_have_text(f"Text {number} of {REVIEWED}")
        right = set(RIGHT[page.locator("#text").inner_text()])
        suggested = set(page.locator("#labels input:checked").evaluate_all("all => all.map(one => one.value)"))
        for name in (*sorted(suggested - right), *sorted(right - suggested)):
            page.keyboard.press("1234567890"[names.index(name)] if names.index(name) < 9 else "a")
        page.keyboard.press("Enter")
        expect(page.locator("#count")).to_have_text(f"{number} of {REVIEWED} reviewed")
        corrected += suggested != right
    return corrected


def test_a_day_from_unlabelled_texts_to_a_better_answer(
    away: Path, language_model: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    EXAMPLE["write"](away, count=TEXTS)
    assert set(table("messages.csv")[0]) == {"id", "text"}

    # The language model labels a sample, the small model most rows.
    printed = run(
        "bulk", "messages.csv", "--out", "labelled.csv", "--taxonomy", "tickets", "--optimize", "--max-error", "0.05",
        "--json", OPENAI_BASE_URL=language_model.url, MARQUEE_STRATEGY="json_list", MARQUEE_RETRIES="0",
    )  # fmt: skip
    by_small = json.loads(printed)["answered"]["trained/few-examples"]
    assert by_small > TEXTS / 3
    called = sum("<text>" in json.dumps(request) for request in language_model.requests if request)
    assert TEXTS - by_small <= called < TEXTS
    labelled = table("labelled.csv")
    assert len(labelled) == TEXTS
    assert not [row for row in labelled if row["problem"] or not row["labels"]]

    # Its answers are reviewed; no model answers again.
    calls = len(language_model.requests)
    picked = run("review", "labelled.csv", "--most", str(REVIEWED), "--taxonomy", "tickets", "--json")
    assert json.loads(picked)["picked"] == REVIEWED

    settings = {
        "MARQUEE_FEEDBACK": "true", "MARQUEE_FEEDBACK_TEXTS": "true",
        "MARQUEE_FEEDBACK_PATH": str(away / "feedback.sqlite"), "MARQUEE_LEARNED_PATH": str(away / "learned"),
        "MARQUEE_REVIEW_PATH": str(away / "review.jsonl"),
    }  # fmt: skip
    with service("--trained", str(away / "labelled.csv.optimize" / "head"), **settings) as running:
        url = running.url
        check = table("check.csv")

        def answered() -> dict[str, Any]:
            return dict(httpx2.post(f"{url}/classify", json=REQUEST, timeout=60).json())

        def share_right() -> float:
            body = {"texts": [row["text"] for row in check], "taxonomy": "tickets"}
            found = httpx2.post(f"{url}/classify", json=body, timeout=60).json()["results"]
            pairs = zip(found, check, strict=True)
            return sum(set(one["labels"]) == set(row["labels"].split("|")) for one, row in pairs) / len(check)

        before, right_before = answered(), share_right()
        assert (before["labels"], before["model"]) == (["Billing"], "trained/few-examples")
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"{url}/review")
            corrected = review_by_keyboard(page)
            expect(page.get_by_text("All texts are reviewed.")).to_be_visible()
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        run("feedback", "export", "feedback.csv")
        kinds = [row["kind"] for row in table("feedback.csv")]
        assert (len(kinds), kinds.count("corrected")) == (REVIEWED, corrected)
        assert corrected >= 5

        # What is learned passes the gate, and the running service answers the same request better.
        learn = ("learn", "--taxonomy", "tickets", "--trained", "labelled.csv.optimize/head")
        learned = json.loads(run(*learn, "--json"))
        assert learned["gate"]["passed"]
        assert learned["version"] == "000001"
        assert sum(learned["texts"].values()) == REVIEWED
        after = answered()
        assert set(after["labels"]) == {"Billing", "Refund"}
        assert share_right() > right_before + 0.1
        run("learn", "--taxonomy", "tickets", "--back")
        assert answered()["labels"] == before["labels"]
    assert len(language_model.requests) == calls  # after the bulk run, nothing is sent to the language model
