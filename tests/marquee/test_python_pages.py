"""docs/python.md and docs/scikit-learn.md: every example runs and gives the result that the page shows."""

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
from service.app import create_app
from service.services import Services
from tests.support.misbehaving import body, endpoint
from tests.support.served import served_at

ROOT = Path(__file__).parent.parent.parent
ENDPOINT, SERVICE = "http://127.0.0.1:8000/v1", "http://127.0.0.1:5000"


def speaks(handler: BaseHTTPRequestHandler) -> None:
    """A model that always says War, and Yes where only a token is asked for."""
    token = {"token": "Yes", "logprob": math.log(0.7)}
    logprobs = {"content": [token | {"top_logprobs": [token, {"token": "No", "logprob": math.log(0.2)}]}]}
    message = {"role": "assistant", "content": json.dumps({"labels": ["War"]})}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
    body(200, {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})(handler)


@pytest.mark.parametrize(("name", "examples"), [("python", 30), ("scikit-learn", 20), ("evidence", 5)])
def test_the_examples_run_as_they_stand(
    name: str, examples: int, embedded: Matcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("data", "prompts"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "_embedded", lambda: embedded)  # one for all tests is enough
    monkeypatch.setattr("llm.embedded.matcher.matcher", lambda *_: embedded)
    for variable in ("OPENAI_BASE_URL", "MARQUEE_MODEL"):
        monkeypatch.setenv(variable, "")  # so that what the page sets ends with the test
    app = create_app(Services(lambda choice: embedded, lambda: None, lambda: None, "tmdb"))
    with endpoint(speaks) as server, served_at(app) as service:
        page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").replace("```", "")
        page = page.replace(ENDPOINT, server.url).replace(SERVICE, service)
        test = doctest.DocTestParser().get_doctest(page, {}, f"{name}.md", None, 0)
        output: list[str] = []
        flags = doctest.NORMALIZE_WHITESPACE
        failed, run = doctest.DocTestRunner(optionflags=flags).run(test, out=output.append)
    assert not failed, "".join(output)
    assert run > examples


def test_the_checks_that_cannot_hold_are_those_listed() -> None:
    page = (ROOT / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `check_")]
    told = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert told.keys() == EXPECTED_FAILED_CHECKS.keys()
    assert set(told.values()) - {"the same"} == set(EXPECTED_FAILED_CHECKS.values())
