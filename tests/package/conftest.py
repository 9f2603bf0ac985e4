"""The wheel, built once, and an environment outside the repository that has it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: of the environment.
    """

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def marquee(self) -> Path:
        return self.folder / "bin" / "marquee"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its programs: none that shows the repository or sets anything."""
        left_out = ("MARQUEE_", "OPENAI_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return kept | {"HF_HUB_OFFLINE": "1"}

    def run(self, *command: str | Path, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = self.variables | settings
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=150)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel."""
    return _with(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with an editable install of this repository, as ``make notebook`` makes one."""
    folder = tmp_path_factory.mktemp("editable")
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return _with(built, folder / "environment")


def _with(package: Path, folder: Path) -> Environment:
    """An environment with a package that sees the libraries of the present one: nothing is downloaded."""
    found = Environment(folder)
    venv.create(found.folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(found.python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(package)], check=True)
    (site,) = found.folder.glob("lib/python*/site-packages")
    (site / "present.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return found
