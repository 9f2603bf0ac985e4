"""Stand-ins for the package ``vllm`` and the program ``llama-server``: real servers that fail and die on command."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What FAKE_SERVER may say beside "serves": the last words of a start that fails. The latter are llama.cpp's.
LAST_WORDS = {
    "memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB.",
    "cache": "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
    "port": "OSError: [Errno 98] Address already in use",
    "length": "User-specified max_model_len (8192) is greater than the derived max_model_len (4096).",
    "hub": "OSError: Can't load: 'no/model' is not a valid model identifier listed on the hub",
    "device": "RuntimeError: Failed to infer device type, please set VLLM_LOGGING_LEVEL=DEBUG",
    "truncated": "0.00.298.695 E llama_model_load: error loading model: tensor 'blk.13.ffn_gate.weight' data is not "
    "within the file bounds, model is corrupted or incomplete\n0.00.299.166 E srv          init: exiting",
    "architecture": "E llama_model_load: error loading model: unknown model architecture: 'starling'",
    "tokenizer": "E error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'starling'",
    "bind": "0.00.002.022 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1",
    "kv": "0.15.373.031 E ggml_aligned_malloc: insufficient memory (attempted to allocate 1977541.88 MB)",
    "argument": "error: invalid argument: --kv-unified",
    "load": "E llama_model_load: error loading model: missing tensor 'output_norm.weight'",
    "adapter": "E llama_adapter_lora_init: failed to apply lora adapter: model arch and LoRA arch mismatch",
    "odd": "ValueError: the moon is in the wrong phase\n(APIServer pid=7) shutting down",
}
_SERVER = """
import json, os, subprocess, sys, time
from http.server import ThreadingHTTPServer
from pathlib import Path
from tests.support.fake_server import LAST_WORDS
from tests.support.misbehaving import says

mode, notes = os.environ.get("FAKE_SERVER", "serves"), Path(os.environ["FAKE_SERVER_NOTES"])
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
notes.write_text(json.dumps({"argv": sys.argv, "pids": [os.getpid(), engine.pid], "path": sys.path, **os.environ}))
print("(APIServer pid=7) INFO 11-20 09:00:00 [loader.py:1] Loading weights: 50%", flush=True)
time.sleep(float(os.environ.get("FAKE_SERVER_SECONDS", "0")))
if mode in LAST_WORDS:
    print(LAST_WORDS[mode], flush=True)
    sys.exit(1)
if mode == "hangs":
    time.sleep(600)

from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        says('["War"]')(self)

    def log_message(self, *arguments):
        pass

port = int(sys.argv[-1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def vllm(folder: Path, mode: str = "serves", seconds: float = 0) -> dict[str, str]:
    """Write the package to a folder; the environment in which ``-m vllm.entrypoints.openai.api_server`` finds it.

    Args:
        folder: gets the package and ``notes.json``: what the server was started with, and its process ids.
        mode: ``serves``, ``hangs`` or one of ``LAST_WORDS``.
        seconds: that it takes to come up.
    """
    place = folder / "vllm" / "entrypoints" / "openai"
    place.mkdir(parents=True)
    for package in (place, *list(place.parents)[:2]):
        (package / "__init__.py").write_text("")
    (place / "api_server.py").write_text(_SERVER)
    return {"PYTHONPATH": f"{folder}:{ROOT}", **_settings(folder, mode, seconds)}


def llama(folder: Path, mode: str = "serves", seconds: float = 0) -> dict[str, str]:
    """Write ``llama-server`` to a folder; the environment with it on the PATH. See ``vllm``."""
    program = folder / "llama-server"
    program.write_text(f"#!{sys.executable}\n{_SERVER}")
    program.chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return {**path, **_settings(folder, mode, seconds)}


def _settings(folder: Path, mode: str, seconds: float) -> dict[str, str]:
    return {
        "FAKE_SERVER": mode,
        "FAKE_SERVER_SECONDS": str(seconds),
        "FAKE_SERVER_NOTES": str(folder / "notes.json"),
    }


def notes(folder: Path) -> dict[str, Any]:
    """What the server was started with: ``argv``, ``pids``, ``path`` and its environment variables."""
    return dict(json.loads((folder / "notes.json").read_text()))


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def soon(true: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something becomes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def runs(folder: Path) -> bool:
    """Whether any of its processes does."""
    return any(lives(pid) for pid in notes(folder)["pids"])


def ended(folder: Path) -> bool:
    """Whether all of them have ended, given a moment."""
    return soon(lambda: not runs(folder))
