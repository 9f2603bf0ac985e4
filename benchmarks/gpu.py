"""Qwen2-7B's speed on one NVIDIA GPU, against a roofline of the measured limits of the device."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.measure import COMMAND, cpu_path, table

if TYPE_CHECKING:
    from benchmarks.gpu_model import Ceilings, Load

QWEN2_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3_584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
}
TINY = {
    "vocab_size": 2_048,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2_048,
}
WORKLOADS = ("label_tokens warm", "label_tokens cold", "json_list warm", "json_list cold")
_PROCESSES = ("vllm", "vllm-fp8", "vllm-server")  # a process each: its end frees all GPU memory


@dataclass(frozen=True)
class Setup:
    """Model shape, device and load of a measurement."""

    shape: dict[str, int]
    device: str
    load: Load
    workers: int


@dataclass(frozen=True)
class Throughput:
    """Texts per second of a contender by workload, or the reason why it was not measured."""

    name: str
    rates: Mapping[str, float]
    reason: str = ""


@click.command(context_settings=COMMAND)
@click.option("--documents", default=512, show_default=True, help="Texts per round.")
@click.option("--batch", default=32, show_default=True, help="Batch size of the bare model.")
@click.option("--static", "static", default=400, show_default=True, help="Static tokens, which all texts share.")
@click.option("--own", default=200, show_default=True, help="Own tokens of each text.")
@click.option("--written", default=12, show_default=True, help="Generated tokens of a json_list answer.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the report has the median.")
@click.option("--workers", default=256, show_default=True, help="Concurrent requests to vLLM's server.")
@click.option("--smoke", is_flag=True, help="A tiny model on the CPU, to test that the code runs.")
@click.option("--part", type=click.Choice(_PROCESSES), hidden=True)
def main(smoke: bool, part: str | None, workers: int, **counts: int) -> None:
    """Measure texts per second of Qwen2-7B's architecture on one NVIDIA GPU.

    The weights are random: they have the speed of real weights, their answers are noise. Contenders: the bare model
    (bf16, fp8), the in-process backend, and vLLM if installed. The reference is a roofline of measured matrix products
    and copies.
    """
    setup = _setup(smoke, workers, counts)
    options = [word for name, value in {**counts, "workers": workers}.items() for word in (f"--{name}", str(value))]
    click.echo(json.dumps(_in_process(part, setup)) if part else _report(setup, smoke, options))


def _setup(smoke: bool, workers: int, counts: Mapping[str, int]) -> Setup:
    import torch

    from benchmarks.gpu_model import Load

    load = Load(**counts)
    if smoke:
        torch.set_num_threads(1)  # small products are slower with several threads
        tiny = replace(load, static=40, own=20, written=3, documents=4, batch=2, rounds=1)
        return Setup(TINY, "cpu", tiny, workers)
    if not torch.cuda.is_available() or not torch.version.cuda:
        raise click.ClickException("this needs an NVIDIA GPU, and torch finds none; --smoke runs the code on the CPU")
    return Setup(QWEN2_7B, "cuda", load, workers)


# --- measuring ---


def _report(setup: Setup, smoke: bool, options: Sequence[str]) -> str:
    from benchmarks.gpu_model import ceilings

    measured = ceilings(setup.shape, setup.device, setup.load)
    measured8 = _fp8_ceilings(setup)
    rows = [_roof("roofline bf16", setup, measured)]
    rows += [_roof("roofline fp8", setup, measured8, weight_bytes=1)] if not isinstance(measured8, str) else []
    rows.append(_row("transformers, bf16", lambda: _bare(setup, fp8=False)))
    rows.append(_row("transformers, fp8", lambda: _bare(setup, fp8=True)))
    rows.append(_row("llm.backends.local_backend, bf16", lambda: _local(setup)))
    rows += [_process_row(part, smoke, options) for part in _PROCESSES]
    fp8 = measured8 if isinstance(measured8, str) else f"{measured8.tflops:,.1f} TFLOP/s"
    summary = (
        f"{_machine(setup.device)}; {_versions()}. {setup.load.static} static and {setup.load.own} own tokens per "
        f"text, {setup.load.written} tokens per json_list answer, {setup.load.documents} texts per round, "
        f"{setup.load.rounds} rounds, medians. Measured limits: bf16 {measured.tflops:,.1f} TFLOP/s, fp8 {fp8}, copy "
        f"{measured.gigabytes:,.0f} GB/s. In brackets: share of the bf16 roofline. The rooflines assume batches of "
        f"{setup.load.batch}; vLLM's larger batches can exceed them."
    )
    cells = [[row.name, *(_cell(row, name, rows[0]) for name in WORKLOADS)] for row in rows]
    return f"{summary}\n\n{table(('texts/s', *WORKLOADS), cells)}"


def _fp8_ceilings(setup: Setup) -> Ceilings | str:
    from benchmarks.gpu_model import ceilings

    try:
        return ceilings(setup.shape, setup.device, setup.load, fp8=True)
    except Exception as error:  # the error of an unsupported device depends on the version
        return _not_measured(error)


def _roof(name: str, setup: Setup, limits: Ceilings, weight_bytes: int = 2) -> Throughput:
    from benchmarks.gpu_model import roofline

    rates = {name: roofline(setup.shape, limits, setup.load, *_parts(name), weight_bytes) for name in WORKLOADS}
    return Throughput(name, rates)


def _bare(setup: Setup, fp8: bool) -> dict[str, float]:
    from benchmarks.gpu_model import Labelling, in_fp8, random_model

    model = random_model(setup.shape, setup.device)
    labelling = Labelling(in_fp8(model) if fp8 else model, setup.device, setup.load)
    return {name: labelling.rate(*_parts(name)) for name in WORKLOADS}


def _local(setup: Setup) -> dict[str, float]:
    from benchmarks.gpu_served import local, write_folder

    with tempfile.TemporaryDirectory() as folder:
        return local(write_folder(Path(folder), setup.shape, setup.device), setup.device, setup.load)


def _in_process(part: str, setup: Setup) -> dict[str, float]:
    """Measure a contender that has a process of its own."""
    from benchmarks.gpu_served import vllm_offline, vllm_server, write_folder

    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), setup.shape, device=None)
        if part == "vllm-server":
            return vllm_server(folder, setup.load, setup.workers)
        return vllm_offline(folder, setup.load, "fp8" if part == "vllm-fp8" else None)


def _process_row(part: str, smoke: bool, options: Sequence[str]) -> Throughput:
    def measure() -> dict[str, float]:
        if find_spec("vllm") is None:
            raise ImportError("vllm is not installed")
        if smoke:
            raise RuntimeError("not part of the smoke run")
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError("failed; its error output is above the table")
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # vLLM logs there too
        rates: dict[str, float] = json.loads(lines[-1])
        return rates

    return _row(part, measure)


def _row(name: str, measure: Callable[[], dict[str, float]]) -> Throughput:
    """Measure a contender; a failure becomes the reason of its row."""
    click.echo(f"{name} ...", err=True)
    try:
        return Throughput(name, measure())
    except Exception as error:
        return Throughput(name, {}, _not_measured(error))
    finally:
        import torch

        gc.collect()
        torch.cuda.empty_cache()  # no effect without a GPU


def _not_measured(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"not measured: {reason if len(reason) <= 200 else reason[:197] + '...'}"


# --- report ---


def _cell(row: Throughput, name: str, roof: Throughput) -> str:
    if row.reason:
        return row.reason if name == WORKLOADS[0] else ""
    rate = row.rates[name]
    return f"{rate:,.1f}" if row is roof else f"{rate:,.1f} ({rate / roof.rates[name]:.2f})"


def _parts(name: str) -> tuple[str, bool]:
    strategy, prefix = name.split()
    return strategy, prefix == "warm"


def _machine(device: str) -> str:
    import torch

    if device == "cpu":
        return f"Smoke run: the numbers have no meaning. {cpu_path()}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name()}, driver {driver}, CUDA {torch.version.cuda}"


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "vllm"))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
