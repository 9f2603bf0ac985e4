"""Models are downloaded only where the environment allows it; a stand-in of the hub counts the requests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support import tiny_classifiers as tiny

ROOT = Path(__file__).parents[3]
COMMIT = "0123456789ab" + "c" * 28
MODEL = "tiny/reranker"
SCRIPT = "from llm.pretrained.classifier import pretrained as p; print(p('hf:tiny/reranker').name)"


@contextmanager
def _hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub with one model: its URL, and the paths that were requested."""
    paths: list[str] = []
    files = sorted(folder.iterdir())

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self, with_body: bool = True) -> None:
            paths.append(self.path)
            name = self.path.partition("?")[0].rpartition("/")[2]
            if "/tree/" in self.path:
                rows = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name} for path in files
                ]
                body = json.dumps(rows).encode()
            elif self.path.startswith("/api/"):
                siblings = [{"rfilename": one} for one in [*(path.name for path in files), "model.onnx"]]
                body = json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode()
            else:
                body = (folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{name}-of-the-model"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET(with_body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def _run(hub: str, home: Path, offline: str | None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {} if offline is None else {"HF_HUB_OFFLINE": offline}
    return subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("offline", [None, "", "1"])
def test_nothing_is_requested_from_the_hub_unless_it_is_allowed(offline: str | None, tmp_path: Path) -> None:
    with _hub(tiny.reranker(tmp_path / "model")) as (url, paths):
        ran = _run(url, tmp_path / "home", offline)
    assert paths == []
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith(
        "'hf:tiny/reranker': tiny/reranker is no folder here and not in the hub's cache; give a folder, or set "
        "HF_HUB_OFFLINE=0 to download it"
    )


def test_an_allowed_download_is_cached_and_named_by_its_commit(tmp_path: Path) -> None:
    with _hub(tiny.reranker(tmp_path / "model")) as (url, paths):
        first = _run(url, tmp_path / "home", "0")
        assert first.stdout == f"hf:tiny/reranker@{COMMIT[:12]}\n", first.stderr
        names = {path.rpartition("/")[2] for path in paths if not path.startswith("/api/")}
        assert "model.safetensors" in names
        assert "model.onnx" not in names
        paths.clear()
        again = _run(url, tmp_path / "home", None)
    assert (again.stdout, paths) == (first.stdout, [])


def test_an_unreachable_hub_is_one_line(tmp_path: Path) -> None:
    ran = _run("http://127.0.0.1:9", tmp_path, "0")
    assert ran.stderr.splitlines()[-1].startswith(
        "prompts.errors.InvalidSetting: 'hf:tiny/reranker' cannot be downloaded"
    )
