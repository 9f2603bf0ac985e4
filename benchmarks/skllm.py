"""scikit-llm in an environment of its own, labelling the same plots at the same server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import LabellingRun
from llm.classifier import Usage
from prompts.taxonomy import Taxonomy
from prompts.text import Text

VERSION = "1.4.3"
ENVIRONMENT = Path(__file__).parent.parent / "var" / "skllm"
_WORKER = Path(__file__).parent / "skllm_worker.py"
_INSTALL = ["install", f"scikit-llm=={VERSION}"]


def environment() -> Path:
    """Python of an environment with scikit-llm, made at first use (0.7 GB)."""
    python, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(_INSTALL):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-q", *_INSTALL], check=True)
        stamp.write_text(" ".join(_INSTALL))
    return python


def wording() -> str:
    """The prompts of scikit-llm, as its source has them."""
    environment()
    (templates,) = ENVIRONMENT.glob("lib/python*/site-packages/skllm/prompts/templates.py")
    return templates.read_text(encoding="utf-8")


class ScikitLLM:
    """Its zero-shot multi-label classifier, pointed at our server.

    Args:
        base_url: the endpoint's root.
        api_key: its key.
        model: the name under which it serves the model.
        max_tokens: scikit-llm sets no bound of its own, and a model of random weights would go on to the end of its
            context; it is given as many tokens as our ``json_list`` strategy writes.
    """

    def __init__(self, base_url: str, api_key: str, model: str, max_tokens: int) -> None:
        self._python = environment()
        self._asked = {"base_url": base_url, "api_key": api_key, "model": model, "max_tokens": max_tokens}

    def classify(self, texts: Sequence[Text], taxonomy: Taxonomy, workers: int = 1) -> LabellingRun:
        """Label the texts; its start and its imports are not timed.

        Args:
            texts: what to label.
            taxonomy: the labels.
            workers: its ``num_workers``; 1 is its default.
        """
        given = {
            "texts": [text.body for text in texts],
            "labels": list(taxonomy.names),
            "max_labels": taxonomy.max_labels,
            "workers": workers,
        }
        asked = json.dumps(self._asked | given)
        # -P: the worker's own folder is no place to import from; it holds an llm.py and this skllm.py
        done = subprocess.run([self._python, "-P", _WORKER], input=asked, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"scikit-llm failed: {done.stderr[-2_000:]}")
        told = json.loads(done.stdout.splitlines()[-1])
        return LabellingRun(len(texts), told["wall"], told["cpu"], tuple(Usage(*usage) for usage in told["usages"]))
