"""Loading a causal language model: its number format and device, an adapter merged into it, and what cannot be loaded.

This module imports torch and transformers; import it inside the function that needs a model.
"""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants as hub
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from llm.backends.causal_lm import CausalLM
from llm.backends.lora_adapter import model_folder
from prompts.errors import InvalidSetting
from similarity.encoders.precision import CHOICES, default_device, torch_dtype

log = getLogger(__name__)


def load(
    model: str, device: str | None, dtype: str = "auto", adapter: Path | None = None, quantised: Any = None
) -> CausalLM:
    """Load a model from a folder, Hugging Face's cache or its hub; see ``LocalBackend`` for the arguments.

    Raises:
        InvalidSetting: it cannot be loaded, or has no plain attention or no chat template.
    """
    device = device or default_device()
    torch_type = _dtype(dtype, device)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not hub.HF_HUB_OFFLINE and model_folder(model) is None:
        log.warning("downloading %s from Hugging Face's hub; HF_HUB_OFFLINE=1 forbids downloads", model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = _network(model, device, torch_type, quantised)
    except Exception as error:  # a folder may contain anything, and every reader has its own errors
        remedy = "give a folder of weights, or a name that the cache or the hub of Hugging Face has"
        raise InvalidSetting(f"the model {model!r} cannot be loaded ({_first_line(error)}); {remedy}") from error
    if not tokenizer.chat_template:
        raise InvalidSetting(f"the model {model!r} has no chat template; give one tuned for instructions")
    if getattr(network, "_is_stateful", False) or network.get_output_embeddings() is None:
        raise InvalidSetting(f"the model {model!r} is no transformer with plain attention; serve it through vLLM")
    return CausalLM(_merged(network, adapter) if adapter else network, tokenizer)


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "float16":
        return torch.float16
    if name not in CHOICES:
        raise InvalidSetting(f"there is no dtype {name!r}; give one of {', '.join(CHOICES)}, float16")
    return torch_dtype(device, name)


def _network(model: str, device: str, dtype: torch.dtype, quantised: Any) -> Any:
    # A quantised network cannot be moved after loading.
    options: Any = {"quantization_config": quantised, "device_map": {"": device}} if quantised is not None else {}
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **options)
    return (network.to(device) if quantised is None else network).eval()


def _merged(network: Any, adapter: Path) -> Any:
    """The network with an adapter merged into its weights; inference takes no longer than without."""
    from peft import PeftModel

    try:
        tuned: Any = PeftModel.from_pretrained(network, str(adapter))
        return tuned.merge_and_unload().eval()
    except Exception as error:  # other shapes, a damaged file: every reader has its own errors
        raise InvalidSetting(f"the adapter in {adapter} does not fit the model ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
