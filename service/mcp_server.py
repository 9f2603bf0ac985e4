"""The Model Context Protocol: routes of the service as tools of an assistant, over standard input and output.

A tool call is a request to the WSGI application in this process, and its arguments are the fields of the request body.
A tool and its route therefore have the same fields, limits, answers and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from flask import Flask
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel
from werkzeug.test import Client

from prompts.errors import UnknownName
from service.schemas.batch_answers import BatchAnswer
from service.schemas.classify import ClassifyRequest
from service.schemas.routes import SimilarAnswer, SimilarRequest, TaxonomiesAnswer

_INSTRUCTIONS = (
    "Marquee labels texts with the labels of a closed taxonomy. Send labels of your own, each with a description of "
    "one line, or the name of a taxonomy. A result without labels and without a problem means that no label applies."
)


@dataclass(frozen=True)
class RouteTool:
    """A route as a tool.

    Attributes:
        method: of the request.
        path: of the request.
        about: what the tool does, for the assistant.
        answer: model of the structured result.
        body: model of the arguments; None for a tool without arguments.
    """

    method: str
    path: str
    about: str
    answer: type[BaseModel]
    body: type[BaseModel] | None = None

    def described(self, name: str) -> types.Tool:
        """The tool as clients list it."""
        nothing = {"type": "object", "properties": {}, "additionalProperties": False}
        return types.Tool(
            name=name,
            description=self.about,
            input_schema=self.body.model_json_schema() if self.body else nothing,
            output_schema=self.answer.model_json_schema(),
            annotations=types.ToolAnnotations(read_only_hint=True),
        )

    def call(self, app: Flask, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """The result of a request with these fields; an error is its sentence."""
        body = arguments if self.body else None
        response = Client(app, use_cookies=False).open(self.path, method=self.method, json=body)
        found = response.get_json(force=True)
        if response.status_code >= 400:
            return types.CallToolResult(content=[types.TextContent(text=found["detail"])], is_error=True)
        if self.answer is BatchAnswer and "results" not in found:
            found = {"results": [found]}  # one text is a batch of one: the result has one form
        words = types.TextContent(text=json.dumps(found, ensure_ascii=False))
        return types.CallToolResult(content=[words], structured_content=found)


TOOLS: Mapping[str, RouteTool] = {
    "classify": RouteTool(
        "POST",
        "/classify",
        "Label one text (text) or several (texts) by labels of your own (labels) or a taxonomy by name (taxonomy). "
        "Set multi to false for one label per text, and scores to true for a score per label.",
        BatchAnswer,
        ClassifyRequest,
    ),
    "similar": RouteTool(
        "POST",
        "/similar",
        "Find the films of the index that are most similar to a text, or to a film by its title or id.",
        SimilarAnswer,
        SimilarRequest,
    ),
    "taxonomies": RouteTool(
        "GET", "/taxonomies", "List the taxonomies that classify takes by name, with their labels.", TaxonomiesAnswer
    ),
}


def mcp_server(app: Flask, version: str) -> Server[Any]:
    """A server with the tools of the application."""

    async def list_tools(context: ServerRequestContext[Any], params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.described(name) for name, tool in TOOLS.items()])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, str(UnknownName("tool", params.name, TOOLS)))
        return await anyio.to_thread.run_sync(tool.call, app, params.arguments or {})

    return Server(
        "marquee", version=version, instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def serve_stdio(app: Flask, version: str) -> None:
    """Serve the tools over standard input and output until the input ends."""

    async def run() -> None:
        server = mcp_server(app, version)
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(run)
