"""Chromium for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("MARQUEE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
PATIENCE = 60_000  # milliseconds; a busy machine is no fault of the page
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
]  # as root in a container; no request but the page's own

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; install one or set MARQUEE_CHROMIUM")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; close it before the service is stopped, whose stop would wait for its idle connections."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS, timeout=PATIENCE)
        yield started
        started.close()
