"""The Flask application, put together from its parts."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from service import cors, errors, metrics, pages, rate_limits, request_logging, routes
from service.readiness import Readiness
from service.services import Services


def create_app(parts: Services) -> Flask:
    """The service as a WSGI application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = parts.limits.body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]  # scores come best first
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.extensions["marquee"] = parts
    app.extensions["marquee readiness"] = Readiness(parts.check)
    request_logging.install(app, parts.metrics, parts.limits.seconds)  # first: refused requests are logged too
    cors.install(app, parts.origins)
    rate_limits.install(app, parts.door)
    metrics.install(app, parts.metrics)
    app.register_blueprint(routes.blueprint)
    app.register_blueprint(pages.blueprint)
    errors.install(app)
    if count := parts.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, count, count, count, 0, count)  # type: ignore[method-assign]
    return app
