"""Models that ``main.py train`` has saved, as systems."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.run import OpenedSystem, System
from prompts.errors import InvalidSetting, UnknownName
from prompts.files import digest_of

if TYPE_CHECKING:
    from prompts.taxonomy import Taxonomy

_MODELS = Path("var/models")


def trained_system(spec: str, rest: str, taxonomy: Taxonomy, others: Iterable[str]) -> System:
    """The trained model of a spec, ``NAME[:PATH]``; the ``manifest.json`` of its folder names its kind.

    Raises:
        UnknownName: there is no PATH, and no model of this name for the taxonomy; ``others`` are names that exist, too.
        InvalidSetting: the folder has no trained model.
    """
    from eval.manifest import MANIFEST

    name = spec.partition(":")[0]
    folder = Path(rest) if rest else _default_folder(name, taxonomy, others)
    if not (folder / MANIFEST).is_file():
        raise InvalidSetting(f"{spec!r}: {folder} has no trained model ({MANIFEST}); make one with `main.py train`")
    made = _made(folder / MANIFEST)

    def opened() -> OpenedSystem:
        from eval.baselines import load
        from marquee.factory import WARM_UP

        model = load(folder)
        model.classify(WARM_UP, model.taxonomy)
        return OpenedSystem(model, _trained_rule(made))

    return System(
        spec, {"trained": digest_of(folder / MANIFEST), "kind": made.get("kind"), "seed": made.get("seed")}, opened
    )


def _made(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSetting(f"{path} is not the manifest of a trained model ({error}); train it again") from None


def _trained_rule(made: Mapping[str, Any]) -> str | None:
    decoding = made.get("decoding") or {}
    if (rule := decoding.get("rule")) is None:
        return None
    return f"the {decoding.get('k')} best" if rule == "top-k" else _RULES.get(rule, rule)


def _default_folder(name: str, taxonomy: Taxonomy, others: Iterable[str]) -> Path:
    places = (_MODELS / f"{name}-{taxonomy.name}", _MODELS / name, _MODELS / taxonomy.name / name)
    for folder in places:
        if (folder / "manifest.json").is_file():
            return folder
    there = [
        path.parent.name for pattern in ("*", f"{taxonomy.name}/*") for path in _MODELS.glob(f"{pattern}/manifest.json")
    ]
    raise UnknownName("system", name, {*others, *there})


_RULES = {
    "global": "one threshold, chosen on validation texts",
    "per-label": "a threshold per label, chosen on validation texts",
    "best": "the best one",
}
