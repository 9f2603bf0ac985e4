"""A model server as a child process: start it, wait until it is healthy, explain its failures, stop it reliably."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from prompts.errors import MarqueeError

log = logging.getLogger(__name__)

_START_SECONDS = 1800.0  # a first start may download tens of gigabytes
_POLL_SECONDS = 0.5
_STOP_SECONDS = 20.0
_TAIL_BYTES = 20_000
_OWN_PORTS = range(20_000, 32_000)  # below the ports that the kernel hands out by itself

OnProgress = Callable[[float, str], None]


class ServerFailed(MarqueeError):
    """The server did not start; the message says why and what to do."""


class ChildServer(ABC):
    """An OpenAI-compatible server on a free port of the loopback interface, with its own API key.

    Start it from a long-lived thread: Linux ends the server when the thread that started it ends.

    Args:
        folder: gets the server's log, which is removed after ``stop``.
        api_key: None makes a random one.
        identity: what determines the server's answers. The same identity gets the same port while that is free, so that
            the answer cache and the capability checks, whose keys contain the base URL, are valid after a restart.
    """

    title: ClassVar[str]
    """Name of the program in messages."""
    log_prefix: ClassVar[str] = ""
    """Regular expression of what begins a log line: level, time."""
    reasons: ClassVar[Sequence[tuple[str, str]]] = ()
    """Pattern of the log, and message; the first match wins, since one error causes others."""

    def __init__(self, folder: Path, api_key: str | None = None, identity: str = "") -> None:
        self.port = _free_port(identity)
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.api_key = api_key or secrets.token_urlsafe(32)
        self.log = folder / f"{self.title.lower()}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = 0

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The command line; without the key, since all users of a machine can read command lines."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Variables of the server in addition to those of this process."""

    @abstractmethod
    def check(self) -> None:
        """Check what can be checked before the start.

        Raises:
            ServerFailed: the server cannot start.
        """

    def named(self) -> Mapping[str, object]:
        """Values for the messages of ``reasons``."""
        return {"port": self.port}

    def start(self, on_progress: OnProgress = lambda seconds, words: None) -> None:
        """Start the server and wait until it is healthy.

        ``on_progress`` is called about twice a second with the elapsed seconds and the last line of the server's log.

        Raises:
            ServerFailed: it did not start.
        """
        self.check()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log_file:
            process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,  # Ctrl-C is handled here, and the group can be ended as one
                preexec_fn=_end_with_parent(os.getpid()),
            )
        self._process, self._starter = process, os.getpid()
        try:
            self._wait_until_healthy(process, on_progress)
        except ServerFailed:
            self._end(process)
            self._process = None
            raise
        except BaseException:  # Ctrl-C or SIGTERM
            self.stop()
            raise
        threading.Thread(target=self._watch, args=(process,), name="child server", daemon=True).start()

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
        return re.sub(f"^{self.log_prefix}", "", lines[-1]) if lines else ""

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], on_progress: OnProgress) -> None:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < _START_SECONDS:
            if process.poll() is not None:
                raise ServerFailed(self._failure(process.returncode))
            if self._is_healthy():
                return
            on_progress(elapsed, self.last_line())
            time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"{self.title} was not ready within {_START_SECONDS:g} s; its log: {self.log}")

    def _is_healthy(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy
        with suppress(urllib.error.URLError, OSError), direct.open(f"http://127.0.0.1:{self.port}/health", timeout=2):
            return True
        return False

    def _failure(self, status: int) -> str:
        """Why the server ended before it was healthy, and what to do."""
        lines = self._log_lines()
        text = "\n".join(lines)
        for pattern, sentence in self.reasons:
            if match := re.search(pattern, text, re.IGNORECASE):
                return sentence.format(*match.groups(), **self.named()) + f" (its log: {self.log})"
        if status == -signal.SIGKILL:
            return f"{self.title} was killed while it started, probably for lack of memory; its log: {self.log}"
        if status == -signal.SIGILL:
            return f"this build of {self.title} uses instructions that this CPU lacks; install one for this machine"
        errors = [line for line in lines if re.search(r"\b\w*(Error|Exception)\b: .", line)]
        line = (errors or lines or ["its log is empty"])[-1]
        return f"{self.title} did not start (status {status}): {line[:300]}; its log: {self.log}"

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
            line = self.last_line()
            log.error("%s ended by itself; its last line: %s; its log: %s", self.title, line, self.log)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        _end_group(process.pid)
        process.wait()


def _free_port(identity: str) -> int:
    """A free port: that of the identity, else any."""
    digest = int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big")
    for port in ([_OWN_PORTS[digest % len(_OWN_PORTS)]] if identity else []) + [0]:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as listener:
            return int(listener.getsockname()[1])
    raise ServerFailed("there is no free port on 127.0.0.1")


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
        prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG; SIGTERM lets the server end its other processes too
        if os.getppid() != parent:
            os._exit(1)

    return set_signal
