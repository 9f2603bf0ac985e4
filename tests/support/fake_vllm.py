"""A stand-in for the package ``vllm``: a real local server that starts, fails and dies on command."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
# What FAKE_VLLM may say beside "serves": the last words of a start that fails.
LAST_WORDS = {
    "memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB.",
    "cache": "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
    "port": "OSError: [Errno 98] Address already in use",
    "length": "User-specified max_model_len (8192) is greater than the derived max_model_len (4096).",
    "hub": "OSError: Can't load: 'no/model' is not a valid model identifier listed on the hub",
    "device": "RuntimeError: Failed to infer device type, please set VLLM_LOGGING_LEVEL=DEBUG",
    "odd": "ValueError: the moon is in the wrong phase\n(APIServer pid=7) shutting down",
}
_SERVER = """
import json, os, subprocess, sys, time
from http.server import ThreadingHTTPServer
from pathlib import Path
from tests.support.fake_vllm import LAST_WORDS
from tests.support.misbehaving import says

mode, notes = os.environ.get("FAKE_VLLM", "serves"), Path(os.environ["FAKE_VLLM_NOTES"])
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
notes.write_text(json.dumps({"argv": sys.argv, "pids": [os.getpid(), engine.pid], "path": sys.path, **os.environ}))
print("(APIServer pid=7) INFO 11-20 09:00:00 [loader.py:1] Loading weights: 50%", flush=True)
time.sleep(float(os.environ.get("FAKE_VLLM_SECONDS", "0")))
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


def build(folder: Path, mode: str = "serves", seconds: float = 0) -> dict[str, str]:
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
    return {
        "PYTHONPATH": f"{folder}:{ROOT}",
        "FAKE_VLLM": mode,
        "FAKE_VLLM_SECONDS": str(seconds),
        "FAKE_VLLM_NOTES": str(folder / "notes.json"),
    }
