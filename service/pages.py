"""What a browser is given: the page at ``/``, the docs, and the few files that they need; nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
    send_from_directory,
)
from werkzeug.exceptions import NotFound

from prompts.errors import quoted
from service.openapi import document, routes_of
from service.request_problem import RequestProblem

blueprint = Blueprint("page", __name__, template_folder="page")

_DOCUMENT = "marquee openapi"  # name of the document in the application's extensions
_STATIC = "page/static"
# Everything comes from this service: a label or a text that looks like markup could load and run nothing.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


@blueprint.get("/docs")
def docs() -> Response:
    """Every route with its schema, an example and a form to try it, as a page."""
    return html("docs.html")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This document."""
    built = current_app.extensions.get(_DOCUMENT)
    if built is None:  # the routes of an application do not change once it serves
        built = current_app.extensions[_DOCUMENT] = current_app.json.dumps(document(current_app))
    servers = json.dumps([{"url": request.script_root or "/"}])
    return Response(f'{{"servers": {servers}, {built[1:]}', mimetype="application/json")


@blueprint.get("/page/<name>")
def static_file(name: str) -> Response:
    """A stylesheet, script or picture of the pages."""
    try:
        response = send_from_directory(f"{blueprint.root_path}/{_STATIC}", name, conditional=False)
    except NotFound:
        raise RequestProblem("not-found", f"the pages have no file {quoted(name)}") from None
    response.make_conditional(request.environ)  # without parts of a file: a header Range is ignored
    return response


def for_either(members: Mapping[str, Any], template: str, **values: Any) -> Response:
    """A page where the client prefers HTML, as browsers do; else JSON."""
    wanted = request.accept_mimetypes.best_match(("application/json", "text/html"))
    response = html(template, **values) if wanted == "text/html" else jsonify(members)
    response.vary.add("Accept")
    return response


def html(template: str, **values: Any) -> Response:
    """Render a page.

    It gets the paths of all routes, so that it requests only existing ones, and the relative path to the service's
    root: links then work under any prefix, also one that a reverse proxy removes without a header.
    """
    paths = {path for _, path, _ in routes_of(current_app)}
    root = "../" * (request.path.count("/") - 1) or "./"
    response = make_response(render_template(template, paths=paths, root=root, **values))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
