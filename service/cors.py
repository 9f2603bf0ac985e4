"""Pages of other origins: none may ask, but those that the settings name, and never with a browser's own credentials.

A key is sent by the page's script in a header; cookies mean nothing here, so ``Access-Control-Allow-Credentials`` is
never said, and no answer carries a wildcard.
"""

from __future__ import annotations

from collections.abc import Collection

from flask import Flask, Response, request

_MAY_SEND = "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout, traceparent, tracestate"
_MAY_READ = "X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
_PREFLIGHT_SECONDS = 600


def install(app: Flask, origins: Collection[str]) -> None:
    """Let pages of these origins ask, by the Fetch standard's CORS protocol. With none, no answer has such a header."""
    if not origins:
        return

    @app.after_request
    def tell(response: Response) -> Response:
        response.vary.add("Origin")
        origin = request.headers.get("Origin", "")
        if origin not in origins:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _MAY_READ
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Allow-Headers"] = _MAY_SEND
            response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
        return response
