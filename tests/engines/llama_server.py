"""A real llama.cpp server on this machine's CPU, in an environment of its own.

``xllamacpp`` (MIT, from the Xinference project) is a prebuilt wheel with the sources of ``llama-server``: the same
routes, checks and grammars, without compilation. In addition, it accepts LLGuidance grammars.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from llm.backends import llama_server
from llm.backends.llama_server import LlamaAdapter, LlamaOptions, launcher
from tests.engines.vllm_server import MODEL_NAME, VAR, installed

ENVIRONMENT = VAR / "llama"
_HERE = Path(__file__).parent
_PACKAGES = (
    "xllamacpp==2026.10.11549",
    "gguf==0.19.0",
)  # the last part of xllamacpp's version is llama.cpp's build number


def environment() -> Path:
    """Return the Python of an environment with llama.cpp and ``gguf``; the first call creates it (200 MB, seconds)."""
    return installed(ENVIRONMENT, ["install", *_PACKAGES])


def to_gguf(folder: Path) -> Path:
    """Write a model of ``tests.support.tiny_qwen2.build``, or of its form, as a GGUF file next to its folder."""
    out = folder.with_suffix(".gguf")
    subprocess.run([environment(), _HERE / "tiny_gguf.py", folder, out], check=True)
    return out


class LlamaServer(llama_server.LlamaServer):
    """Our server class in that environment, with a method to crash it.

    Args:
        model: the GGUF file.
        api_key: required by all routes except ``/health``.
        threads: CPU threads of one request; one suffices for a tiny model.
        adapter: served with the model.
    """

    def __init__(self, model: Path, api_key: str, threads: int = 1, adapter: LlamaAdapter | None = None) -> None:
        super().__init__(model, LlamaOptions(32_768, threads), VAR, api_key, adapter)

    @staticmethod
    def program() -> tuple[list[str], Path]:
        python = environment()
        return launcher(str(python)), python

    @property
    def name(self) -> str:
        return MODEL_NAME

    def kill(self) -> None:
        """SIGKILL the server, as a crash would."""
        process, self._process = self._process, None
        if process:
            os.killpg(process.pid, 9)
            process.wait()
