"""Run by the Python that has vLLM: asks the backend in its own process and writes what came of it, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm.backends.backend import Backend
from llm.backends.vllm_offline import VLLMOffline
from llm.language_model import LanguageModel
from llm.strategies.json_list import JSONList
from llm.strategies.registry import STRATEGIES
from prompts import registry
from prompts.errors import InvalidSetting
from prompts.text import Text

TMDB = registry.taxonomy("tmdb")
SENTIMENT = registry.taxonomy("sentiment")
PLOTS = [f"Plot number {n}: a smith forges a sword, and a dragon comes." for n in range(12)]


def classified(backend: Backend, strategy: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The predictions of a strategy, as JSON takes them."""
    predictions = LanguageModel(backend, STRATEGIES[strategy]).classify(texts, TMDB)
    return [asdict(prediction) for prediction in predictions]


def main(model: str, asked: Path, answers: Path) -> None:
    """Ask about the texts of one JSON file and answer in another; vLLM's processes write to standard output too."""
    texts = json.loads(asked.read_text(encoding="utf-8"))
    backend = VLLMOffline(model, "tiny", max_model_len=8192, max_num_seqs=16)
    found: dict[str, Any] = {"before": backend.check()}
    for strategy in ("json_list", "label_tokens", "yes_no"):
        found[strategy] = classified(backend, strategy, PLOTS)
    found["ugly"] = classified(backend, "json_list", texts)
    prompt = registry.prompt("plot")
    long, short = (prompt.render(Text(text), TMDB) for text in ("字" * 9_000, "A plot."))
    found["long"] = [asdict(one) for one in backend.generate([long, short], JSONList().constraint(TMDB))]
    found["weighed"] = [asdict(one) | {"bounds": []} for one in backend.next_token_logprobs([long, short], ["A", "B"])]
    try:
        backend.next_token_logprobs([short], ["two words"])
    except InvalidSetting as error:
        found["no code"] = str(error)
    found["after"] = backend.check()
    answers.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
