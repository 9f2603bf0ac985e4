"""Prediction sets under the settings: where their calibration is stored, and which answers it is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from llm.calibration.prediction_sets import SetStore
from llm.classifier import Classifier, Prediction
from llm.embedded.matcher import SHIPPED
from marquee.client import Client
from marquee.settings import Settings, environment_name, read_settings, settings_variables
from prompts.files import digest_of, file_state

_DEFAULT = Settings.model_fields["thresholds_path"].default


def sets_of(settings: Settings) -> SetStore:
    """The calibrated sets of the settings, whose file need not exist.

    Raises:
        InvalidSetting: the file is damaged.
    """
    state_of = _state_of(settings)
    return SetStore(settings.coverage_path, state_of(), state_of)


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
    store = _store(tuple(sorted(named.items())))
    store.refresh()
    return store.added(predictions)


def scoring_state(settings: Settings) -> str:
    """Digest of the settings that scores depend on, beside model, strategy, prompt and taxonomy of an answer."""
    return _state_of(settings)()


def _state_of(settings: Settings) -> Callable[[], str]:
    """Computes that digest; of files that a process reads once (weights, examples), it has the state of now."""
    parts: dict[str, object] = {"weights": _digest_of(SHIPPED), "multilingual": settings.encoder_multilingual}
    if not settings.uses_language_model:
        state = digest_of(json.dumps(parts, sort_keys=True), 16)
        return lambda: state
    names = (
        "adapter", "label_orders", "hierarchy_beam", "max_candidate_labels", "fusion", "fallback", "examples_nearest",
    )  # fmt: skip
    parts |= {name: getattr(settings, name) for name in names}
    examples = [_digest_of(settings.examples_path)] if settings.examples_path else []

    def state_of() -> str:
        margin = settings.cascade_margin
        cascade = margin if isinstance(margin, float) else _digest_of(margin) or str(margin)
        files = [_digest_of(settings.thresholds_path), _digest_of(settings.fusion_path), *examples]
        return digest_of(json.dumps({**parts, "cascade": cascade, "files": files}, sort_keys=True), 16)

    return state_of


def _digest_of(path: Path) -> str:
    """Digest of a file; empty where there is none."""
    state = file_state(path)
    return _digest(path, state) if state and path.is_file() else ""


@lru_cache(maxsize=8)
def _digest(path: Path, state: tuple[int, int, int]) -> str:
    """Digest of a file; its state is part of the key only."""
    return digest_of(path)


@lru_cache(maxsize=4)
def _store(environment: tuple[tuple[str, str], ...]) -> SetStore:
    """The sets under the settings; the environment is part of the key only."""
    return sets_of(read_settings())
