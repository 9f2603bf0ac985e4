"""What an adapter was taught, as settings: it answers best when it is asked as in its training."""

from __future__ import annotations

from pathlib import Path

from llm.lora_adapter import Adapter, adapter_in
from marquee.settings import Settings
from prompts import registry


def as_trained(settings: Settings, folder: Path) -> tuple[Settings, list[str]]:
    """The settings with the taxonomy and strategy of an adapter's training, where none are set; and notes on them.

    Raises:
        InvalidSetting: the folder holds no adapter.
    """
    adapter = adapter_in(folder)
    taught = {"taxonomy": _vocabulary(adapter), "strategy": adapter.made.get("strategy")}
    free = {name: one for name, one in taught.items() if one and name not in settings.model_fields_set}
    return settings.model_copy(update=free), _words(adapter)


def _vocabulary(adapter: Adapter) -> str | None:
    """The name of the taxonomy of its training, where there is still one of that name."""
    name = (adapter.made.get("taxonomy") or {}).get("name")
    return name if name in registry.taxonomies() else None


def _words(adapter: Adapter) -> list[str]:
    if not adapter.purpose:
        return [f"{adapter.folder} does not say what it was trained for; calibrate and evaluate before you rely on it"]
    words = [f"The adapter was trained for {adapter.purpose}."]
    learnt, name = adapter.made["taxonomy"], _vocabulary(adapter)
    if name and (now := registry.taxonomy(name)).digest != learnt["digest"]:
        words.append(f"  warning: {name} is {now.digest} by now; its labels or their descriptions have changed")
    asked = {prompt.versioned_name for prompt in registry.prompts().values()}
    gone = [prompt for prompt in adapter.made.get("prompts", ()) if prompt not in asked]
    return words + [f"  warning: there is no prompt {prompt} any more; it is asked with another" for prompt in gone]
