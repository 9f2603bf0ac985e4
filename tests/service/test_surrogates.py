"""One rule for lone surrogates, which are JSON but no text: each becomes U+FFFD, wherever it comes in."""

import ast
from pathlib import Path

import pytest

from llm.backends.backend import Conversation, FakeBackend
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from prompts.instructions import instructed
from prompts.registry import prompt
from prompts.taxonomy import Taxonomy
from prompts.text import Text, without_lone_surrogates
from service.app import create_app
from service.services import Services
from tests.support.process import ROOT

CASES = [
    ("a \\ud800 plot", "a \ufffd plot"),
    ("\\uDFFF", "\ufffd"),
    ("\\udc00\\ud83d", "\ufffd\ufffd"),
    ("\\ud83c\\udfac whole", "\U0001f3ac whole"),
]


@pytest.mark.parametrize(("escaped", "read"), CASES)
def test_a_body_of_a_request_is_read_so(escaped: str, read: str) -> None:
    seen: list[str] = []

    def reply(conversation: Conversation) -> str:
        seen.append(conversation[-1]["content"])
        return '["War"]'

    model = LanguageModel(FakeBackend(reply), JSONList())
    client = create_app(Services(lambda choice: model, lambda: None, lambda: None, "tmdb")).test_client()
    answer = client.post("/classify", data=f'{{"text": "{escaped}"}}', content_type="application/json")
    assert answer.status_code == 200
    assert read in seen[0]


@pytest.mark.parametrize(("escaped", "read"), CASES)
def test_so_is_a_text_from_python(escaped: str, read: str) -> None:
    given = escaped.encode().decode("unicode_escape")
    if "whole" in given:
        given = given.encode("utf-16", "surrogatepass").decode("utf-16")
    assert (Text(given).body, Text(title=given).title, without_lone_surrogates(given)) == (read, read, read)


def test_so_are_labels_and_instructions_from_python() -> None:
    taxonomy = Taxonomy.of({"a \ud800": "b \udfff", "c": ""})
    assert (taxonomy.names[0], taxonomy.labels[0].description) == ("a \ufffd", "b \ufffd")
    assert len(taxonomy.digest) == 12
    assert len(instructed(prompt("text"), "Be brief. \ud800").digest) == 12


def test_the_rule_is_written_down_once() -> None:
    places = {
        path.relative_to(ROOT)
        for package in ("llm", "service", "prompts", "tabular", "lookup", "similarity", "commands")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value == "[\ud800-\udfff]"
    }
    assert places == {Path("prompts/text.py")}
