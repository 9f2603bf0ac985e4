"""Which endpoint and which served model answer a run: what its manifest records, and what a resumed run must share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from prompts.errors import InvalidSetting

_ENDPOINT = ("endpoint", "extra_body")
_LONGEST = 80


def recorded_in_both(kept: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Two setups of a system without the names that cannot be compared.

    Manifests of earlier versions have no ``endpoint`` and no ``extra_body``. ``model`` is missing where the endpoint's
    list chooses it; the names in the answers are compared then (``ServedModels``).

    Args:
        kept: of the run's manifest.
        now: of the system that would continue the run.
    """
    skipped = set() if "endpoint" in kept else {*_ENDPOINT}
    if "endpoint" in now and not ("model" in kept and "model" in now):
        skipped.add("model")
    before, after = ({name: value for name, value in one.items() if name not in skipped} for one in (kept, now))
    return before, after


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, str]:
    """What differs between two mappings, in words, by dotted name."""
    before, after = _flat(kept), _flat(now)
    differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return {name: f"{name} {_short(before.get(name))}, now {_short(after.get(name))}" for name in differing}


class ServedModels:
    """The names that a run's answers give the model; a resumed run refuses those of another model.

    Where a fallback or a cascade answers too, or several models have answered before (a router), any name is accepted.
    So it is where the manifest has no endpoint: answers of earlier versions carry the configured name.

    Args:
        setup: of the system, as the run's manifest has it.
        names: in the answers that the run has.
        folder: of the run, for the message.
    """

    def __init__(self, setup: Mapping[str, Any], names: Collection[str], folder: Path) -> None:
        self._endpoint, self._folder = setup.get("endpoint"), folder
        several = setup.get("fallback") or setup.get("cascade") or len(names) != 1
        self._expected = "" if several or not self._endpoint else next(iter(names))

    def check(self, names: Iterable[str]) -> None:
        """Compare the names in the first new answers; later ones are not compared.

        Raises:
            InvalidSetting: one is not the name in the run's answers.
        """
        found = set(names)
        if self._expected and (strange := sorted(found - {self._expected})):
            raise InvalidSetting(
                f"{self._folder} has answers of the model {self._expected!r}, and {self._endpoint} now answers as "
                f"{', '.join(map(repr, strange))}; serve {self._expected!r} there, give another --out, or "
                "--overwrite to start over"
            )
        if found:
            self._expected = ""


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in value.items():
        found |= _flat(one, f"{above}{name}.") if isinstance(one, Mapping) else {f"{above}{name}": one}
    return found


def _short(value: Any) -> str:
    words = json.dumps(value, ensure_ascii=False)
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."
