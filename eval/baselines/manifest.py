"""What stands beside a baseline's weights: where they come from, and how their scores become labels."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eval.baselines.thresholds import Decoding
from prompts.errors import InvalidSetting, InvalidTaxonomy
from prompts.taxonomy import Label, Taxonomy

FILE = "manifest.json"
FORMAT = 1
_LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "transformers",
    "sentence-transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
)


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Written last: a folder without a manifest is an unfinished training."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a trained baseline.

    Raises:
        InvalidSetting: there is none, or it is not one of ours.
    """
    path = folder / FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise InvalidSetting(f"{folder} holds no trained baseline (no {FILE}); make one with main.py train") from None
    except ValueError as error:
        raise InvalidSetting(f"{path} is not JSON ({error}); train again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidSetting(f"{path} is not a manifest of format {FORMAT}; train again")
    return manifest


def taxonomy_of(manifest: dict[str, Any]) -> Taxonomy:
    """The taxonomy that a baseline was trained for."""
    kept = {key: value for key, value in manifest["taxonomy"].items() if key != "digest"}
    labels = tuple(Label(**{**label, "aliases": tuple(label["aliases"])}) for label in kept.pop("labels"))
    return Taxonomy(labels=labels, **kept)


def parts_of(folder: Path) -> tuple[dict[str, Any], Taxonomy, Decoding]:
    """Manifest, taxonomy and decoding of a trained baseline.

    Raises:
        InvalidSetting: as ``read``, or something in it is missing or of the wrong shape.
    """
    manifest = read(folder)
    if manifest.get("kind") == "lora":
        raise InvalidSetting(
            f"{folder} holds a LoRA adapter; serve it with --vllm MODEL or --local MODEL, and --adapter"
        )
    try:
        return manifest, taxonomy_of(manifest), Decoding.of_json(manifest["decoding"])
    except (KeyError, TypeError, InvalidTaxonomy) as error:
        raise InvalidSetting(f"{folder / FILE} is damaged ({error!r}); train again") from None


def versions() -> dict[str, str]:
    """Of Python and of every library that the figures may hang on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
