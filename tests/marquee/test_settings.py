"""Settings: from where, in what order, and what stops the start."""

import os
import re
from pathlib import Path

import pytest

from marquee.environment import env_file
from marquee.settings import read_settings
from prompts.errors import InvalidSetting

pytestmark = pytest.mark.usefixtures("away")


def test_with_nothing_set_the_embedded_model_answers_on_loopback() -> None:
    settings = read_settings()
    assert not settings.uses_language_model
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 5000, "Qwen/Qwen2-7B-Instruct")


def test_an_endpoint_is_enough_for_the_model_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert read_settings().uses_language_model
    assert not read_settings(classifier="embedded").uses_language_model


def test_a_key_with_a_model_means_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("MARQUEE_MODEL", "gpt-4o-mini")
    settings = read_settings()
    assert settings.uses_language_model
    assert settings.base_url == "https://api.openai.com/v1"


def test_arguments_go_before_the_environment_and_that_before_the_file(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (away / ".env").write_text("MARQUEE_PORT=5001\nMARQUEE_TAXONOMY=imdb\nOTHER=1\n")
    assert (read_settings().port, read_settings().taxonomy) == (5001, "imdb")
    monkeypatch.setenv("MARQUEE_PORT", "5002")
    assert read_settings().port == 5002
    assert read_settings(port=5003).port == 5003
    assert read_settings(port=None).port == 5002


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MARQUEE_TIMEOUT", "soon", 'MARQUEE_TIMEOUT is "soon"; give a number'),
        ("MARQUEE_TIMEOUT", "0", 'MARQUEE_TIMEOUT is "0"; give a number above 0'),
        ("MARQUEE_PORT", "99999", 'MARQUEE_PORT is "99999"; give 65535 or less'),
        ("MARQUEE_CLASSIFIER", "gpt", "there is no classifier 'gpt'"),
        ("MARQUEE_CLASSIFIER", "embeded", "did you mean 'embedded'?"),
        ("MARQUEE_CLASSIFIER", "openai", "needs OPENAI_BASE_URL or OPENAI_API_KEY"),
        ("MARQUEE_MODLE", "x", "MARQUEE_MODLE is no setting; did you mean MARQUEE_MODEL?"),
        ("OPENAI_BASE_URL", "ftp://localhost:8000", "OPENAI_BASE_URL: should be a URL such as"),
        ("OPENAI_API_KEY", "sk-secret", "set MARQUEE_MODEL, or OPENAI_BASE_URL"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_which_and_why(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting) as raised:
        read_settings()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_setting_of_the_test_suite_is_no_misspelt_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_TEST_MODELS", "models")
    assert read_settings().port == 5000


def test_a_misspelt_setting_in_the_file_is_found_too(away: Path) -> None:
    (away / ".env").write_text("MARQUEE_PROT=1\n")
    with pytest.raises(InvalidSetting, match="did you mean MARQUEE_PORT"):
        read_settings()


def test_the_nearest_file_above_the_working_directory_is_read(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, notebooks = away / "project", away / "project" / "notebooks"
    notebooks.mkdir(parents=True)
    monkeypatch.chdir(notebooks)
    (away / ".env").write_text("MARQUEE_PORT=5001\nMARQUEE_TAXONOMY=imdb\n")
    assert read_settings().port == 5001
    (project / ".env").mkdir()  # an environment of Python's
    assert read_settings().port == 5001
    (project / ".env").rmdir()
    (project / ".env").write_text("MARQUEE_PORT=5002\n")
    assert (read_settings().port, read_settings().taxonomy) == (5002, "tmdb")
    (notebooks / ".env").write_text("MARQUEE_PORT=5003\n")
    assert read_settings().port == 5003


def test_an_error_of_a_file_above_the_working_directory_names_its_folder(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (away / "notebooks").mkdir()
    monkeypatch.chdir(away / "notebooks")
    (away / ".env").write_text("MARQUEE_PORT\n")
    with pytest.raises(InvalidSetting, match=re.escape(f"{away}/.env:1 cannot be read")):
        read_settings()


def test_a_file_of_another_user_is_read_in_the_working_directory_only(
    away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (away / "own").mkdir()
    (away / ".env").write_text("MARQUEE_PORT=5001\n")
    of_another = os.stat_result((0o100644, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "lstat", lambda path: of_another)
    assert read_settings().port == 5001
    monkeypatch.chdir(away / "own")
    assert env_file() is None


def test_a_working_directory_that_was_removed_has_no_file(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (away / "gone").mkdir()
    monkeypatch.chdir(away / "gone")
    (away / "gone").rmdir()
    assert env_file() is None


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("MARQUEE_MODEL", "m")
    settings = read_settings()
    assert "sk-secret" not in repr(settings) + str(settings) + settings.model_dump_json()
    monkeypatch.setenv("MARQUEE_PORT", "sk-secret")
    with pytest.raises(InvalidSetting) as raised:
        read_settings()
    assert "sk-secret" not in str(raised.value)
