"""The service against its classifier offline, a bare Flask route, and a naive service.

All contenders alternate on one machine, so that ratios are comparable; absolute seconds are not.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.request import urlopen

import click

from benchmarks import measure
from benchmarks.service_load import client, send
from prompts import registry

if TYPE_CHECKING:
    from llm.classifier import Classifier

ROOT = Path(__file__).parent.parent
CLIENTS = 32
_READY_SECONDS = 300


@dataclass(frozen=True)
class ServicePlan:
    """Size of the measurement: texts per round, requests of identical bodies per round, rounds."""

    texts: int
    hot: int
    rounds: int


@dataclass(frozen=True)
class Placement:
    """Worker processes on so many cores; the clients run on all cores."""

    workers: int
    cores: int

    def __str__(self) -> str:
        return f"workers: {self.workers}, cores: {self.cores}"


@click.command(context_settings=measure.COMMAND)
@measure.DATA_OPTION
@click.option("--texts", default=512, show_default=True, help="Plots per round.")
@click.option("--hot", default=3_000, show_default=True, help="Requests per round with identical bodies.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each contender runs once per round.")
@click.option("--workers", is_flag=True, help="Compare worker processes on one core and on all cores instead.")
def main(data: Path | None, texts: int, hot: int, rounds: int, workers: bool) -> None:
    """Measure texts per second of the service against its classifier offline, a bare route and a naive service."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all; the reason is in similarity/native.py
    plan, given = ServicePlan(texts, hot, rounds), measure.plots(data, texts)
    if workers:
        return click.echo(by_workers(given, plan))
    with ExitStack() as servers:
        urls = {name: servers.enter_context(start()) for name, start in SERVERS.items()}
        results = compare(urls, given, plan)
    return click.echo(report(results, given, plan))


def by_workers(given: measure.Plots, plan: ServicePlan) -> str:
    """Return texts per second of the service with one worker on one core, and with one and several on all cores."""
    cores = len(os.sched_getaffinity(0))
    placements = [Placement(1, 1), Placement(1, cores), Placement(cores, cores)]
    results, texts, names = measure.Rounds(), list(given.texts), [str(one) for one in placements]
    with ExitStack() as servers:
        urls = [servers.enter_context(_pinned(one)) for one in placements]
        for number in range(plan.rounds):
            click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
            for name, url in zip(names, urls, strict=True):
                results.add(name, plan.texts / load_seconds(url, texts, CLIENTS))
        sizes = [sum(memory_of(url)) for url in urls]
    rows = [
        [name, measure.spread(results.values[name]), measure.spread(results.ratios(name, names[0]), 2), f"{size:.0f}"]
        for name, size in zip(names, sizes, strict=True)
    ]
    heads = ("service", "texts/s", "times one worker on one core", "memory of its workers, MiB")
    return f"{_summary(given, plan)}\n\n{measure.table(heads, rows)}"


def compare(urls: dict[str, str], given: measure.Plots, plan: ServicePlan) -> measure.Rounds:
    """Run all rounds; each contender gets each text once per round."""
    from llm.embedded.matcher import matcher

    results, offline = measure.Rounds(), matcher()
    texts = list(given.texts)
    offline.classify(texts[:32], registry.taxonomy("tmdb"))
    for number in range(plan.rounds):
        click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
        results.add("offline", plan.texts / measure.seconds(lambda: offline.classify(texts, registry.taxonomy("tmdb"))))
        results.add("marquee", plan.texts / load_seconds(urls["marquee"], texts, CLIENTS))
        results.add("naive", plan.texts / load_seconds(urls["naive"], texts, CLIENTS))
        _latency(results, offline, urls["marquee"], texts[:100])
        for name in ("bare", "cached"):
            before = cpu_seconds(urls[name])
            results.add(name, plan.hot / load_seconds(urls[name], ["The same plot in each request."] * plan.hot, 8))
            results.add(f"CPU, {name}", 1_000 * (cpu_seconds(urls[name]) - before) / (plan.hot + 8))
        latest = ", ".join(f"{name} {values[-1]:.1f}" for name, values in results.values.items())
        click.echo(f"  {latest}", err=True)  # an interrupted run has printed its rounds
    results.add("memory", memory(urls["marquee"]))
    return results


def _latency(results: measure.Rounds, offline: Classifier, url: str, texts: Sequence[str]) -> None:
    """Add the median milliseconds of sequential texts: the classifier alone, then the service."""
    taxonomy = registry.taxonomy("tmdb")
    alone = [measure.seconds(lambda text=text: offline.classify([text], taxonomy)) for text in texts]  # type: ignore[misc]
    post = client(url)  # not before: the service closes a connection that is idle for some seconds
    served = [measure.seconds(lambda text=text: post(text)) for text in texts]  # type: ignore[misc]
    results.add("forward pass", 1_000 * median(alone))
    results.add("one client", 1_000 * median(served))


def load_seconds(url: str, texts: Sequence[str], clients: int) -> float:
    """Return the seconds until all texts, one per request, have their answers."""
    send(url, texts[:clients], clients)
    return measure.seconds(lambda: send(url, texts, clients))


def memory(url: str) -> float:
    """Return the resident memory of a service's worker in MiB, from /proc; 0 without /proc."""
    return max(memory_of(url), default=0.0)


def memory_of(url: str) -> list[float]:
    """Return the resident memory of a service's processes in MiB, from /proc."""
    lines = [line for pid in _processes(url) for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return [int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS")]


def cpu_seconds(url: str) -> float:
    """Return the CPU seconds of a service's processes; other load on the machine changes them little."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in _processes(url))
    return sum(int(user) + int(system) for user, system in (stat[11:13] for stat in stats)) / os.sysconf("SC_CLK_TCK")


def _processes(url: str) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if f"--port\0{url.rpartition(':')[2]}\0" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + "\0"
    except OSError:
        return ""


# --- the servers ---


@contextmanager
def _process(*command: str, **settings: str) -> Iterator[str]:
    """Run a server process on a free port; yields its URL after the first answer of /healthz."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MARQUEE_", "OPENAI_"))}
    quiet = {"MARQUEE_LOG_LEVEL": "warning", "MARQUEE_DRAIN_SECONDS": "0", "HF_HUB_OFFLINE": "1"}
    arguments = [sys.executable, *command, "--port", str(port)]
    process = subprocess.Popen(arguments, cwd=ROOT, env=clean | quiet | settings, stdout=subprocess.DEVNULL)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + _READY_SECONDS
    try:
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{url}/healthz did not answer within {_READY_SECONDS} s")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str) -> bool:
    with suppress(OSError):
        urlopen(f"{url}/healthz", timeout=5).close()
        return True
    return False


@contextmanager
def _pinned(placement: Placement) -> Iterator[str]:
    """Run Marquee with so many workers on the first cores."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[: placement.cores])  # the server inherits it
    try:
        with _process("main.py", "serve", "--workers", str(placement.workers)) as url:
            os.sched_setaffinity(0, mine)
            yield url
    finally:
        os.sched_setaffinity(0, mine)


@contextmanager
def _cached() -> Iterator[str]:
    """Run Marquee with a scripted endpoint; all answers but the first come from the answer cache."""
    from tests.support.misbehaving import endpoint, says

    with TemporaryDirectory() as folder, endpoint(says('{"labels": ["War"]}')) as model:
        settings = {
            "OPENAI_BASE_URL": model.url,
            "MARQUEE_STRATEGY": "json_list",
            "MARQUEE_CACHE_PATH": f"{folder}/cache",
            "MARQUEE_PROBE_PATH": f"{folder}/probe",
        }
        with _process("main.py", "serve", **settings) as url:
            yield url


_QUANTITIES = (  # title, name and decimals
    ("texts/s: the classifier offline, in one batch", "offline", 1),
    (f"texts/s: `POST /classify`, {CLIENTS} clients, one text per request", "marquee", 1),
    (f"texts/s: a naive service, {CLIENTS} clients, one text per request", "naive", 1),
    ("ms, median: one text, the classifier offline", "forward pass", 2),
    ("ms, median: one text, one client of the service", "one client", 2),
    ("requests/s: a bare Flask route, same gunicorn", "bare", 1),
    ("requests/s: a cached answer", "cached", 1),
    ("CPU ms per request: a bare Flask route", "CPU, bare", 2),
    ("CPU ms per request: a cached answer", "CPU, cached", 2),
    ("memory of a worker, MiB", "memory", 0),
)
_TARGETS = (  # title, measurement and its reference, target, and whether the target is an upper bound
    ("`/classify` against the classifier offline", "marquee", "offline", 0.8, False),
    ("`/classify` against a naive service", "marquee", "naive", 3, False),
    ("one client against one forward pass", "one client", "forward pass", 1.5, True),
    ("a cached answer against a bare route", "cached", "bare", 0.5, False),
)


def report(results: measure.Rounds, given: measure.Plots, plan: ServicePlan) -> str:
    """Return the report as Markdown."""
    rows = [[title, measure.spread(results.values[name], digits)] for title, name, digits in _QUANTITIES]
    targets = [
        measure.target(title, results.ratio(name, other), bound, "times", most=most)
        for title, name, other, bound, most in _TARGETS
    ]
    parts = (_summary(given, plan), measure.table(("quantity", "measured"), rows), measure.target_table(targets))
    return "\n\n".join(parts)


def _summary(given: measure.Plots, plan: ServicePlan) -> str:
    return (
        f"{given.origin}; {CLIENTS} clients; {plan.rounds} rounds, contenders alternate; medians, minimum–maximum in "
        f"brackets. Clients and servers share the cores. Compare ratios only: one machine, one run. "
        f"{measure.cpu_path()}"
    )


SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "marquee": lambda: _process("main.py", "serve"),
    "naive": lambda: _process("-m", "benchmarks.service_load"),
    "bare": lambda: _process("-m", "benchmarks.service_load", "--bare"),
    "cached": _cached,
}

if __name__ == "__main__":
    main()
