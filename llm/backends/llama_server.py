"""A llama.cpp server as a child process: ``llama-server``, or the package ``xllamacpp`` that contains it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from llm.backends.child_server import ChildServer, ServerFailed
from llm.backends.gguf_file import why_not_a_model
from prompts.installation import install_command
from similarity.native import physical_cores

# Required by this project's client; docs/language-models.md has the same flags. Prompt caching is llama.cpp's default.
FLAGS = (
    "--kv-unified",  # prompts under way share one context; else each slot has a fixed part of it
    "--jinja",  # the model's own chat template
    "--no-webui",
)
PROGRAM = "llama-server"
_PACKAGE = "xllamacpp"
_LAUNCHER = Path(__file__).with_name("xllamacpp_server.py")
# Options of builds since the end of 2025, which older ones do not know as arguments. A value of the user's wins.
_VARIABLES: Mapping[str, str] = {
    "LLAMA_ARG_LOG_VERBOSITY": "2",  # warnings: each request would log ten lines
    "LLAMA_ARG_CACHE_RAM": "512",  # MB of prompts for more taxonomies than slots; the default of 8192 fills a laptop
}


@dataclass(frozen=True)
class LlamaOptions:
    """Options of a server."""

    context: int = 8192  # tokens of all prompts and answers under way
    threads: int = field(default_factory=physical_cores)

    @property
    def slots(self) -> int:
        """Requests under way at once: several share each pass over the weights; more only split the context."""
        return min(4, max(2, self.threads))


@dataclass(frozen=True)
class LlamaAdapter:
    """A LoRA adapter for the model of a server."""

    file: Path  # its GGUF file, whose name contains a digest of its contents
    name: str  # of the model with the adapter


class LlamaServer(ChildServer):
    """llama.cpp's OpenAI-compatible server for one GGUF file.

    The model's name is the file's stem, or with an adapter that of the adapter on it.
    """

    title = "llama.cpp"
    log_prefix = r"([\d.]+ [EWID] )?(\w+ +)?"
    reasons = (
        (rf"No module named '?{_PACKAGE}\b", f"{_PACKAGE} is not installed: {install_command('gguf')}"),
        (
            r"data is not within the file bounds|failed to read (?:key-value pairs|tensor|magic|header)"
            r"|unexpectedly reached end of file",
            "{model} is truncated or damaged; download it again",
        ),
        (
            r"unknown model architecture: '([^']*)'",
            "this build of llama.cpp does not know {model}'s architecture {0}; install a newer one",
        ),
        (
            r"unknown pre-tokenizer type: '([^']*)'",
            "this build of llama.cpp does not know {model}'s tokenizer {0}; install a newer one",
        ),
        (r"error: (?:invalid|unknown) argument: (\S+)", "this llama-server does not know {0}; install a newer one"),
        (
            r"couldn't bind|address already in use",
            "port {port} was taken before llama.cpp could listen on it; start again",
        ),
        (
            r"insufficient memory|failed to allocate|unable to allocate|out of memory|bad_alloc",
            "there is not enough memory for {model} with a context of {context} tokens; set MARQUEE_GGUF_CONTEXT "
            "lower, or take a smaller model",
        ),
        (r"error loading model: (.+)", "llama.cpp cannot load {model}: {0}"),
        (r"failed to (?:apply|load) lora adapter:? (.+)", "llama.cpp cannot add the adapter to {model}: {0}"),
    )

    def __init__(
        self,
        model: Path,
        options: LlamaOptions,
        folder: Path = Path("var"),
        api_key: str | None = None,
        adapter: LlamaAdapter | None = None,
    ) -> None:
        self._program, installed = self.program()
        tuned = f" {adapter.file.name}" if adapter else ""
        super().__init__(folder, api_key, identity=f"{_state(model)} {_state(installed)}{tuned}")
        self._model, self.options, self._adapter = model, options, adapter

    @staticmethod
    def program() -> tuple[list[str], Path]:
        """The beginning of the command line, and the file that changes when another version is installed.

        Raises:
            ServerFailed: llama.cpp is not installed.
        """
        if found := shutil.which(PROGRAM):
            return [found], Path(found)
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise ServerFailed(
                f"llama.cpp is not installed: put its {PROGRAM} on the PATH (https://github.com/ggml-org/llama.cpp), "
                f"or {install_command('gguf')}"
            )
        return launcher(sys.executable), Path(spec.origin)

    @property
    def name(self) -> str:
        """The name of the model; llama.cpp takes a comma for the end of a name."""
        return (self._adapter.name if self._adapter else self._model.stem).replace(",", "_")

    @property
    def command(self) -> list[str]:
        return [
            *self._program,
            *("--model", str(self._model), "--alias", self.name),
            *(("--lora", str(self._adapter.file)) if self._adapter else ()),
            *FLAGS,
            *("--threads", str(self.options.threads), "--parallel", str(self.options.slots)),
            *("--ctx-size", str(self.options.context)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]

    def environment(self) -> Mapping[str, str]:
        unset = {name: value for name, value in _VARIABLES.items() if name not in os.environ}
        return {**unset, "LLAMA_API_KEY": self.api_key}

    def check(self) -> None:
        if reason := why_not_a_model(self._model):
            raise ServerFailed(reason)

    def named(self) -> Mapping[str, object]:
        return {**super().named(), "model": self._model, "context": self.options.context}


def launcher(python: str) -> list[str]:
    """The command line that starts the server of ``xllamacpp`` in an interpreter that has the package."""
    return [python, "-P", str(_LAUNCHER)]


def _state(file: Path) -> str:
    """What changes with a file's contents."""
    try:
        status = file.stat()
    except OSError:
        return str(file)
    return f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
