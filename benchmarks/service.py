"""The service against its limits: the classifier offline, a bare Flask route, and a service as such are mostly written.

All contenders run in one process tree on one machine, in turn, so that the ratios mean something; the seconds do not.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from benchmarks.crowd import asker, send
from benchmarks.measure import spread, table
from benchmarks.texts import Plots, plots
from prompts import registry

if TYPE_CHECKING:
    from llm.classifier import Classifier

ROOT = Path(__file__).parent.parent
CLIENTS = 32
_READY_SECONDS = 300


@dataclass(frozen=True)
class ServicePlan:
    """How much is measured: texts of a round, requests of the hot path, rounds."""

    texts: int
    hot: int
    rounds: int


@dataclass
class ServiceResults:
    """Figures of each round, by what was measured."""

    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, figure: float) -> None:
        """Note a figure."""
        self.figures.setdefault(what, []).append(figure)

    def ratios(self, one: str, other: str) -> list[float]:
        """One over the other, round by round."""
        return [a / b for a, b in zip(self.figures[one], self.figures[other], strict=True)]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), help="Plots: .jsonl, .jsonl.gz or a folder with TMDB's.")
@click.option("--texts", default=512, show_default=True, help="Plots of a round.")
@click.option("--hot", default=3_000, show_default=True, help="Requests of a round to the hot path.")
@click.option("--rounds", default=5, show_default=True, help="Rounds; each contender has one turn in each.")
def main(data: Path | None, texts: int, hot: int, rounds: int) -> None:
    """Measure documents a second of the service against its classifier offline, a bare route and a naive service."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all; similarity/native.py says why
    plan, given = ServicePlan(texts, hot, rounds), plots(data, texts)
    with ExitStack() as servers:
        urls = {name: servers.enter_context(start()) for name, start in SERVERS.items()}
        results = compare(urls, given, plan)
    click.echo(report(results, given, plan))


def compare(urls: dict[str, str], given: Plots, plan: ServicePlan) -> ServiceResults:
    """All rounds; everybody sees each text once a round."""
    from llm.embedded.matcher import matcher

    results, offline = ServiceResults(), matcher()
    texts = list(given.texts)
    offline.classify(texts[:32], registry.taxonomy("tmdb"))
    for number in range(plan.rounds):
        click.echo(f"round {number + 1} of {plan.rounds} ...", err=True)
        results.add("offline", plan.texts / seconds(lambda: offline.classify(texts, registry.taxonomy("tmdb"))))
        results.add("marquee", plan.texts / crowd(urls["marquee"], texts, CLIENTS))
        results.add("naive", plan.texts / crowd(urls["naive"], texts, CLIENTS))
        _latency(results, offline, urls["marquee"], texts[:100])
        for name in ("bare", "remembered"):
            before = processor(urls[name])
            results.add(name, plan.hot / crowd(urls[name], ["The same plot, again and again."] * plan.hot, 8))
            results.add(f"processor, {name}", 1_000 * (processor(urls[name]) - before) / (plan.hot + 8))
        told = ", ".join(f"{what} {found[-1]:.1f}" for what, found in results.figures.items())
        click.echo(f"  {told}", err=True)  # so that a run that is cut short has told something
    results.add("memory", memory(urls["marquee"]))
    return results


def _latency(results: ServiceResults, offline: Classifier, url: str, texts: Sequence[str]) -> None:
    """Median milliseconds of one text after another: the classifier by itself, then through the service."""
    taxonomy, ask = registry.taxonomy("tmdb"), asker(url)
    alone = [seconds(lambda text=text: offline.classify([text], taxonomy)) for text in texts]  # type: ignore[misc]
    served = [seconds(lambda text=text: ask(text)) for text in texts]  # type: ignore[misc]
    results.add("forward pass", 1_000 * median(alone))
    results.add("one client", 1_000 * median(served))


def seconds(act: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def crowd(url: str, texts: Sequence[str], clients: int) -> float:
    """Seconds until all texts, one a request, have their answers."""
    send(url, texts[:clients], clients)
    return seconds(lambda: send(url, texts, clients))


def memory(url: str) -> float:
    """MiB of resident memory of a service's worker, as its metrics' neighbour /proc tells; 0 where there is none."""
    return max(map(_resident, _processes(url)), default=0.0)


def processor(url: str) -> float:
    """Seconds of processor time that a service's processes have taken; other work on the machine changes it little."""
    ticks = 0
    for pid in _processes(url):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes(url: str) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    port = url.rpartition(":")[2]
    return [pid for pid in pids if f"--port\0{port}\0" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + "\0"
    except OSError:
        return ""


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "0")
    return int(kilobytes) / 1_024


# --- the servers ---


@contextmanager
def _process(*command: str, **settings: str) -> Iterator[str]:
    """A server process on a free port; its URL once it answers."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MARQUEE_", "OPENAI_"))}
    quiet = {"MARQUEE_LOG_LEVEL": "warning", "MARQUEE_DRAIN_SECONDS": "0", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=ROOT,
        env=clean | quiet | settings,
        stdout=subprocess.DEVNULL,
    )
    try:
        _await(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    end = time.monotonic() + _READY_SECONDS
    while True:
        try:
            urlopen(f"{url}/healthz", timeout=5).close()
            return
        except (URLError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{url} did not come up") from None
            time.sleep(0.1)


@contextmanager
def _remembering() -> Iterator[str]:
    """Marquee over a model that always says the same, so that all but the first answer are remembered."""
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


def report(results: ServiceResults, given: Plots, plan: ServicePlan) -> str:
    """All that was found, as Markdown."""
    words = (
        f"{given.origin}; {CLIENTS} clients; {plan.rounds} rounds, contenders in turn; medians, least–most in "
        f"brackets. {platform.machine()}, {os.cpu_count()} cores shared by clients and servers, Python "
        f"{platform.python_version()}. Figures of one machine and one run: compare ratios only."
    )
    rows = [
        ["texts/s: the classifier offline, in one batch", spread(results.figures["offline"])],
        [f"texts/s: `POST /classify`, {CLIENTS} clients, one text each", spread(results.figures["marquee"])],
        [f"texts/s: a naive service, {CLIENTS} clients, one text each", spread(results.figures["naive"])],
        ["ms, median: one forward pass", spread(results.figures["forward pass"], 2)],
        ["ms, median: one client of the service", spread(results.figures["one client"], 2)],
        ["requests/s: a bare Flask route, same gunicorn", spread(results.figures["bare"])],
        ["requests/s: a remembered answer", spread(results.figures["remembered"])],
        ["processor ms a request: a bare Flask route", spread(results.figures["processor, bare"], 2)],
        ["processor ms a request: a remembered answer", spread(results.figures["processor, remembered"], 2)],
        ["MiB of memory of a worker", spread(results.figures["memory"], 0)],
    ]
    return "\n\n".join((words, table(("what", "found"), rows), _targets(results)))


def _targets(results: ServiceResults) -> str:
    wanted = (
        ("`/classify` against the classifier offline", results.ratios("marquee", "offline"), 0.7, True),
        ("`/classify` against a naive service", results.ratios("marquee", "naive"), 3.0, True),
        ("one client against one forward pass", results.ratios("one client", "forward pass"), 1.5, False),
        ("a remembered answer against a bare route", results.ratios("remembered", "bare"), 0.5, True),
    )
    rows = [_target(what, median(found), bound, least) for what, found, bound, least in wanted]
    return table(("target", "wanted", "found", ""), rows)


def _target(what: str, found: float, bound: float, least: bool) -> list[str]:
    reached = found >= bound if least else found <= bound
    sign = "≥" if least else "≤"
    return [what, f"{sign} {bound:g} times", f"{found:.2f} times", "reached" if reached else "**not reached**"]


SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "marquee": lambda: _process("main.py", "serve"),
    "naive": lambda: _process("-m", "benchmarks.naive"),
    "bare": lambda: _process("-m", "benchmarks.naive", "--bare"),
    "remembered": _remembering,
}

if __name__ == "__main__":
    main()
