"""A vLLM server as a child process: start it, wait until it is healthy, explain its failures, stop it reliably."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from llm.backends.local_backend import why_missing
from prompts.errors import MarqueeError
from prompts.installation import install_command

log = logging.getLogger(__name__)

# Required by this project's client; compose.yaml and the README have the same flags.
FLAGS = (
    *("--generation-config", "vllm"),  # the model's own sampling defaults would change answers
    *("--max-logprobs", "20"),
    "--enable-prompt-tokens-details",
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)
_MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` script is missing in the CPU distribution
_START_SECONDS = 1800.0  # a first start may download tens of gigabytes
_POLL_SECONDS = 0.5
_STOP_SECONDS = 20.0
_TAIL_BYTES = 20_000

OnProgress = Callable[[float, str], None]


class VLLMFailed(MarqueeError):
    """The vLLM server did not start; the message says why and what to do."""


@dataclass(frozen=True)
class VLLMOptions:
    """Options of a server."""

    python: str = sys.executable  # interpreter of an environment with vLLM
    max_model_len: int = 8192  # tokens of prompt and answer together
    arguments: tuple[str, ...] = ()  # further arguments of the server; they take precedence over ``FLAGS``
    environment: Mapping[str, str] = field(default_factory=dict)  # variables added to this process's own


class VLLMServer:
    """vLLM's OpenAI-compatible server on a free port of the loopback interface, with its own API key.

    Start it from a long-lived thread: Linux ends the server when the thread that started it ends. ``name`` is the model
    name that the server accepts; ``folder`` gets its log, which is removed after ``stop``.
    """

    def __init__(
        self,
        model: str,
        name: str,
        options: VLLMOptions = VLLMOptions(),
        folder: Path = Path("var"),
        api_key: str | None = None,
    ) -> None:
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.api_key = api_key or secrets.token_urlsafe(32)
        self.log = folder / f"vllm-{self.port}.log"
        self._model, self._name, self._options = model, name, options
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = 0

    @property
    def command(self) -> list[str]:
        """The command line; without the key, since all users of a machine can read command lines."""
        return [
            *(self._options.python, "-m", _MODULE, "--model", self._model),
            *FLAGS,
            *("--max-model-len", str(self._options.max_model_len)),
            *self._options.arguments,
            *("--served-model-name", self._name, "--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def start(self, on_progress: OnProgress = lambda seconds, words: None) -> None:
        """Start the server and wait until it is healthy.

        ``on_progress`` is called about twice a second with the elapsed seconds and the last line of the server's log.

        Raises:
            VLLMFailed: it did not start.
        """
        if shutil.which(self._options.python) is None:
            raise VLLMFailed(f"there is no interpreter {self._options.python}; see MARQUEE_VLLM_PYTHON")
        if reason := why_missing(self._model, strict=False):
            raise VLLMFailed(reason)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log_file:
            process = subprocess.Popen(
                self.command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,  # Ctrl-C is handled here, and the group can be ended as one
                preexec_fn=_end_with_parent(os.getpid()),
            )
        self._process, self._starter = process, os.getpid()
        try:
            self._wait_until_healthy(process, on_progress)
        except VLLMFailed:
            self._end(process)
            self._process = None
            raise
        except BaseException:  # Ctrl-C or SIGTERM
            self.stop()
            raise
        threading.Thread(target=self._watch, args=(process,), name="vllm", daemon=True).start()

    def stop(self) -> None:
        """Stop the server and all its processes; no effect if it does not run, or in a forked process.

        The log is kept if the server had ended by itself.
        """
        process, self._process = self._process, None
        if process is None or os.getpid() != self._starter:
            return
        was_running = process.poll() is None
        self._end(process)
        if was_running:
            self.log.unlink(missing_ok=True)

    def last_line(self) -> str:
        """The last line of its log, without level and time."""
        lines = self._log_lines()
        return re.sub(r"^(\([^)]*\) )?((DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^]]*\] )?", "", lines[-1]) if lines else ""

    def _environment(self) -> dict[str, str]:
        tools = str(Path(shutil.which(self._options.python) or "").parent)  # vLLM calls ninja, installed beside python
        own = {
            "PATH": os.pathsep.join((tools, os.environ.get("PATH", ""))),
            "PYTHONSAFEPATH": "1",  # else this project's `llm`, `service`, `eval` hide other packages of these names
            "VLLM_API_KEY": self.api_key,
            "VLLM_NO_USAGE_STATS": "1",
        }
        return {**os.environ, **own, **self._options.environment}

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], on_progress: OnProgress) -> None:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < _START_SECONDS:
            if process.poll() is not None:
                raise VLLMFailed(self._failure(process.returncode))
            if self._is_healthy():
                return
            on_progress(elapsed, self.last_line())
            time.sleep(_POLL_SECONDS)
        raise VLLMFailed(f"vLLM was not ready within {_START_SECONDS:g} s; its log: {self.log}")

    def _is_healthy(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
        with suppress(urllib.error.URLError, OSError), direct.open(f"http://127.0.0.1:{self.port}/health", timeout=2):
            return True
        return False

    def _failure(self, status: int) -> str:
        """Why the server ended before it was healthy, and what to do."""
        lines = self._log_lines()
        text = "\n".join(lines)
        for pattern, sentence in _REASONS:
            if match := re.search(pattern, text, re.IGNORECASE):
                values = {"python": self._options.python, "model": self._model, "port": self.port}
                return sentence.format(*match.groups(), **values) + f" (its log: {self.log})"
        if status == -signal.SIGKILL:
            return f"vLLM was killed while it started, probably for lack of memory; its log: {self.log}"
        errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: .", line)]
        line = (errors or lines or ["its log is empty"])[-1]
        return f"vLLM did not start (status {status}): {line[:300]}; its log: {self.log}"

    def _log_lines(self) -> list[str]:
        try:
            with self.log.open("rb") as log_file:
                log_file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                tail = log_file.read().decode(errors="replace")
        except OSError:
            return []
        return [line.strip() for line in re.split(r"[\r\n]+", tail) if line.strip()]  # progress bars end in \r

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """When the server ends without ``stop``: log an error and end its other processes."""
        process.wait()
        if self._process is process:
            _end_group(process.pid)
            log.error("vLLM ended by itself; its last line: %s; its log: %s", self.last_line(), self.log)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        _end_group(process.pid)
        process.wait()


# Pattern of the log and message; the first match wins, since one error causes others.
_REASONS = (
    (
        r"No module named '?vllm\b",
        f"vLLM is not installed for {{python}}: {install_command('vllm')} in its own environment, and set "
        "MARQUEE_VLLM_PYTHON to that interpreter",
    ),
    (r"unrecognized arguments?: (.+)", "vLLM knows no argument {0}; see MARQUEE_VLLM_ARGUMENTS"),
    (r"api_server\S*: error: (.+)", "vLLM refused its arguments: {0}; see MARQUEE_VLLM_ARGUMENTS"),
    (r"address already in use", "port {port} was taken before vLLM could listen on it; start again"),
    (
        r"is greater than the derived max_model_len",
        "the model {model} supports fewer tokens than MARQUEE_VLLM_MAX_MODEL_LEN; set it lower",
    ),
    (
        r"out of memory|OutOfMemory|can't allocate memory|No available memory for the cache|Free memory on device"
        r"|the estimated maximum model length is|is larger than the available KV cache",
        "there is not enough memory for {model}: set MARQUEE_VLLM_MAX_MODEL_LEN lower, free GPU memory, or pass "
        "--gpu-memory-utilization, --quantization or --tensor-parallel-size by MARQUEE_VLLM_ARGUMENTS",
    ),
    (r"Failed to infer device type|No CUDA GPUs are available", "vLLM finds no usable GPU"),
    (
        r"Invalid repository ID or local directory|is not a valid model identifier|Repository Not Found"
        r"|LocalEntryNotFound|OfflineModeIsEnabled|outgoing traffic has been disabled|HFValidationError"
        r"|couldn't connect to",
        "vLLM cannot find the model {model}: it is no folder with weights, and could not be downloaded from the hub",
    ),
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end_group(group: int) -> None:
    """End all processes of a group: vLLM's engine is a second process and may outlive its server."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """A function that the child calls between fork and exec, so that it ends with this process; Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # before the fork, after which little is safe to call

    def set_signal() -> None:
        prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG; SIGTERM lets the server end its engine too
        if os.getppid() != parent:
            os._exit(1)

    return set_signal
