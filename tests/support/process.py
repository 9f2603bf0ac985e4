"""The service as a real process, as ``make serve`` starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 90
_AS_A_TEST = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
    "MARQUEE_DRAIN_SECONDS": "0",
    "MARQUEE_KEYS_PATH": "var/no-keys.json",
}


class ServiceProcess:
    """A running ``main.py serve``: its address, and what it has printed so far."""

    def __init__(self, *arguments: str, **settings: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MARQUEE_", "OPENAI_"))}
        self.process = subprocess.Popen(
            [sys.executable, "main.py", "serve", "--port", "0", *arguments],
            cwd=ROOT,
            env=clean | _AS_A_TEST | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_hears_interrupts,
        )
        self.lines: list[str] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def printed(self) -> str:
        """All that it has printed."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Its address, once it is ready; see ``url_within``."""
        return self.url_within(_READY_SECONDS)

    def url_within(self, seconds: float) -> str:
        """Its address, once it is ready.

        Raises:
            RuntimeError: it did not come up within that time.
        """
        self._ready.wait(seconds)
        found = re.search(r"curl -X POST (http://\S+)/classify", self.printed)
        if not found:
            raise RuntimeError(f"the service did not come up; it printed:\n{self.printed}")
        return found[1]

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(120)

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout as printed:
            for line in printed:
                self.lines.append(line)
                if "-d '{" in line:
                    self._ready.set()
        self._ready.set()


def _hears_interrupts() -> None:
    """Who runs the tests in the background of a shell has SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def service(*arguments: str, **settings: str) -> Iterator[ServiceProcess]:
    """Run the service with these arguments, under these settings."""
    running = ServiceProcess(*arguments, **settings)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
