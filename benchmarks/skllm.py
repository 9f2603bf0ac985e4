"""scikit-llm in an environment of its own, labelling the same plots at the same server.

As a script, this file is the worker that runs in that environment: it labels the texts on standard input and prints
seconds and tokens. Hence its imports at the top are of the standard library only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.measure import LabellingRun
    from prompts.taxonomy import Taxonomy
    from prompts.text import Text

VERSION = "1.4.3"
ENVIRONMENT = Path(__file__).parent.parent / "var" / "skllm"
_INSTALL = ["install", f"scikit-llm=={VERSION}"]


def environment() -> Path:
    """Return the Python of an environment with scikit-llm; the first call creates it (0.7 GB)."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(_INSTALL):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-q", *_INSTALL], check=True)
        stamp.write_text(" ".join(_INSTALL))
    return python


def prompt_source() -> str:
    """Return the source file of scikit-llm's prompts."""
    environment()
    (templates,) = ENVIRONMENT.glob("lib/python*/site-packages/skllm/prompts/templates.py")
    return templates.read_text(encoding="utf-8")


class ScikitLLM:
    """Its zero-shot multi-label classifier with our endpoint.

    Args:
        base_url: URL of the endpoint.
        api_key: API key.
        model: name of the served model.
        max_tokens: scikit-llm sets no bound, and a model of random weights would generate to the end of its context;
            the bound is the mean length of our ``json_list`` answers.
    """

    def __init__(self, base_url: str, api_key: str, model: str, max_tokens: int) -> None:
        self._python = environment()
        self._endpoint = {"base_url": base_url, "api_key": api_key, "model": model, "max_tokens": max_tokens}

    def classify(self, texts: Sequence[Text], taxonomy: Taxonomy, workers: int = 1) -> LabellingRun:
        """Label the texts in a worker process; its start and imports are not timed.

        Args:
            texts: the texts.
            taxonomy: the labels.
            workers: scikit-llm's ``num_workers``; 1 is its default.
        """
        from benchmarks.measure import LabellingRun
        from llm.classifier import Usage

        job = self._endpoint | {
            "texts": [text.body for text in texts],
            "labels": list(taxonomy.names),
            "max_labels": taxonomy.max_labels,
            "workers": workers,
        }
        # -P keeps benchmarks/ out of sys.path: its llm.py and skllm.py would shadow packages
        command: list[str | Path] = [self._python, "-P", __file__]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"scikit-llm failed: {done.stderr[-2_000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        return LabellingRun(len(texts), result["wall"], result["cpu"], tuple(Usage(*row) for row in result["usages"]))


# --- the worker ---


def _work() -> None:
    """Label the texts on standard input, then print seconds and tokens as one line of JSON."""
    from skllm.config import SKLLMConfig  # type: ignore[import-not-found,unused-ignore]
    from skllm.models.gpt.classification.zero_shot import (  # type: ignore[import-not-found,unused-ignore]
        MultiLabelZeroShotGPTClassifier,
    )

    job = json.load(sys.stdin)
    SKLLMConfig.set_gpt_url(job["base_url"])
    usages = _bound_and_count(job["max_tokens"])
    classifier = MultiLabelZeroShotGPTClassifier(
        model=f"custom_url::{job['model']}", max_labels=job["max_labels"], key=job["api_key"], org="none"
    )
    classifier.fit(None, [job["labels"]])
    workers = {} if job["workers"] == 1 else {"num_workers": job["workers"]}  # the parameter is deprecated
    wall, cpu = time.perf_counter(), time.process_time()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.predict(job["texts"], **workers)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps(seconds | {"usages": usages}))


def _bound_and_count(max_tokens: int) -> list[list[int]]:
    """Bound and count the generated tokens: scikit-llm does neither."""
    from openai.resources.chat.completions import Completions

    usages: list[list[int]] = []
    plain = Completions.create

    def create(self: Any, **fields: Any) -> Any:
        reply = plain(self, max_tokens=max_tokens, **fields)
        details = reply.usage.prompt_tokens_details
        cached = details.cached_tokens if details else 0
        usages.append([reply.usage.prompt_tokens, cached or 0, reply.usage.completion_tokens])
        return reply

    Completions.create = create  # type: ignore[method-assign]
    return usages


if __name__ == "__main__":
    _work()
