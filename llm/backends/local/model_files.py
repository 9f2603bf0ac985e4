"""Whether a model can be loaded at all, found out in a moment and before anything is started."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

_HUB_NAME = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?")
_PATIENCE_SECONDS = 5.0


def missing(model: str, strict: bool = True) -> str:
    """Why a model cannot be loaded, as one sentence; empty where nothing speaks against it.

    Args:
        model: a folder, or a name on the Hugging Face hub.
        strict: whether it must be in the form and cache that ``transformers`` reads; another program may take other
            files, and keep its models elsewhere.
    """
    from llm.lora_adapter import folder_of

    folder = Path(model).expanduser()
    if folder.is_dir():
        return (
            ""
            if not strict or (folder / "config.json").is_file()
            else f"the folder {model} holds no model: config.json is missing"
        )
    if model.startswith(("/", ".", "~")) or folder.exists():
        return f"there is no model folder {model}{_near(folder)}"
    if not _HUB_NAME.fullmatch(model):
        return f"{model!r} is neither a folder nor a name on the hub, such as Qwen/Qwen2-7B-Instruct"
    if folder_of(model):
        return ""
    if _is_offline():
        remedy = "give a folder, or set HF_HUB_OFFLINE=0 to download it"
        plain = "/" not in model
        return (
            f"{model} is no folder here{_near(folder)} and not in the hub's cache; {remedy}" if strict or plain else ""
        )
    return _on_hub(model, folder)


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _on_hub(model: str, folder: Path) -> str:
    """Ask the hub for the name; where it cannot be reached, the loader's own words must do."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().model_info(model, timeout=_PATIENCE_SECONDS)
    except GatedRepoError:
        return f"the hub asks for a licence to be accepted before it gives {model}; do so, and set HF_TOKEN"
    except RepositoryNotFoundError:
        return f"there is no model {model} here{_near(folder)} or on the hub; a private one needs HF_TOKEN"
    except Exception:  # no network, or a hub that is out of order
        return ""
    return ""


def _near(folder: Path) -> str:
    """A folder of a similar name beside it."""
    try:
        beside = [one.name for one in folder.parent.iterdir() if one.is_dir()]
    except OSError:
        return ""
    close = get_close_matches(folder.name, beside, n=1, cutoff=0.75)
    return f" (did you mean {folder.parent / close[0]}?)" if close else ""
