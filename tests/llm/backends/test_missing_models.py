"""A model that cannot be loaded is named before anything is started."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm.backends.missing_models import why_missing
from main import main
from prompts.errors import InvalidSetting


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nothing", "there is no model folder ./nothing"),
        ("/no/such/place", "there is no model folder /no/such/place"),
        ("BADNAME", "is no folder here and not in the hub's cache"),
        ("Qwen/Qwen2-7B-Instrct", "is no folder here and not in the hub's cache"),
        ("a/b/c", "is neither a folder nor a name on the hub"),
        ("bad name!", "is neither a folder nor a name on the hub"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(model: str, words: str) -> None:
    found = why_missing(model)
    assert words in found
    assert "\n" not in found


def test_a_folder_without_a_model_and_one_of_a_similar_name_are_named(tmp_path: Path) -> None:
    (tmp_path / "qwen2-tiny").mkdir()
    assert "config.json is missing" in why_missing(str(tmp_path / "qwen2-tiny"))
    assert f"did you mean {tmp_path / 'qwen2-tiny'}?" in why_missing(str(tmp_path / "qwen2-tyni"))
    (tmp_path / "qwen2-tiny" / "config.json").write_text("{}")
    assert not why_missing(str(tmp_path / "qwen2-tiny"))


def test_another_program_may_keep_models_elsewhere() -> None:
    assert not why_missing("org/model", strict=False)
    assert why_missing("BADNAME", strict=False)


@pytest.mark.parametrize(("offline", "lines"), [(False, 1), (True, 0)])
def test_a_download_is_announced(
    offline: bool, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    from llm.backends.causal_lm_loading import load

    def refuse(model: str) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    with pytest.raises(InvalidSetting, match="no network here"):
        load("org/model", "cpu")
    said = [record.getMessage() for record in caplog.records if "downloading org/model" in record.getMessage()]
    assert len(said) == lines


@pytest.mark.parametrize("way", ["--local", "--vllm"])
@pytest.mark.parametrize("model", ["BADNAME", "./nothing", "bad name!"])
def test_serve_ends_at_once_with_one_line(way: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process is the tests' own
    result = CliRunner().invoke(main, ["serve", "--port", "0", way, model])
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert model in result.stderr
