"""`main.py mcp`: classification as tools of an assistant, by the Model Context Protocol."""

from __future__ import annotations

import click

from cli.arguments import EndpointOptions, endpoint_options, say
from cli.group import examples
from cli.names import complete_taxonomy


@click.command(
    "mcp",
    short_help="Offer tools to an assistant (MCP, stdio).",
    epilog=examples("mcp", "mcp --taxonomy tickets", "mcp --system hf:models/my-nli-model"),
)
@click.option(
    "--taxonomy", shell_complete=complete_taxonomy, help="Default taxonomy: a name, or a YAML file.  [default: tmdb]"
)
@click.option("--system", help="embedded, or hf:NAME_OR_PATH: a pretrained model.  [default: MARQUEE_CLASSIFIER]")
@endpoint_options
def mcp_command(taxonomy: str | None, system: str | None, endpoint: EndpointOptions) -> None:
    """Offer the tools classify, similar and taxonomies over standard input and output.

    An assistant starts this command itself; see docs/mcp.md for its configuration.
    """
    from marquee import __version__
    from service.app import create_app
    from service.mcp_server import serve_stdio
    from service.services import build

    if system and endpoint.given:
        raise click.UsageError(f"{endpoint.given}: these are for an endpoint, and --system needs none; leave them out")
    here = {"classifier": system, "local_model": ""} if system else {}
    services = build(endpoint.settings(taxonomy=taxonomy, **here))
    services.load()
    say(f"marquee: the tools of {services.model} are ready on standard input and output")
    serve_stdio(create_app(services), __version__)
