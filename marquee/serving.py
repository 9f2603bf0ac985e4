"""Settings of ``serve --vllm``, ``--gguf`` and ``--adapter``: the model to load, its name, how an adapter is used."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from llm.backends.gguf_adapter import base_type, gguf_adapter
from llm.backends.llama_server import LlamaAdapter, LlamaOptions, LlamaServer
from llm.backends.lora_adapter import Adapter, check_base, load_adapter, vllm_arguments
from llm.backends.vllm_server import VLLMOptions, VLLMServer
from marquee.settings import Settings, environment_name, read_settings, settings_variables
from prompts import registry

_GGUF_TIMEOUT = 120.0  # seconds of a request: on a CPU, a long prompt of a 7B model takes a minute


def with_vllm(model: str, /, **overrides: Any) -> tuple[Settings, VLLMServer]:
    """Return a vLLM server that is not started yet, and settings whose endpoint is that server.

    The served model has the name in the settings, else its own name: a prediction names the model that made it. An
    adapter is served beside its base model, under a name of its own.

    Args:
        model: folder or name of the model; empty takes that of the settings, or the base model of the adapter.
        overrides: settings that take precedence over the environment.

    Raises:
        InvalidSetting: a setting that cannot work, or an adapter of another base model.
    """
    settings = read_settings(**overrides, classifier="embedded")  # settings of another endpoint are not checked
    adapter = load_adapter(Path(settings.adapter)) if settings.adapter else None
    weights = _weights(model, settings, adapter)
    base, requested = _names(weights, settings.model if model and "model" in settings.model_fields_set else "", adapter)
    arguments = tuple(shlex.split(settings.vllm_arguments))
    if adapter:
        check_base(adapter, weights)
        arguments = (*vllm_arguments(adapter, requested), *arguments)
    python = str(Path(settings.vllm_python or sys.executable).expanduser())
    vllm = VLLMServer(weights, base, VLLMOptions(python, settings.vllm_max_model_len, arguments))
    return settings.model_copy(update={"model": requested}).with_endpoint(vllm.base_url, vllm.api_key), vllm


def _names(weights: str, name: str, adapter: Adapter | None) -> tuple[str, str]:
    """The name under which vLLM serves the base model, and the name that requests use."""
    own = Path(weights).resolve().name if Path(weights).is_dir() else weights
    if adapter is None:
        return name or own, name or own
    requested = name or adapter.name_on(own)
    return (f"{own} without adapter" if own == requested else own), requested


def _weights(model: str, settings: Settings, adapter: Adapter | None) -> str:
    """The model that vLLM loads: the argument, that of the settings, or the base model of the adapter."""
    if model.startswith("~"):
        return str(Path(model).expanduser())
    return model or (adapter.base if adapter and "model" not in settings.model_fields_set else settings.model)


def with_gguf(file: str, /, **overrides: Any) -> tuple[Settings, LlamaServer]:
    """Return a llama.cpp server that is not started yet, and settings whose endpoint is that server.

    Unless they are set: as many requests at once as the server has slots, since others would wait in the server while
    their timeout runs, and a timeout for CPUs. An adapter is converted once, to a file in the folder of the answer
    cache.

    Args:
        file: the GGUF file; its stem is the model's name, or the beginning of it with an adapter.
        overrides: settings that take precedence over the environment.

    Raises:
        InvalidSetting: a setting that cannot work, or an adapter that llama.cpp cannot add to this model.
        ServerFailed: llama.cpp is not installed.
    """
    settings = read_settings(**overrides, classifier="embedded")  # settings of another endpoint are not checked
    path = Path(file).expanduser()
    tuned = _llama_adapter(load_adapter(Path(settings.adapter)), path, settings) if settings.adapter else None
    llama = LlamaServer(path, LlamaOptions(settings.gguf_context), adapter=tuned)
    usual = {"concurrency": llama.options.slots, "timeout": _GGUF_TIMEOUT}
    unset = {name: value for name, value in usual.items() if name not in settings.model_fields_set}
    return settings.model_copy(update={"model": llama.name, **unset}).with_endpoint(
        llama.base_url, llama.api_key
    ), llama


def _llama_adapter(adapter: Adapter, model: Path, settings: Settings) -> LlamaAdapter:
    return LlamaAdapter(gguf_adapter(adapter, model, settings.cache_path.parent), adapter.name_on(model.stem))


def adapter_in_use(settings: Settings, started: bool) -> str:
    """The folder of the adapter that the environment names for the model to serve; empty without one.

    Args:
        settings: of the service.
        started: whether their endpoint is a server that is started with the adapter.
    """
    in_process = settings.local_model and settings.uses_language_model
    return settings_variables().get(environment_name("adapter"), "") if started or in_process else ""


def gguf_in_settings() -> str:
    """The GGUF file of the settings; empty where they have none, or choose the embedded classifier."""
    variables = settings_variables()
    is_embedded = variables.get(environment_name("classifier")) == "embedded"
    return "" if is_embedded else variables.get(environment_name("gguf"), "")


def as_trained(settings: Settings, folder: Path) -> tuple[Settings, list[str]]:
    """Settings with the taxonomy and the strategy that an adapter was trained with, unless they are set already.

    Returns:
        The settings, and lines to print about the adapter.

    Raises:
        InvalidSetting: the folder has no adapter.
    """
    adapter = load_adapter(folder)
    trained = {"taxonomy": _taxonomy(adapter), "strategy": adapter.manifest.get("strategy")}
    unset = {name: value for name, value in trained.items() if value and name not in settings.model_fields_set}
    return settings.model_copy(update=unset), _notes(adapter)


def weights_note(folder: Path, gguf: str) -> str:
    """What was compared of the base of an adapter and of a GGUF file, whose weights are rounded."""
    adapter = load_adapter(folder)
    compared = "architecture, layers and sizes" if base_type(adapter) else "layers and sizes"
    return f"The weights of {gguf} cannot be compared with those of {adapter.base}; {compared} agree."


def _taxonomy(adapter: Adapter) -> str | None:
    """The name of the taxonomy that the adapter was trained for, where it is still registered."""
    name = (adapter.manifest.get("taxonomy") or {}).get("name")
    return name if name in registry.taxonomies() else None


def _notes(adapter: Adapter) -> list[str]:
    if not adapter.purpose:
        return [f"{adapter.folder} does not say what it was trained for; calibrate and evaluate before you rely on it"]
    notes = [f"The adapter was trained for {adapter.purpose}."]
    trained, name = adapter.manifest["taxonomy"], _taxonomy(adapter)
    if name and (now := registry.taxonomy(name)).digest != trained["digest"]:
        notes.append(
            f"  warning: {name} is now {now.digest}; its labels or descriptions have changed since the training"
        )
    known = {prompt.versioned_name for prompt in registry.prompts().values()}
    unknown = [prompt for prompt in adapter.manifest.get("prompts", ()) if prompt not in known]
    return notes + [
        f"  warning: the prompt {prompt} does not exist any more; another one is used" for prompt in unknown
    ]
