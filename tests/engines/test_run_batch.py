"""Batch files with ``vllm run-batch``: requests written without a server, answers of vLLM, labels from its results."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.backends.vllm_server import FLAGS
from main import main
from prompts import registry
from tests.engines.vllm_server import MODEL_NAME, ON_THIS_CPU, environment
from tests.support.process import ROOT
from tests.support.tiny_qwen2 import build

TMDB = registry.taxonomy("tmdb")
PLOTS = [f"Plot number {n}: a smith forges a sword, and a dragon comes." for n in range(6)]


def bulk(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, ["bulk", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, requests for two strategies in one file, and vLLM's results; loading it takes a minute."""
    folder = tmp_path_factory.mktemp("batch")
    rows = [{"id": n, "plot": plot} for n, plot in enumerate([*PLOTS, PLOTS[0], "字" * 9_000])]
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for strategy in ("json_list", "yes_no"):
        bulk(folder / "films.jsonl", "--batch-file", folder / f"{strategy}.jsonl", "--system", f"llm:{strategy}")
    both = (folder / "json_list.jsonl").read_text() + (folder / "yes_no.jsonl").read_text()
    (folder / "requests.jsonl").write_text(both)
    # The module of `vllm run-batch`: the command does not find the CPU build, whose package name differs.
    command: list[str | Path] = [environment(), "-m", "vllm.entrypoints.openai.run_batch"]
    command += ["-i", folder / "requests.jsonl", "-o", folder / "results.jsonl", "--model", build(folder / "model")]
    command += ["--served-model-name", MODEL_NAME, "--max-model-len", "8192", "--enforce-eager", *FLAGS]
    settings = os.environ | ON_THIS_CPU | {"PYTHONPATH": str(ROOT), "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("strategy", ["json_list", "yes_no"])
def test_vllm_takes_the_requests_and_its_results_become_labels(folder: Path, strategy: str) -> None:
    out = folder / f"{strategy}.out.jsonl"
    arguments: list[str | Path] = [
        "--out",
        out,
        "--system",
        f"llm:{strategy}",
        "--read-results",
        folder / "results.jsonl",
    ]
    failed = 1 if strategy == "json_list" else 8
    assert f"8 rows, 7 different texts, {failed} rows with a problem" in bulk(folder / "films.jsonl", *arguments)
    *labelled, too_long = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(labelled) == 7
    assert too_long["problem"].startswith("too_long")
    for row in labelled:
        if strategy == "yes_no":  # with random weights, Yes and No have no more probability than other tokens
            assert re.match(r"unreadable: .*possible answers \(Yes, No\) have \d+\.\d% of", row["problem"]), row
            continue
        assert row["problem"] is None
        assert set(row["labels"]) <= set(TMDB.names)
        assert 1 <= len(row["labels"]) <= TMDB.max_labels
        assert MODEL_NAME in row["source"]
    assert labelled[0]["labels"] == labelled[6]["labels"]
    assert labelled[0]["scores"] is None
