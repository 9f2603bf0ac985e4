"""`classify` imports and loads no more than its answer needs; seconds of a process are mostly imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLOT = "A smith forges a magic sword to free her kingdom."
NEEDLESS = {
    "asyncio", "eval.run", "flask", "html.entities", "httpx2", "jinja2", "llm.backends.backend",
    "llm.backends.capability_checks", "llm.backends.concurrency", "llm.backends.openai_compatible",
    "llm.language_model", "llm.strategies", "llm.wrappers.admission", "llm.wrappers.cache", "llm.wrappers.combined",
    "llm.wrappers.fusion", "numpy.ma", "openai", "opentelemetry", "openvino.tools.ovc.convert", "pandas",
    "safetensors.numpy", "sentence_transformers", "similarity.micro_batching", "sklearn", "sqlite3", "ssl", "torch",
    "transformers",
}  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "needed"), [({}, set()), ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, {"httpx2"})], ids=["", "llm"]
)
def test_what_an_answer_does_not_need_is_not_imported(endpoint: dict[str, str], needed: set[str]) -> None:
    script = f"import json, sys, main; main.main(['classify', {PLOT!r}], standalone_mode=False)"
    script = f"try:\n {script}\nexcept Exception as error: print(error)\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, **endpoint}
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment)
    loaded = set(json.loads(printed.stdout.splitlines()[-1]))
    assert needed <= loaded, printed.stderr
    assert endpoint or printed.stdout.startswith("Adventure, Fantasy"), printed.stderr
    assert endpoint or sorted(loaded & NEEDLESS) == []
