"""What the service is compared with: a Flask service over sentence-transformers as such are mostly written.

It encodes the one text of each request by itself. With ``--bare``, a route that does nothing, in the same gunicorn.
"""

from __future__ import annotations

from typing import Any

import click
from flask import Flask, jsonify, request
from gunicorn.app.base import BaseApplication

_THREADS = 96  # as many as the service has


def bare() -> Flask:
    """A route that reads a small body and answers with a small one."""
    app = Flask(__name__)

    @app.post("/classify")
    def classify() -> Any:
        request.get_json()
        return jsonify({"labels": ["War"], "model": "none"})

    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    return app


def naive() -> Flask:
    """One text, one ``encode``, the nearest labels."""
    from sentence_transformers import SentenceTransformer

    from llm.embedded.label_vectors import described
    from prompts import registry
    from similarity.encoders.tokens import weights_folder

    app = Flask(__name__)
    labels = registry.taxonomy("tmdb").predictable
    model = SentenceTransformer(weights_folder(), local_files_only=True)
    vectors = model.encode([described(label) for label in labels], normalize_embeddings=True)

    @app.post("/classify")
    def classify() -> Any:
        vector = model.encode(request.get_json()["text"], normalize_embeddings=True, show_progress_bar=False)
        scores = vectors @ vector
        best = scores.argsort()[::-1][:3]
        return jsonify({"labels": [labels[place].name for place in best], "scores": [float(scores[n]) for n in best]})

    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    return app


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, port: int, is_bare: bool) -> None:
        self._port, self._is_bare = port, is_bare
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": f"127.0.0.1:{self._port}",
            "worker_class": "gthread",
            "threads": _THREADS,
            "timeout": 300,
            "keepalive": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return bare() if self._is_bare else naive()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--bare", "is_bare", is_flag=True)
def main(port: int, is_bare: bool) -> None:
    """Serve until told to stop."""
    _Server(port, is_bare).run()


if __name__ == "__main__":
    main()
