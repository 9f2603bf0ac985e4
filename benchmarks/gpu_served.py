"""The GPU load through our in-process backend, vLLM in one process, and vLLM's server."""

from __future__ import annotations

import gc
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu_model import Load, config, random_model
from benchmarks.measure import seconds, tmdb_genres

_TOKENS = range(1_000, 2_000)  # token ids of the tiny tokenizer after control tokens and single bytes
_CONTEXT = 2_048

Rates = dict[str, float]  # texts per second, by strategy and state of the prefix cache, e.g. ``label_tokens warm``


def write_folder(folder: Path, shape: dict[str, int], device: str | None) -> Path:
    """Write a model folder with the tests' tokenizer; without a device it has no weights."""
    from tests.support.tiny_qwen2 import build

    build(folder)
    (folder / "model.safetensors").unlink()  # the shards of a larger model do not replace it
    if device:
        random_model(shape, device).save_pretrained(folder)
        gc.collect()
    else:
        configuration = config(shape)
        configuration.architectures = ["Qwen2ForCausalLM"]
        configuration.save_pretrained(folder)
    return folder


class _Documents(ABC):
    """Random texts of the load's token counts."""

    def __init__(self, load: Load) -> None:
        self._load, self._rng = load, random.Random(0)
        self._static = self._part(load.static)

    def sample(self, warm: bool) -> list[Any]:
        """Return new texts with the common static part if warm, else with a different static part each."""
        return [
            self._joined(self._static if warm else self._part(self._load.static), self._part(self._load.own))
            for _ in range(self._load.documents)
        ]

    @abstractmethod
    def _part(self, count: int) -> Any: ...

    @abstractmethod
    def _joined(self, static: Any, own: Any) -> Any: ...


def _by_prefix(run: Callable[[str, Any], None], documents: _Documents, load: Load) -> Rates:
    """Measure with a warm and with a cold prefix cache, with new texts each time."""
    rates = {}
    for strategy, warm in product(("label_tokens", "json_list"), (True, False)):
        rounds = [seconds(partial(run, strategy, documents.sample(warm))) for _ in range(load.rounds + 1)]
        rates[f"{strategy} {'warm' if warm else 'cold'}"] = load.documents / median(rounds[1:])  # the first warms up
    return rates


# --- our in-process backend ---


def local(folder: Path, device: str, load: Load) -> Rates:
    """Measure ``llm.backends.local_backend.LocalBackend`` through the ``Backend`` protocol."""
    from llm.backends.local_backend import LocalBackend

    backend = LocalBackend(str(folder), device=device, dtype="bfloat16")
    return _by_prefix(partial(_run_local, backend), _Conversations(folder, load), load)


def _run_local(backend: Any, strategy: str, conversations: Sequence[Any]) -> None:
    from llm.strategies.json_list import JSONList
    from prompts.template import CODES

    genres = tmdb_genres()
    if strategy == "label_tokens":
        outputs = backend.next_token_logprobs(conversations, CODES[: len(genres.names)])
    else:
        outputs = backend.generate(conversations, JSONList().constraint(genres))
    if problem := next((output.problem for output in outputs if output.problem), None):
        raise RuntimeError(f"the backend gave no answer: {problem.detail}")


class _Conversations(_Documents):
    """Conversations of words that are one token each."""

    def __init__(self, folder: Path, load: Load) -> None:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        words: list[str] = [tokenizer.decode([token]) for token in _TOKENS]
        self._words = [word for word in words if word[:1] == " " and word[1:].isalpha()]
        super().__init__(load)

    def _part(self, count: int) -> str:
        return "".join(self._rng.choices(self._words, k=count))

    def _joined(self, static: str, own: str) -> list[dict[str, str]]:
        return [{"role": "system", "content": static}, {"role": "user", "content": own}]


# --- vLLM ---


def vllm_offline(folder: Path, load: Load, quantization: str | None) -> Rates:
    """Measure vLLM in this process with dummy weights.

    Raises:
        ImportError: vLLM is not installed.
    """
    from vllm import LLM, SamplingParams

    model = LLM(
        str(folder), load_format="dummy", dtype="bfloat16", max_model_len=_CONTEXT, quantization=quantization,
        enable_prefix_caching=True,
    )  # fmt: skip

    def run(strategy: str, prompts: Sequence[list[int]]) -> None:
        sampling = SamplingParams(temperature=0, **_decoding(strategy, load))
        model.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)

    return _by_prefix(run, _Prompts(load), load)


def vllm_server(folder: Path, load: Load, workers: int) -> Rates:
    """Measure vLLM's server with dummy weights through our transport."""
    from llm.backends.transport import HTTPTransport
    from llm.backends.vllm_server import VLLMOptions, VLLMServer
    from llm.classifier import Problem

    arguments = ("--enable-prefix-caching", "--load-format", "dummy", "--dtype", "bfloat16")
    server = VLLMServer(str(folder), "measured", VLLMOptions(max_model_len=_CONTEXT, arguments=arguments))
    server.start()
    try:
        transport = HTTPTransport(server.base_url, server.api_key, timeout=300.0, retries=2, concurrency=workers)

        def run(strategy: str, prompts: Sequence[list[int]]) -> None:
            fields = {"model": "measured", "temperature": 0, **_decoding(strategy, load)}
            replies = transport.post([fields | {"prompt": prompt} for prompt in prompts], "/completions")
            if problem := next((reply for reply in replies if isinstance(reply, Problem)), None):
                raise RuntimeError(f"the server gave no answer: {problem.detail}")

        return _by_prefix(run, _Prompts(load), load)
    finally:
        server.stop()


def _decoding(strategy: str, load: Load) -> dict[str, Any]:
    if strategy == "label_tokens":
        return {"max_tokens": 1, "logprobs": 5}
    return {"max_tokens": load.written, "ignore_eos": True}


class _Prompts(_Documents):
    """Prompts as token ids."""

    def _part(self, count: int) -> list[int]:
        return self._rng.choices(_TOKENS, k=count)

    def _joined(self, static: list[int], own: list[int]) -> list[int]:
        return static + own
