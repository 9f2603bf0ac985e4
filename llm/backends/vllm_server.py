"""A vLLM server as our own child process: started, waited for, explained where it fails, and never left behind."""

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

from llm.backends.local.model_files import missing
from prompts.errors import MarqueeError
from prompts.installation import install_command

log = logging.getLogger(__name__)

# What our engine relies on, whoever starts the server; compose.yaml and the README say the same.
FLAGS = (
    *("--generation-config", "vllm"),  # the model's own sampling defaults would change answers
    *("--max-logprobs", "20"),
    "--enable-prompt-tokens-details",
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)
_MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` script is missing in the CPU distribution
_PATIENCE_SECONDS = 1800.0  # a first start may fetch tens of gigabytes
_BEAT_SECONDS = 0.5
_GRACE_SECONDS = 20.0
_TAIL_BYTES = 20_000

OnProgress = Callable[[float, str], None]


class VLLMFailed(MarqueeError):
    """The vLLM server did not come up; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """How a server is run.

    Attributes:
        python: interpreter of an environment with vLLM.
        max_model_len: tokens of prompt and answer together.
        arguments: further arguments of the server; they outweigh ``FLAGS`` where both say the same.
        environment: set on top of this process's own.
    """

    python: str = sys.executable
    max_model_len: int = 8192
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class VLLMServer:
    """Runs vLLM's OpenAI-compatible server on a free port of the loopback interface, under a key of its own.

    Start it from a thread that lasts: Linux ends the server when the thread that started it ends.

    Args:
        model: folder of the weights, or their name on the hub.
        name: under which the model is served.
        options: how it is run.
        folder: where its log goes; the log is removed after an orderly end.
        api_key: what it asks for under ``/v1``; None makes one up.
    """

    def __init__(
        self,
        model: str,
        name: str,
        options: Options = Options(),
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
        """The command line; the key is not on it, since everyone on a machine can read command lines."""
        return [
            *(self._options.python, "-m", _MODULE, "--model", self._model),
            *FLAGS,
            *("--max-model-len", str(self._options.max_model_len)),
            *self._options.arguments,
            *("--served-model-name", self._name, "--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def start(self, on_progress: OnProgress = lambda seconds, words: None) -> None:
        """Start it and wait until it is healthy.

        Args:
            on_progress: called about twice a second with the seconds so far and the last line of the server's log.

        Raises:
            VLLMFailed: it did not come up.
        """
        self._look_first()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log_file:
            process = subprocess.Popen(
                self.command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,  # Ctrl-C is ours to handle, and the group can be ended as one
                preexec_fn=_end_with_parent(os.getpid()),
            )
        self._process, self._starter = process, os.getpid()
        try:
            self._wait_until_healthy(process, on_progress)
        except VLLMFailed:
            self._end(process)
            self._process = None
            raise
        except BaseException:  # broken off, by Ctrl-C or a SIGTERM: an end like any other
            self.stop()
            raise
        threading.Thread(target=self._watch, args=(process,), name="vllm", daemon=True).start()

    def stop(self) -> None:
        """Stop it and all its processes; does nothing where it is not running, or runs for the process that forked us.

        The log is kept where the server had ended by itself, since that wants explaining.
        """
        process, self._process = self._process, None
        if process is None or os.getpid() != self._starter:
            return
        in_order = process.poll() is None
        self._end(process)
        if in_order:
            self.log.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The last line of its log, without time stamps and the like."""
        lines = self._log_lines()
        return re.sub(r"^(\([^)]*\) )?((DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^]]*\] )?", "", lines[-1]) if lines else ""

    def _look_first(self) -> None:
        """What can be seen to be wrong without starting anything."""
        if shutil.which(self._options.python) is None:
            raise VLLMFailed(f"there is no interpreter {self._options.python}; see MARQUEE_VLLM_PYTHON")
        if why := missing(self._model, strict=False):
            raise VLLMFailed(why)

    def _environment(self) -> dict[str, str]:
        tools = str(Path(shutil.which(self._options.python) or "").parent)  # vLLM calls ninja, which lies beside python
        ours = {
            "PATH": os.pathsep.join((tools, os.environ.get("PATH", ""))),
            "PYTHONSAFEPATH": "1",  # else our rooms `llm`, `service`, `eval` would stand before packages of these names
            "VLLM_API_KEY": self.api_key,
            "VLLM_NO_USAGE_STATS": "1",
        }
        return {**os.environ, **ours, **self._options.environment}

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], on_progress: OnProgress) -> None:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < _PATIENCE_SECONDS:
            if process.poll() is not None:
                raise VLLMFailed(self._why(process.returncode))
            if self._is_healthy():
                return
            on_progress(elapsed, self.last_words())
            time.sleep(_BEAT_SECONDS)
        raise VLLMFailed(f"vLLM was not ready within {_PATIENCE_SECONDS:g} s; its log: {self.log}")

    def _is_healthy(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before loopback
        with suppress(urllib.error.URLError, OSError), direct.open(f"http://127.0.0.1:{self.port}/health", timeout=2):
            return True
        return False

    def _why(self, status: int) -> str:
        """Why it ended before it was healthy, in one sentence that says what to do."""
        lines = self._log_lines()
        said = "\n".join(lines)
        for pattern, sentence in _REASONS:
            if found := re.search(pattern, said, re.IGNORECASE):
                on_progress = {"python": self._options.python, "model": self._model, "port": self.port}
                return sentence.format(*found.groups(), **on_progress) + f" (its log: {self.log})"
        if status == -signal.SIGKILL:
            return f"vLLM was killed while it started, most likely for want of memory; its log: {self.log}"
        errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: .", line)]
        words = (errors or lines or ["it said nothing"])[-1]
        return f"vLLM did not come up (status {status}): {words[:300]}; its log: {self.log}"

    def _log_lines(self) -> list[str]:
        try:
            with self.log.open("rb") as log_file:
                log_file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                tail = log_file.read().decode(errors="replace")
        except OSError:
            return []
        return [line.strip() for line in re.split(r"[\r\n]+", tail) if line.strip()]  # progress bars end in \r

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Once it ends: where nobody here ended it, say so, and end what it leaves behind."""
        process.wait()
        if self._process is process:
            _end_group(process.pid)
            log.error("vLLM ended by itself; the last it said: %s; its log: %s", self.last_words(), self.log)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        _end_group(process.pid)
        process.wait()


# Tried in this order, since one trouble brings others after it.
_REASONS = (
    (
        r"No module named '?vllm\b",
        f"vLLM is not installed for {{python}}: {install_command('vllm')} in an environment of its own, and name its "
        "interpreter in MARQUEE_VLLM_PYTHON",
    ),
    (r"unrecognized arguments?: (.+)", "vLLM knows no argument {0}; see MARQUEE_VLLM_ARGUMENTS"),
    (r"api_server\S*: error: (.+)", "vLLM refused its arguments: {0}; see MARQUEE_VLLM_ARGUMENTS"),
    (r"address already in use", "port {port} was taken before vLLM could listen on it; start again"),
    (
        r"is greater than the derived max_model_len",
        "the model {model} takes fewer tokens than MARQUEE_VLLM_MAX_MODEL_LEN says; set it lower",
    ),
    (
        r"out of memory|OutOfMemory|can't allocate memory|No available memory for the cache|Free memory on device"
        r"|the estimated maximum model length is|is larger than the available KV cache",
        "there is not enough memory for {model}: set MARQUEE_VLLM_MAX_MODEL_LEN lower, free the GPU, or pass "
        "--gpu-memory-utilization, --quantization or --tensor-parallel-size by MARQUEE_VLLM_ARGUMENTS",
    ),
    (r"Failed to infer device type|No CUDA GPUs are available", "vLLM finds no GPU here that it could use"),
    (
        r"Invalid repository ID or local directory|is not a valid model identifier|Repository Not Found"
        r"|LocalEntryNotFound|OfflineModeIsEnabled|outgoing traffic has been disabled|HFValidationError"
        r"|couldn't connect to",
        "vLLM cannot find the model {model}: it is no folder with weights here, and was not got from the hub",
    ),
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end_group(group: int) -> None:
    """vLLM's engine is a process beside its server, and may outlive it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child calls between fork and exec so that it is told to end should we die by SIGKILL; Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: after a fork as little as possible should happen

    def ask() -> None:
        prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG; SIGTERM lets the server end its backend too
        if os.getppid() != parent:
            os._exit(1)

    return ask
