"""``main.py serve --vllm`` with a real vLLM: it starts the server, classifies with it, and stops it."""

from pathlib import Path

import httpx2

from prompts import registry
from tests.engines.vllm_server import ON_THIS_CPU, environment
from tests.support.process import service
from tests.support.tiny_qwen2 import build


def children(pid: int) -> set[int]:
    """All descendants of a process."""
    below = {int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")}
    return below.union(*(children(child) for child in below)) if below else below


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def test_one_command_serves_a_model_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model = build(tmp_path / "tiny-qwen2", context=8192)
    settings = {
        "MARQUEE_VLLM_PYTHON": str(environment()),
        "MARQUEE_VLLM_ARGUMENTS": "--max-num-seqs 8",
        "MARQUEE_PROBE_PATH": str(tmp_path / "probe.json"),
        "MARQUEE_CACHE": "false",
    }
    with service("--vllm", str(model), **settings, **ON_THIS_CPU) as running:
        url = running.url_within(400)
        answer = httpx2.post(f"{url}/classify", json={"text": "A heist in space."}, timeout=60).json()
        assert set(answer["labels"]) <= set(registry.taxonomy("tmdb").names)
        assert answer["model"] == "tiny-qwen2"
        assert httpx2.get(f"{url}/readyz").json() == {"status": "ready", "model": "tiny-qwen2"}
        below = children(running.process.pid)
        assert len(below) >= 3, "our worker, vLLM's server and its backend"
        assert running.stop() == 0
        assert not [pid for pid in below if _words(Path(f"/proc/{pid}/cmdline"))]
    assert "Answers: tiny-qwen2 at http://127.0.0.1:" in running.printed
