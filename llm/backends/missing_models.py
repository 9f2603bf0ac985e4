"""Why a language model that a user names cannot be loaded: a wrong folder, a wrong name on the hub, or no licence."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from llm.backends.lora_adapter import model_folder

_HUB_NAME = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?")
_HUB_SECONDS = 5.0


def why_missing(model: str, strict: bool = True) -> str:
    """Why a model cannot be loaded, in one sentence; empty if nothing speaks against it.

    Not ``strict``: another program loads it, which may take other files and keep models elsewhere.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        has_model = not strict or (folder / "config.json").is_file()
        return "" if has_model else f"the folder {model} contains no model: config.json is missing"
    if model.startswith(("/", ".", "~")) or folder.exists():
        return f"there is no model folder {model}{_did_you_mean(folder)}"
    if not _HUB_NAME.fullmatch(model):
        return f"{model!r} is neither a folder nor a name on the hub, such as Qwen/Qwen2-7B-Instruct"
    if model_folder(model):
        return ""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"):
        return _why_not_on_hub(model, folder)
    if not strict and "/" in model:
        return ""
    remedy = "give a folder, or set HF_HUB_OFFLINE=0 to download it"
    return f"{model} is no folder here{_did_you_mean(folder)} and not in the hub's cache; {remedy}"


def _why_not_on_hub(model: str, folder: Path) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().model_info(model, timeout=_HUB_SECONDS)
    except GatedRepoError:
        return f"the licence of {model} must be accepted on the hub; do so, and set HF_TOKEN"
    except RepositoryNotFoundError:
        return f"there is no model {model} here{_did_you_mean(folder)} or on the hub; a private one needs HF_TOKEN"
    except Exception:  # no network: the loader reports the problem
        return ""
    return ""


def _did_you_mean(folder: Path) -> str:
    try:
        names = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = get_close_matches(folder.name, names, n=1, cutoff=0.75)
    return f" (did you mean {folder.parent / close[0]}?)" if close else ""
