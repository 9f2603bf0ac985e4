"""`main.py mcp` as an assistant uses it: the protocol's own client over standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from service.mcp_server import TOOLS

ROOT = Path(__file__).parents[2]
_SERVER = StdioServerParameters(
    command=sys.executable,
    args=[str(ROOT / "main.py"), "mcp", "--taxonomy", "sentiment"],
    cwd=ROOT,
    env={"HF_HUB_OFFLINE": "1", "MARQUEE_CLASSIFIER": "embedded"},
)
LABELS = [{"name": "billing", "description": "charges, invoices and refunds"}, {"name": "crash"}]


def _talk(conversation: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Client(stdio_client(_SERVER)) as client:
            await conversation(client)

    anyio.run(run)


def _text(result: Any) -> str:
    (part,) = result.content
    return str(part.text)


def test_a_client_lists_and_calls_the_tools() -> None:
    async def conversation(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"classify", "similar", "taxonomies"}
        assert "texts" in tools["classify"].input_schema["properties"]
        for tool in tools.values():
            assert tool.description
            Draft202012Validator.check_schema(tool.input_schema)
            Draft202012Validator.check_schema(tool.output_schema)

        one = await client.call_tool(
            "classify", {"text": "My card was charged twice.", "labels": LABELS, "multi": False}
        )
        assert not one.is_error
        (answer,) = one.structured_content["results"]
        assert answer["labels"] == ["billing"]
        assert '"billing"' in _text(one)

        several = await client.call_tool("classify", {"texts": ["A joy to watch.", ""], "scores": True})
        first, second = several.structured_content["results"]
        assert first["labels"] == ["positive"]
        assert set(first["scores"]) == {"positive", "negative"}
        assert second["problem"]["detail"] == "there is no text to label"

        films = await client.call_tool("similar", {"text": "A young wizard at a school of magic.", "k": 3})
        assert len(films.structured_content["films"]) == 3
        listed = await client.call_tool("taxonomies", {})
        assert listed.structured_content["default"] == "sentiment"
        results = {"classify": several, "similar": films, "taxonomies": listed}
        for name, result in results.items():
            Draft202012Validator(TOOLS[name].answer.model_json_schema()).validate(result.structured_content)

        wrong: list[tuple[str, dict[str, Any], str]] = [
            ("classify", {"text": "x", "labls": ["a"]}, "labls: unknown key; did you mean 'labels'?"),
            ("classify", {"text": "x", "taxonomy": "sentimnt"}, "did you mean 'sentiment'?"),
            ("classify", {"text": ""}, "text is empty; send a text, or a title"),
            ("similar", {"text": "x", "k": 1_000}, "k is 1000; give 100 or less"),
        ]
        for name, arguments, words in wrong:
            failed = await client.call_tool(name, arguments)
            assert failed.is_error
            assert words in _text(failed)
        with pytest.raises(MCPError, match=r"there is no tool 'klassify'; did you mean 'classify'\?"):
            await client.call_tool("klassify", {})

    _talk(conversation)
