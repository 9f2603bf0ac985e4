"""A real llama.cpp server on this machine's CPU, in an environment of its own.

``xllamacpp`` (MIT, from the Xinference project) is a prebuilt wheel with the sources of ``llama-server``: the same
routes, checks and grammars, without compilation. In addition, it accepts LLGuidance grammars.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.engines.vllm_server import MODEL_NAME, VAR

ENVIRONMENT = VAR / "llama"
_HERE = Path(__file__).parent
_START_SECONDS = 120
_PACKAGES = (
    "xllamacpp==2026.10.11549",
    "gguf==0.19.0",
)  # the last part of xllamacpp's version is llama.cpp's build number


def environment() -> Path:
    """Return the Python of an environment with llama.cpp and ``gguf``; the first call creates it (200 MB, seconds)."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    packages = "\n".join(_PACKAGES)
    if not stamp.exists() or stamp.read_text() != packages:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-q", "install", *_PACKAGES], check=True)
        stamp.write_text(packages)
    return python


def to_gguf(folder: Path) -> Path:
    """Write a model of ``tests.support.tiny_qwen2.build`` as a GGUF file next to its folder."""
    out = folder.with_suffix(".gguf")
    subprocess.run([environment(), _HERE / "tiny_gguf.py", folder, out], check=True)
    return out


class LlamaServer:
    """Starts, stops and kills llama.cpp's server on one port.

    Args:
        model: the GGUF file.
        api_key: required by all routes except ``/health``.
        threads: CPU threads of one request; one suffices for a tiny model.
    """

    def __init__(self, model: Path, api_key: str, threads: int = 1) -> None:
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.api_key = api_key
        self.log = VAR / f"llama-{self.port}.log"
        self._model, self._threads = model, threads
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is healthy."""
        command: list[str | Path] = [
            *(environment(), _HERE / "serve_gguf.py"),
            *(self._model, MODEL_NAME, str(self.port), self.api_key, str(self._threads)),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._wait_until_healthy(self._process)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.kill()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        raise RuntimeError(f"llama.cpp did not start; the end of its log:\n{tail}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
