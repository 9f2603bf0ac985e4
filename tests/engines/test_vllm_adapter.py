"""An adapter on a real vLLM of ``main.py serve --vllm BASE --adapter DIR``: its scores equal those in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from llm.backends.local_backend import LocalBackend
from llm.backends.lora_adapter import load_adapter
from llm.language_model import LanguageModel
from llm.strategies import STRATEGIES
from prompts import registry
from prompts.taxonomy import Label, Taxonomy
from prompts.template import CODES, LABEL_TOKENS
from prompts.text import Text
from tests.engines.vllm_server import ON_THIS_CPU, environment
from tests.llm.backends.test_lora_adapter import written
from tests.support.bare_model import opinionated
from tests.support.process import service
from tests.support.tiny_qwen2 import build

NAMES = ("War", "Romance", "Horror", "Western", "Music")
TEXTS = ["A baker.", "A heist in space.", "Two outlaws flee across the desert.", "Rain falls on an empty stage."]
TAXONOMY = Taxonomy("own", tuple(Label(name) for name in NAMES), max_labels=5, allow_none=True)
PROMPT = "text.v1"  # random weights: under other words the adapter may make less of a difference
_CODE_LOGIT = 11.0  # added to the codes; the other 2,000 tokens have the logit 0
_CLOSE = 0.03  # bf16 on both sides, another order of sums, and merged weights on one side


def test_serve_puts_the_adapter_on_a_real_vllm_and_it_answers_as_in_this_process(tmp_path: Path) -> None:
    base = _writing_codes(opinionated(build(tmp_path / "tiny-qwen2", context=8192, tied=False)))
    adapter = written(base, tmp_path / "genres", base, manifest=False)
    name = f"tiny-qwen2+genres@{load_adapter(adapter).digest}"
    settings = {
        "MARQUEE_VLLM_PYTHON": str(environment()),
        "MARQUEE_VLLM_ARGUMENTS": "--max-num-seqs 8 --enforce-eager",
        "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json"),
        "MARQUEE_CACHE": "false",
    }
    shape = {"labels": list(NAMES), "multi": True, "allow_none": True}
    body = {"texts": TEXTS, **shape, "prompt": PROMPT, "strategy": "label_tokens", "scores": True}
    with service("--vllm", str(base), "--adapter", str(adapter), **settings, **ON_THIS_CPU) as running:
        url = running.url_within(900)
        served = httpx2.post(f"{url}/classify", json=body, timeout=120).json()["results"]
        assert httpx2.get(f"{url}/readyz").json()["model"] == name
        assert running.stop() == 0
    assert f"Answers: {name} at http://127.0.0.1:" in running.printed
    assert [answer["model"] for answer in served] == [name] * len(TEXTS)
    tuned, plain = (_scores(LocalBackend(str(base), device="cpu", adapter=one)) for one in (adapter, None))
    assert [answer.get("problem") for answer in served] == [None] * len(TEXTS)
    returned = [[answer["scores"][label] for label in NAMES] for answer in served]
    assert _furthest(returned, tuned) < _CLOSE
    assert _furthest(plain, tuned) > 4 * _CLOSE, "the adapter makes no difference, so this test shows nothing"


def _writing_codes(folder: Path) -> Path:
    """Change the weights so that the model answers with a code; with random weights, codes are too improbable."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    codes = [tokenizer.convert_tokens_to_ids(code) for code in (*CODES[: len(NAMES)], LABEL_TOKENS.none_code)]
    tokens = tokenizer.apply_chat_template(_conversation(TEXTS[0]), add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        state = model.model(torch.tensor([tokens])).last_hidden_state[0, -1].float()
        rows = model.get_output_embeddings().weight
        scaled = rows[codes].float() / 2  # at full size, the rounding of bf16 moves scores by up to 0.03
        rows.zero_()  # every other token has the logit 0
        rows[codes] = (scaled + _CODE_LOGIT * state / state.square().sum()).to(rows.dtype)
    model.save_pretrained(folder)
    return folder


def _conversation(text: str) -> list[dict[str, str]]:
    return [dict(message) for message in registry.prompt(PROMPT).render(Text(text), TAXONOMY, LABEL_TOKENS)]


def _scores(backend: LocalBackend) -> list[list[float]]:
    found = LanguageModel(backend, STRATEGIES["label_tokens"], registry.prompt(PROMPT)).classify(TEXTS, TAXONOMY)
    assert [one.problem for one in found] == [None] * len(TEXTS)
    return [[one.scores[name] for name in NAMES] for one in found]


def _furthest(one: list[list[float]], other: list[list[float]]) -> float:
    return max(abs(a - b) for some, others in zip(one, other, strict=True) for a, b in zip(some, others, strict=True))
