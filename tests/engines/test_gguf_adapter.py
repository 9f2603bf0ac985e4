"""LoRA adapters on a real llama.cpp: converted, added to the model, and with the answers that they have in process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from safetensors.torch import load_file

from llm.backends.backend import Backend
from llm.backends.gguf_adapter import gguf_adapter
from llm.backends.llama_server import LlamaAdapter
from llm.backends.local_backend import LocalBackend
from llm.backends.lora_adapter import WEIGHTS, load_adapter
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from tests.engines.conftest import API_KEY
from tests.engines.llama_server import LlamaServer, environment, to_gguf
from tests.engines.real_models import ModelUnavailable, gguf_file, safetensors_folder
from tests.engines.test_real_model import MODEL, llama_cpp
from tests.llm.backends.test_gguf_adapter import adapter as adapter_folder
from tests.llm.backends.test_gguf_adapter import matrices as random_matrices
from tests.llm.backends.test_lora_adapter import written
from tests.support.bare_model import opinionated
from tests.support.process import service
from tests.support.tiny_qwen2 import tiny_tokenizer

_READER = Path(__file__).with_name("adapter_tensors.py")
_CLOSE = 0.1  # of a log-probability: llama.cpp keeps keys and values in float16
NAMES = ("cooking", "football", "banking")
TEXTS = [
    "Whisk three eggs with sugar and bake the cake for forty minutes.",
    "My credit card was charged twice for the same transfer.",
]
PROMPT = "text.v1"
_NOISE = 0.05  # of a probability: four-bit weights with eight-bit activations on one side; see test_real_model.py


def tiny(kind: str, folder: Path) -> Path:
    """A model of random weights, large enough for every token and its position to count."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    sizes = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "head_dim": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), max_position_embeddings=512, **sizes, **heads)
    make: Any = AutoModelForCausalLM.from_config
    model = make(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return opinionated(folder)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama"])
def test_llama_cpp_computes_what_peft_computes(tmp_path: Path, kind: str) -> None:
    base = tiny(kind, tmp_path / kind)
    model = to_gguf(base)
    folder = written(base, tmp_path / "tuned", base, manifest=False, lora_alpha=20, use_rslora=kind == "qwen3")
    adapter = LlamaAdapter(gguf_adapter(load_adapter(folder), model, tmp_path), "tuned")
    tokens = list(range(40, 80))
    expected, plain = (_logprobs_in_process(base, tokens, one) for one in (folder, None))
    found = _logprobs_of_llama_cpp(model, tokens, adapter)
    assert max(abs(found[token] - value) for token, value in enumerate(expected) if token in found) < _CLOSE
    assert len(found) > 0.9 * len(expected)
    assert max(abs(found[token] - value) for token, value in enumerate(plain) if token in found) > 20 * _CLOSE


def _logprobs_in_process(base: Path, tokens: list[int], adapter: Path | None) -> list[float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logprobs: list[float] = model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1).tolist()
    return logprobs


def _logprobs_of_llama_cpp(model: Path, tokens: list[int], adapter: LlamaAdapter) -> dict[int, float]:
    """The log-probabilities of all tokens after others, by their numbers."""
    server = LlamaServer(model, API_KEY, adapter=adapter)
    server.start()
    try:
        url = f"{server.base_url.removesuffix('/v1')}/completion"
        body = {"prompt": tokens, "n_predict": 1, "n_probs": 10_000, "temperature": 0}
        reply = httpx2.post(url, json=body, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60).json()
    finally:
        server.kill()
    (position,) = reply["completion_probabilities"]
    return {entry["id"]: entry["logprob"] for entry in position["top_logprobs"]}


def test_the_library_reads_the_values_that_peft_wrote(tmp_path: Path) -> None:
    base = tiny("qwen2", tmp_path / "qwen2")
    folder = written(base, tmp_path / "tuned", base, manifest=False)
    out = gguf_adapter(load_adapter(folder), to_gguf(base), tmp_path)
    done = subprocess.run([environment(), _READER, out], capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)
    assert read["values"] == {
        "general.architecture": "qwen2",
        "general.type": "adapter",
        "general.name": "tuned",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    assert read["types"] == ["F32"]
    stored = load_file(folder / WEIGHTS)
    pairs = {"self_attn.k_proj": "attn_k", "self_attn.o_proj": "attn_output", "mlp.down_proj": "ffn_down"}
    for theirs, ours in pairs.items():
        for half in "AB":
            matrix = stored[f"base_model.model.model.layers.1.{theirs}.lora_{half}.weight"]
            assert read["tensors"][f"blk.1.{ours}.weight.lora_{half.lower()}"] == matrix.float().tolist()
    assert len(read["tensors"]) == len(stored) == 2 * 7 * 2


def test_a_real_model_answers_with_its_adapter_as_in_process(tmp_path: Path) -> None:
    try:
        file = gguf_file(MODEL)
    except ModelUnavailable as error:
        pytest.skip(str(error))
    base = safetensors_folder(MODEL)
    folder = _random_adapter(base, tmp_path / "topics")
    name = f"{MODEL.name}+topics@{load_adapter(folder).digest}"
    (package,) = environment().parents[1].glob("lib/python*/site-packages/xllamacpp")
    (tmp_path / "xllamacpp").symlink_to(package)
    stored = {"MARQUEE_CACHE_PATH": str(tmp_path / "answers"), "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json")}
    shape = {"labels": list(NAMES), "multi": False, "prompt": PROMPT, "strategy": "label_tokens", "scores": True}
    with service("--gguf", str(file), "--adapter", str(folder), PYTHONPATH=str(tmp_path), **stored) as running:
        reply = httpx2.post(f"{running.url}/classify", json={"texts": TEXTS, **shape}, timeout=120).json()["results"]
        assert running.stop() == 0
    assert f"Answers: {name} at http://127.0.0.1:" in running.printed
    assert f"The weights of {file} cannot be compared with those of {base};" in running.printed
    assert [answer["model"] for answer in reply] == [name] * len(TEXTS)
    assert [answer.get("problem") for answer in reply] == [None] * len(TEXTS)
    served = [[answer["scores"][label] for label in NAMES] for answer in reply]
    assert _furthest(served, _scores(LocalBackend(str(base), device="cpu", adapter=folder))) < _NOISE
    with llama_cpp() as plain:
        assert _furthest(served, _scores(plain)) > 3 * _NOISE, "the adapter makes no difference"


def _random_adapter(base: Path, folder: Path) -> Path:
    """A folder as peft writes it, without loading the model; larger values would leave no probability for the codes."""
    config = json.loads((base / "config.json").read_text())
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    attention = {
        "q_proj": (hidden, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, hidden),
    }
    feed_forward = {"gate_proj": (mlp, hidden), "up_proj": (mlp, hidden), "down_proj": (hidden, mlp)}
    sizes = {f"self_attn.{part}": size for part, size in attention.items()}
    sizes |= {f"mlp.{part}": size for part, size in feed_forward.items()}
    matrices = random_matrices(sizes, config["num_hidden_layers"])
    scaled = {name: 0.3 / matrix.shape[1] ** 0.5 * matrix for name, matrix in matrices.items()}
    targets = [*attention, *feed_forward]
    return adapter_folder(folder, scaled, base_model_name_or_path=str(base), target_modules=targets, lora_alpha=4)


def _scores(backend: Backend) -> list[list[float]]:
    taxonomy = Taxonomy("own", tuple(Label(name) for name in NAMES), multi=False)
    found = LanguageModel(backend, STRATEGIES["label_tokens"], registry.prompt(PROMPT)).classify(TEXTS, taxonomy)
    return [[one.scores[name] for name in NAMES] for one in found]


def _furthest(one: list[list[float]], other: list[list[float]]) -> float:
    return max(abs(a - b) for some, others in zip(one, other, strict=True) for a, b in zip(some, others, strict=True))
