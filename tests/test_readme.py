"""The README tells the truth: its Python runs, its settings and fields exist, and no field is left out."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marquee.settings import Settings, environment_name
from service.schemas.classify import ClassifyAnswer, ClassifyRequest
from service.schemas.routes import SimilarAnswer, SimilarRequest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_lines_run_as_they_stand() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    printed = subprocess.run([sys.executable, "-c", code[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Western" in printed.stdout


def test_every_setting_that_is_named_exists_and_the_table_leads_to_all() -> None:
    named = set(re.findall(r"\b((?:MARQUEE|OPENAI)_[A-Z_]+)\b", README))
    assert named <= {environment_name(field) for field in Settings.model_fields}
    assert "(docs/configuration.md)" in README


def test_every_field_of_a_request_and_an_answer_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", README))
    assert ClassifyRequest.model_fields.keys() <= told
    assert ClassifyAnswer.model_fields.keys() <= told
    assert SimilarRequest.model_fields.keys() | SimilarAnswer.model_fields.keys() <= told


def test_the_answer_shown_has_the_fields_of_an_answer() -> None:
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert shown
    assert json.loads(shown[1]).keys() <= ClassifyAnswer.model_fields.keys()


def test_every_package_has_a_paragraph_on_the_page_about_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert "(docs/architecture.md)" in README
    for package in {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}:
        assert f"### `{package}/`" in page, package


@pytest.mark.usefixtures("away")
def test_the_readmes_option_serves_other_addresses_and_the_error_names_it() -> None:
    from marquee.settings import read_settings
    from prompts.errors import InvalidSetting
    from service.access_control import access_control_of

    assert "HOST=0.0.0.0 OPEN=1" in README
    assert "keys add NAME" in README
    assert "$(if $(OPEN),--allow-anonymous)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    with pytest.raises(InvalidSetting, match=r"keys add NAME.*--allow-anonymous"):
        access_control_of(read_settings(host="0.0.0.0"))
    assert not access_control_of(read_settings(host="0.0.0.0", allow_anonymous=True)).needs_key
