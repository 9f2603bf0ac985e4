"""A process ends cleanly while daemon threads compute in native libraries."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from similarity.native import NativeCalls

ROOT = Path(__file__).parents[2]
_ENDS_WHILE_BUSY = """
import threading
{prepare}
begun = threading.Event()
def busy():
    while True:
        {compute}
        begun.set()
for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
assert begun.wait(60)
"""
_OPENVINO = "from similarity.encoders.minilm import MiniLM; one = MiniLM(eight_bits=True)"
_TORCH = """
import torch
from similarity.native import native
a = torch.ones(99, 99, requires_grad=True)
@native
def one():
    (a @ a).sum().backward()
"""


@pytest.mark.parametrize(
    ("prepare", "compute"),
    [
        pytest.param(_OPENVINO, "one.encode(['A detective hunts a thief.'])", id="openvino, one text"),
        pytest.param(_OPENVINO, "one.encode(['A detective hunts a thief. ' * 20] * 40)", id="openvino, a batch"),
        pytest.param(_TORCH, "one()", id="torch"),
        pytest.param(
            "from similarity.encoders.tokens import cut", "cut(['A detective hunts. ' * 90] * 99)", id="tokenizers"
        ),
    ],
)
def test_a_process_ends_cleanly_while_daemon_threads_compute(prepare: str, compute: str) -> None:
    script = _ENDS_WHILE_BUSY.format(prepare=prepare, compute=compute)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_computes_in_native_libraries_is_counted() -> None:
    from eval.baselines.transformer import Transformer
    from llm.backends.local_backend import LocalBackend
    from similarity.encoders.minilm import MiniLM, SentenceEncoder
    from similarity.encoders.tokens import cut

    for one in (
        MiniLM.encode,
        SentenceEncoder.encode,
        cut,
        LocalBackend.next_token_logprobs,
        LocalBackend.generate,
        Transformer.probabilities,
    ):
        assert hasattr(one, "__wrapped__"), one


def thread(job: object) -> threading.Thread:
    return threading.Thread(target=job, daemon=True)  # type: ignore[arg-type]


def test_closing_waits_for_calls_under_way() -> None:
    calls, inside, leave, closed = NativeCalls(), threading.Event(), threading.Event(), threading.Event()

    def computes() -> None:
        with calls.one():
            inside.set()
            leave.wait()

    def closes() -> None:
        assert calls.close(60)
        closed.set()

    thread(computes).start()
    assert inside.wait(10)
    thread(closes).start()
    assert not closed.wait(0.05)
    leave.set()
    assert closed.wait(10)


def test_closing_gives_up_on_a_call_that_never_ends() -> None:
    calls = NativeCalls()
    with calls.one():
        assert not calls.close(0.01)


def test_after_closing_daemon_threads_wait_and_others_compute() -> None:
    calls, computed = NativeCalls(), threading.Event()
    assert calls.close(0)

    def computes() -> None:
        with calls.one():
            computed.set()

    thread(computes).start()
    assert not computed.wait(0.05)
    computes()
    assert computed.is_set()
