"""Qwen2-7B's speed on one NVIDIA GPU: labelling against what the device was measured to allow."""

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
from typing import TYPE_CHECKING, Any

import click

from benchmarks.measure import table

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
_BESIDE = ("vllm", "vllm-fp8", "vllm-server")  # in processes of their own, which give the memory back as a whole


@dataclass(frozen=True)
class Setup:
    """What is measured on which device."""

    shape: dict[str, int]
    device: str
    load: Load
    workers: int


@dataclass(frozen=True)
class Throughput:
    """Documents a second of one way, by workload; or why it was not measured."""

    who: str
    rates: Mapping[str, float]
    why_not: str = ""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--documents", default=512, show_default=True, help="Documents of a round.")
@click.option("--batch", default=32, show_default=True, help="Documents that the bare model computes at once.")
@click.option("--static", "static", default=400, show_default=True, help="Tokens that all documents share.")
@click.option("--own", default=200, show_default=True, help="Tokens of each document.")
@click.option("--written", default=12, show_default=True, help="Tokens of a list.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median counts.")
@click.option("--workers", default=256, show_default=True, help="Requests to vLLM's server under way at once.")
@click.option("--smoke", is_flag=True, help="Run the same code with a tiny model on the CPU; the figures mean nothing.")
@click.option("--part", type=click.Choice(_BESIDE), hidden=True)
def main(smoke: bool, part: str | None, workers: int, **counts: int) -> None:
    """Measure documents a second of Qwen2-7B's architecture on one NVIDIA GPU.

    The weights are random, made on the GPU: their speed is that of the true ones, their answers are noise. Measured are
    the bare model (bf16, fp8), the in-process engine and vLLM, each where it is there, beside a roofline from measured
    matrix products and copies.
    """
    setup = _setup(smoke, workers, counts)
    if part:
        click.echo(json.dumps(_beside(part, setup)))
    else:
        click.echo(_report(setup, smoke, _extra_options(workers, counts)))


def _setup(smoke: bool, workers: int, counts: Mapping[str, int]) -> Setup:
    import torch

    from benchmarks.gpu_model import Load

    load = Load(**counts)
    if smoke:
        torch.set_num_threads(1)  # products this small are slower when threads share them
        tiny = replace(load, static=40, own=20, written=3, documents=4, batch=2, rounds=1)
        return Setup(TINY, "cpu", tiny, workers)
    if not torch.cuda.is_available() or not torch.version.cuda:
        raise click.ClickException("this needs an NVIDIA GPU, and there is none; --smoke runs the code without one")
    return Setup(QWEN2_7B, "cuda", load, workers)


def _extra_options(workers: int, counts: Mapping[str, int]) -> list[str]:
    given = {**counts, "workers": workers}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


# --- measuring ---


def _report(setup: Setup, smoke: bool, options: Sequence[str]) -> str:
    from benchmarks.gpu_model import ceilings

    found = ceilings(setup.shape, setup.device, setup.load)
    found8 = _fp8_ceilings(setup)
    rows = [_roof("roofline bf16", setup, found)]
    rows += [_roof("roofline fp8", setup, found8, weight_bytes=1)] if not isinstance(found8, str) else []
    rows.append(_row("transformers, bf16", lambda: _bare(setup, fp8=False)))
    rows.append(_row("transformers, fp8", lambda: _bare(setup, fp8=True)))
    rows.append(_row("llm.backends.local_backend, bf16", lambda: _local(setup)))
    rows += [_row_beside(part, smoke, options) for part in _BESIDE]
    told8 = found8 if isinstance(found8, str) else f"{found8.tflops:,.1f} TFLOP/s"
    words = (
        f"{_machine(setup.device)}; {_versions()}. {setup.load.static} static and {setup.load.own} own tokens a "
        f"document, {setup.load.written} tokens a list, {setup.load.documents} documents a round, "
        f"{setup.load.rounds} rounds, medians. Measured ceilings: bf16 {found.tflops:,.1f} TFLOP/s, fp8 {told8}, copy "
        f"{found.gigabytes:,.0f} GB/s. In brackets: share of the roofline of bf16. The rooflines take batches of "
        f"{setup.load.batch}; vLLM makes larger ones, which may bring its lists above them."
    )
    return f"{words}\n\n{_table(rows)}"


def _fp8_ceilings(setup: Setup) -> Ceilings | str:
    from benchmarks.gpu_model import ceilings

    try:
        return ceilings(setup.shape, setup.device, setup.load, fp8=True)
    except Exception as error:  # which error says "not on this device" differs from version to version
        return _not_measured(error)


def _roof(who: str, setup: Setup, found: Ceilings, weight_bytes: int = 2) -> Throughput:
    from benchmarks.gpu_model import roofline

    roof = roofline(setup.shape, found, setup.load.batch, weight_bytes)
    return Throughput(who, {name: roof.rate(*_parts(name), setup.load) for name in WORKLOADS})


def _bare(setup: Setup, fp8: bool) -> dict[str, float]:
    from benchmarks.gpu_model import Labelling, in_fp8, random_model

    model = random_model(setup.shape, setup.device)
    labelling = Labelling(in_fp8(model) if fp8 else model, setup.device, setup.load)
    return {name: labelling.rate(*_parts(name)) for name in WORKLOADS}


def _local(setup: Setup) -> dict[str, float]:
    if find_spec("llm.backends.local_backend") is None:
        raise ImportError("llm/backends/local_backend.py is not there")
    from benchmarks.gpu_served import local, write_folder

    with tempfile.TemporaryDirectory() as folder:
        return local(write_folder(Path(folder), setup.shape, setup.device), setup.device, setup.load)


def _beside(part: str, setup: Setup) -> dict[str, float]:
    """A part that runs in a process of its own."""
    from benchmarks.gpu_served import vllm_offline, vllm_server, write_folder

    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(Path(name), setup.shape, device=None)
        if part == "vllm-server":
            return vllm_server(folder, setup.load, setup.workers)
        return vllm_offline(folder, setup.load, "fp8" if part == "vllm-fp8" else None)


def _row_beside(part: str, smoke: bool, options: Sequence[str]) -> Throughput:
    def measure() -> dict[str, float]:
        if find_spec("vllm") is None:
            raise ImportError("vllm is not installed")
        if smoke:
            raise RuntimeError("left out of the smoke run")
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError("failed; what it said stands above the table")
        told = [line for line in done.stdout.splitlines() if line.startswith("{")]  # vLLM speaks there too
        rates: dict[str, float] = json.loads(told[-1])
        return rates

    return _row(part, measure)


def _row(who: str, measure: Callable[[], dict[str, float]]) -> Throughput:
    """A row, or why it could not be had: one way that fails leaves the others standing."""
    click.echo(f"{who} ...", err=True)
    try:
        return Throughput(who, measure())
    except Exception as error:
        return Throughput(who, {}, _not_measured(error))
    finally:
        _give_memory_back()


def _give_memory_back() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _not_measured(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return f"not measured: {said if len(said) <= 200 else said[:197] + '...'}"


# --- report ---


def _table(rows: Sequence[Throughput]) -> str:
    roof = rows[0]
    cells = [[row.who, *(_cell(row, name, roof) for name in WORKLOADS)] for row in rows]
    return table(("documents/s", *WORKLOADS), cells)


def _cell(row: Throughput, name: str, roof: Throughput) -> str:
    if row.why_not:
        return row.why_not if name == WORKLOADS[0] else ""
    rate = row.rates[name]
    return f"{rate:,.1f}" if row is roof else f"{rate:,.1f} ({rate / roof.rates[name]:.2f})"


def _parts(name: str) -> tuple[str, bool]:
    strategy, prefix = name.split()
    return strategy, prefix == "warm"


def _machine(device: str) -> str:
    import torch

    if device == "cpu":
        return "CPU (smoke run: the figures mean nothing)"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name()}, driver {driver}, CUDA {torch.version.cuda}"


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "vllm"))


def _version(name: str) -> Any:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
