"""The OpenVINO library, imported at first use and without its telemetry."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast


def openvino() -> Any:
    """Return the library. Its telemetry would report every import to a server; it works without."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino as library

    return library


def capabilities() -> list[str]:
    """Return the number formats that OpenVINO computes in on this processor, whatever the environment forbids."""
    found: list[str] = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found
