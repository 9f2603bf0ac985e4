"""A vLLM server as a child process: its flags, and its failures in words."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm.backends.child_server import ChildServer, ServerFailed
from llm.backends.missing_models import why_missing
from prompts.installation import install_command

# Required by this project's client; compose.yaml and the README have the same flags.
FLAGS = (
    *("--generation-config", "vllm"),  # the model's own sampling defaults would change answers
    *("--max-logprobs", "20"),
    "--enable-prompt-tokens-details",
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)
_MODULE = "vllm.entrypoints.openai.api_server"  # the `vllm` script is missing in the CPU distribution


@dataclass(frozen=True)
class VLLMOptions:
    """Options of a server."""

    python: str = sys.executable  # interpreter of an environment with vLLM
    max_model_len: int = 8192  # tokens of prompt and answer together
    arguments: tuple[str, ...] = ()  # further arguments of the server; they take precedence over ``FLAGS``
    environment: Mapping[str, str] = field(default_factory=dict)  # variables added to this process's own


class VLLMServer(ChildServer):
    """vLLM's OpenAI-compatible server. ``name`` is the model name that it accepts."""

    title = "vLLM"
    log_prefix = r"(\([^)]*\) )?((DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[[^]]*\] )?"
    reasons = (
        (
            r"No module named '?vllm\b",
            f"vLLM is not installed for {{python}}: {install_command('vllm')} in its own environment, and set "
            "MARQUEE_VLLM_PYTHON to that interpreter",
        ),
        (r"unrecognized arguments?: (.+)", "vLLM knows no argument {0}; see MARQUEE_VLLM_ARGUMENTS"),
        (r"api_server\S*: error: (.+)", "vLLM refused its arguments: {0}; see MARQUEE_VLLM_ARGUMENTS"),
        (r"address already in use", "port {port} was taken before vLLM could listen on it; start again"),
        (
            r"is greater than the derived max_model_len",
            "the model {model} supports fewer tokens than MARQUEE_VLLM_MAX_MODEL_LEN; set it lower",
        ),
        (
            r"out of memory|OutOfMemory|can't allocate memory|No available memory for the cache|Free memory on device"
            r"|the estimated maximum model length is|is larger than the available KV cache",
            "there is not enough memory for {model}: set MARQUEE_VLLM_MAX_MODEL_LEN lower, free GPU memory, or pass "
            "--gpu-memory-utilization, --quantization or --tensor-parallel-size by MARQUEE_VLLM_ARGUMENTS",
        ),
        (r"Failed to infer device type|No CUDA GPUs are available", "vLLM finds no usable GPU"),
        (
            r"Invalid repository ID or local directory|is not a valid model identifier|Repository Not Found"
            r"|LocalEntryNotFound|OfflineModeIsEnabled|outgoing traffic has been disabled|HFValidationError"
            r"|couldn't connect to",
            "vLLM cannot find the model {model}: it is no folder with weights, and could not be downloaded from the "
            "hub",
        ),
    )

    def __init__(
        self,
        model: str,
        name: str,
        options: VLLMOptions = VLLMOptions(),
        folder: Path = Path("var"),
        api_key: str | None = None,
    ) -> None:
        super().__init__(folder, api_key)
        self._model, self._name, self._options = model, name, options

    @property
    def command(self) -> list[str]:
        return [
            *(self._options.python, "-m", _MODULE, "--model", self._model),
            *FLAGS,
            *("--max-model-len", str(self._options.max_model_len)),
            *self._options.arguments,
            *("--served-model-name", self._name, "--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def environment(self) -> Mapping[str, str]:
        tools = str(Path(shutil.which(self._options.python) or "").parent)  # vLLM calls ninja, installed beside python
        own = {
            "PATH": os.pathsep.join((tools, os.environ.get("PATH", ""))),
            "PYTHONSAFEPATH": "1",  # else this project's `llm`, `service`, `eval` hide other packages of these names
            "VLLM_API_KEY": self.api_key,
            "VLLM_NO_USAGE_STATS": "1",
        }
        return {**own, **self._options.environment}

    def check(self) -> None:
        if shutil.which(self._options.python) is None:
            raise ServerFailed(f"there is no interpreter {self._options.python}; see MARQUEE_VLLM_PYTHON")
        if reason := why_missing(self._model, strict=False):
            raise ServerFailed(reason)

    def named(self) -> Mapping[str, object]:
        return {**super().named(), "python": self._options.python, "model": self._model}
