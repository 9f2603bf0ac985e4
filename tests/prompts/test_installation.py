"""Missing optional dependencies are reported in one line that names the extra."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.group import CommandGroup
from prompts import installation
from prompts.errors import MissingExtra
from prompts.installation import EXTRAS, missing_extra

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_of_the_table_is_one_of_the_package() -> None:
    assert set(EXTRAS.values()) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("flask", "serve", "service"),
        ("openai.types", "classify", "llm"),
        ("opentelemetry.sdk.trace", "serve", "otel"),
        ("pyarrow", "bulk", "parquet"),
        ("sklearn", "evaluate", "eval"),
        ("sklearn", "train", "train"),
    ],
)
def test_a_missing_library_is_one_line_with_the_extra(
    module: str, command: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command(command)
    def needing() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    group = CommandGroup("marquee")
    group.add_section("All", needing)
    monkeypatch.setattr(installation, "INSTALLED", True)
    printed = CliRunner().invoke(group, [command], prog_name="marquee")
    expected = f"`marquee {command}` needs the extra '{extra}': pip install 'marquee[{extra}]'"
    assert (printed.exit_code, printed.output) == (1, f"Error: {expected}\n")


def test_in_the_repository_the_requirements_file_is_named() -> None:
    of_ray, of_flask = (
        missing_extra(ModuleNotFoundError(name=name), "`main.py bulk`") for name in ("ray.data", "flask")
    )
    assert str(of_ray) == "`main.py bulk` needs the extra 'ray': pip install -r requirements-ray.txt"
    assert str(of_flask).endswith("pip install -r requirements.txt")


def test_a_library_of_no_extra_is_no_setting_of_the_user() -> None:
    with pytest.raises(ModuleNotFoundError) as raised:
        missing_extra(ModuleNotFoundError("No module named 'numpy'", name="numpy"), "`main.py classify`")
    assert not isinstance(raised.value, MissingExtra)
