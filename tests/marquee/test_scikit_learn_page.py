"""docs/scikit-learn.md tells the truth: its examples run as they stand, against a local endpoint where one is asked."""

from __future__ import annotations

import doctest
import json
import math
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llm.embedded.matcher import Matcher
from marquee.sklearn import EXPECTED_FAILED_CHECKS, backend
from tests.support.misbehaving import body, endpoint

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000/v1"


def speaks(handler: BaseHTTPRequestHandler) -> None:
    """A model that always says War, and Yes where only a token is asked for."""
    token = {"token": "Yes", "logprob": math.log(0.7)}
    logprobs = {"content": [token | {"top_logprobs": [token, {"token": "No", "logprob": math.log(0.2)}]}]}
    message = {"role": "assistant", "content": json.dumps({"labels": ["War"]})}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
    body(200, {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})(handler)


def test_the_examples_run_as_they_stand(embedded: Matcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(backend, "_embedded", lambda: embedded)  # one for all tests is enough
    with endpoint(speaks) as server:
        page = PAGE.replace(ADDRESS, server.url).replace('"answers.sqlite"', repr(str(tmp_path / "answers.sqlite")))
        test = doctest.DocTestParser().get_doctest(page.replace("```", ""), {}, "scikit-learn.md", None, 0)
        told: list[str] = []
        failed, run = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=told.append)
    assert not failed, "".join(told)
    assert run > 20


def test_the_checks_that_cannot_hold_are_those_listed() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `check_")]
    told = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert told.keys() == EXPECTED_FAILED_CHECKS.keys()
    assert set(told.values()) - {"the same"} == set(EXPECTED_FAILED_CHECKS.values())
