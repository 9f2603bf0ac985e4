"""Prediction sets under the settings: where their calibration is stored, and which answers it is for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from llm.calibration.prediction_sets import SetStore
from llm.classifier import Classifier, Prediction
from llm.embedded.matcher import SHIPPED
from marquee.client import Client
from marquee.settings import Settings, environment_name, read_settings, settings_variables
from prompts.files import digest_of

_DEFAULT = Settings.model_fields["thresholds_path"].default
_Stamp = tuple[int, int]


def sets_of(settings: Settings) -> SetStore:
    """The calibrated sets of the settings, whose file need not exist.

    Raises:
        InvalidSetting: the file is damaged.
    """
    return SetStore(settings.coverage_path, scoring_state(settings))


def with_sets(predictions: Sequence[Prediction], classifier: Classifier | None = None) -> list[Prediction]:
    """Predictions with the calibrated sets of the settings in force, where there are any.

    A service has sets of its own: those of the client are not used for its predictions.

    Raises:
        InvalidSetting: as in ``sets_of``.
    """
    named = settings_variables()
    thresholds = named.get(environment_name("thresholds_path"), _DEFAULT)
    path = Settings.model_construct(thresholds_path=Path(thresholds)).coverage_path
    if isinstance(classifier, Client) or not path.is_file():  # other settings need not be valid then
        return list(predictions)
    return _store(_stamp(path), tuple(sorted(named.items()))).added(predictions)


def scoring_state(settings: Settings) -> str:
    """Digest of the settings that scores depend on, beside model, strategy, prompt and taxonomy of an answer."""
    parts: dict[str, object] = {
        "weights": _digest(SHIPPED, *_stamp(SHIPPED)),
        "multilingual": settings.encoder_multilingual,
    }
    if settings.uses_language_model:
        files = (settings.thresholds_path, settings.fusion_path, settings.examples_path)
        names = (
            "adapter", "label_orders", "hierarchy_beam", "max_candidate_labels", "fusion", "fallback",
            "examples_nearest",
        )  # fmt: skip
        parts |= {name: getattr(settings, name) for name in names}
        parts |= {
            "cascade": settings.cascade,
            "files": [digest_of(one) if _exists(one) else "" for one in files if one],
        }
    return digest_of(json.dumps(parts, sort_keys=True), 16)


def _exists(path: Path) -> bool:
    return path.is_file()


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int, size: int) -> str:
    """Digest of a file of weights; time and size are part of the key only."""
    return digest_of(path)


@lru_cache(maxsize=4)
def _store(stamp: _Stamp, state: tuple[tuple[str, str], ...]) -> SetStore:
    """The sets in force; ``stamp`` and ``state`` are part of the key only."""
    return sets_of(read_settings())
