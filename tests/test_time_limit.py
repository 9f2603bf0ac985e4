"""A test that does not end is named, and the others go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_HANGS = """
import time
import pytest

@pytest.fixture
def never_ready():
    time.sleep(60)

def test_whose_fixture_hangs(never_ready): pass

def test_that_hangs(): time.sleep(60)

def test_after_them(): pass
"""


def test_every_test_has_a_limit(request: pytest.FixtureRequest) -> None:
    assert 60 <= float(request.config.getini("timeout")) <= 300
    assert "--durations=10" in request.config.getini("addopts")


def test_a_test_that_hangs_is_named_and_the_next_one_runs(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(_HANGS)
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-o", "timeout=0.3"]
    command = [sys.executable, "-m", "pytest", "-p", "pytest_timeout", *settings, str(tmp_path)]
    quick = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=quick, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ERROR test_slow.py::test_whose_fixture_hangs" in done.stdout
    assert "FAILED test_slow.py::test_that_hangs" in done.stdout
    assert done.stdout.count("Timeout") >= 2
    assert "test_after_them" not in done.stdout


@pytest.mark.parametrize(
    ("folder", "mark", "expected"),
    [("engines", "", 1_800), ("service", "soak", 1_800), ("eval", "slow", 1_800), ("service", "", None)],
)
def test_engines_soak_and_slow_tests_get_a_longer_limit(folder: str, mark: str, expected: int | None) -> None:
    from tests.conftest import pytest_collection_modifyitems

    class Item:
        """What the hook reads of a test."""

        path = ROOT / "tests" / folder / "test_one.py"

        def __init__(self) -> None:
            self.marks = {mark: getattr(pytest.mark, mark).mark} if mark else {}

        def get_closest_marker(self, name: str) -> pytest.Mark | None:
            return self.marks.get(name)

        def add_marker(self, marker: pytest.MarkDecorator) -> None:
            self.marks[marker.name] = marker.mark

    item = Item()
    pytest_collection_modifyitems([item])  # type: ignore[list-item]
    found = item.get_closest_marker("timeout")
    assert (found.args[0] if found else None) == expected
