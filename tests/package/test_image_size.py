"""The size of each layer of the image, estimated from the distributions that it installs, is what the docs say."""

from __future__ import annotations

import re
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.package.test_core_requirements import ROOT, WEIGHTS, core, installed_with, lines_of
from tests.test_packaging import of_dockerfile

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
WITHIN = 0.1  # of the stated size: wheels of other platforms and Python versions differ


def megabytes(names: set[str]) -> float:
    """The unpacked files of distributions, as their wheels list them; a module counts twice, since pip compiles it."""
    files = [file for name in names for file in distribution(name).files or () if file.size]
    return sum((file.size or 0) * (2 if file.suffix == ".py" else 1) for file in files) / 1e6


def stated(layer: str) -> float:
    """The megabytes of a layer in the table of the docs."""
    (size,) = re.findall(rf"^\| {layer} \|.*\| ([\d,]+) MB \|$", PAGE, re.MULTILINE)
    return float(size.replace(",", ""))


def named(file: str) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines_of(file)}


def test_the_libraries_of_the_cpu_target() -> None:
    libraries = installed_with(core() | named("requirements-otel.txt")) | {WEIGHTS}
    assert megabytes(libraries) == pytest.approx(stated("libraries of `cpu`"), rel=WITHIN)


def test_what_the_full_target_adds() -> None:
    if not version("torch").endswith("+cpu"):
        pytest.skip("the docs state the size of a CPU build of torch, and this one is for GPUs")
    added = installed_with(named("requirements.txt")) - installed_with(core() | named("requirements-otel.txt"))
    assert megabytes(added - {WEIGHTS}) == pytest.approx(stated("libraries of `full`"), rel=WITHIN)


def test_the_program() -> None:
    copied = {name for line in of_dockerfile("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert sum(map(_size, copied)) / 1e6 == pytest.approx(stated("program"), rel=0.5)


def _size(name: str) -> int:
    path = ROOT / name
    files = [path] if path.is_file() else [one for one in path.rglob("*") if "__pycache__" not in one.parts]
    return sum(Path(one).stat().st_size for one in files if one.is_file())
