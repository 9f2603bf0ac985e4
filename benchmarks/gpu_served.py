"""The same load through what holds a model itself: our in-process engine, vLLM in one process, and vLLM's server."""

from __future__ import annotations

import gc
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu_model import Load, config, random_model

_START_SECONDS = 600
_TOKENS = range(1_000, 2_000)  # of the tiny tokenizer: past its control tokens and single bytes
_CONTEXT = 2_048

Rates = dict[str, float]
"""Documents a second, by strategy and state of the prefix, such as ``label_tokens warm``."""


def write_folder(folder: Path, shape: dict[str, int], device: str | None) -> Path:
    """A model as ``from_pretrained`` reads it, with the tests' tokenizer; without weights where no device is given."""
    from tests.support.tiny_qwen2 import build

    build(folder)
    (folder / "model.safetensors").unlink()  # shards of a larger model would not replace it
    if device:
        random_model(shape, device).save_pretrained(folder)
        gc.collect()
    else:
        chosen = config(shape)
        chosen.architectures = ["Qwen2ForCausalLM"]
        chosen.save_pretrained(folder)
    return folder


# --- our in-process engine ---


def local(folder: Path, device: str, load: Load) -> Rates:
    """``llm.backends.local_backend.LocalBackend``, through the contract of backends.

    Raises:
        ImportError: there is no such engine here.
    """
    from llm.backends.local_backend import LocalBackend  # type: ignore[import-not-found,unused-ignore]

    backend = LocalBackend(str(folder), device=device, dtype="bfloat16")
    return _by_prefix(partial(_ask_local, backend), _Talks(folder, load), load)


def _ask_local(backend: Any, strategy: str, talks: Sequence[Any]) -> None:
    from benchmarks.texts import vocabulary
    from llm.strategies.json_list import JSONList
    from prompts.answer_format import CODES

    genres = vocabulary()
    if strategy == "label_tokens":
        asked = backend.next_token_logprobs(talks, CODES[: len(genres.names)])
    else:
        asked = backend.generate(talks, JSONList().constraint(genres))
    if problem := next((one.problem for one in asked if one.problem), None):
        raise RuntimeError(f"the backend gave no answer: {problem.detail}")


class _Talks:
    """Conversations of about so many tokens: words that the tokenizer has as one token each."""

    def __init__(self, folder: Path, load: Load) -> None:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        spelt: list[str] = [tokenizer.decode([token]) for token in _TOKENS]
        self._words = [word for word in spelt if word[:1] == " " and word[1:].isalpha()]
        self._load, self._chance = load, random.Random(0)
        self._static = self._words_of(load.static)

    def some(self, warm: bool) -> list[Any]:
        """New documents, behind the static part, or each behind a static part of its own."""
        return [
            [
                {"role": "system", "content": self._static if warm else self._words_of(self._load.static)},
                {"role": "user", "content": self._words_of(self._load.own)},
            ]
            for _ in range(self._load.documents)
        ]

    def _words_of(self, count: int) -> str:
        return "".join(self._chance.choices(self._words, k=count))


# --- vLLM ---


def vllm_offline(folder: Path, load: Load, quantization: str | None) -> Rates:
    """vLLM in this process, with weights that it makes up itself.

    Raises:
        ImportError: vLLM is not installed.
    """
    from vllm import LLM, SamplingParams

    model = LLM(
        str(folder), load_format="dummy", dtype="bfloat16", max_model_len=_CONTEXT, quantization=quantization,
        enable_prefix_caching=True,
    )  # fmt: skip

    def ask(strategy: str, prompts: Sequence[list[int]]) -> None:
        chosen = SamplingParams(temperature=0, **_decoding(strategy, load))
        model.generate([{"prompt_token_ids": prompt} for prompt in prompts], chosen, use_tqdm=False)

    return _by_prefix(ask, _Prompts(load), load)


def vllm_server(folder: Path, load: Load, workers: int) -> Rates:
    """vLLM's server, asked over our wire."""
    from llm.backends.transport import HTTPTransport
    from llm.classifier import Problem

    with _server(folder) as base_url:
        transport = HTTPTransport(base_url, "", timeout=300.0, retries=2, concurrency=workers)

        def ask(strategy: str, prompts: Sequence[list[int]]) -> None:
            fields = {"model": "measured", "temperature": 0, **_decoding(strategy, load)}
            replies = transport.post([fields | {"prompt": prompt} for prompt in prompts], "/completions")
            if problem := next((reply for reply in replies if isinstance(reply, Problem)), None):
                raise RuntimeError(f"the server gave no answer: {problem.detail}")

        return _by_prefix(ask, _Prompts(load), load)


def _decoding(strategy: str, load: Load) -> dict[str, Any]:
    if strategy == "label_tokens":
        return {"max_tokens": 1, "logprobs": 5}
    return {"max_tokens": load.written, "ignore_eos": True}


def _by_prefix(ask: Callable[[str, Any], None], documents: _Prompts | _Talks, load: Load) -> Rates:
    """Ask with the static part computed before and with nothing computed, each time about new documents."""
    rates = {}
    for strategy, warm in product(("label_tokens", "json_list"), (True, False)):
        rounds = [_seconds(partial(ask, strategy, documents.some(warm))) for _ in range(load.rounds + 1)]
        rates[f"{strategy} {'warm' if warm else 'cold'}"] = load.documents / median(rounds[1:])  # the first warms up
    return rates


class _Prompts:
    """Prompts as token ids."""

    def __init__(self, load: Load) -> None:
        self._load, self._chance = load, random.Random(0)
        self._static = self._tokens(load.static)

    def some(self, warm: bool) -> list[list[int]]:
        """New documents, behind the static part, or each behind a static part of its own."""
        return [
            (self._static if warm else self._tokens(self._load.static)) + self._tokens(self._load.own)
            for _ in range(self._load.documents)
        ]

    def _tokens(self, count: int) -> list[int]:
        return self._chance.choices(_TOKENS, k=count)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A vLLM server of this Python, ended with the block; what it says goes to this process's error output."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options: Mapping[str, str] = {
        "model": str(folder), "served-model-name": "measured", "load-format": "dummy", "dtype": "bfloat16",
        "max-model-len": str(_CONTEXT), "host": "127.0.0.1", "port": str(port), "generation-config": "vllm",
    }  # fmt: skip
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enable-prefix-caching", *flags]
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise RuntimeError("vLLM's server did not come up; what it said stands above")
