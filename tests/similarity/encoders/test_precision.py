"""The number format: bfloat16 where the processor multiplies in it and nothing forbids that, else float32."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from marquee.settings import read_settings
from prompts.errors import InvalidSetting
from similarity.encoders import precision
from similarity.encoders.minilm import Torch
from similarity.encoders.precision import autocast, choice, cpu_instructions, number_format, torch_dtype
from similarity.encoders.tokens import weights_folder
from similarity.errors import InvalidPrecision

ROOT = Path(__file__).parents[3]
AVX2 = "fpu sse2 ssse3 sse4_1 sse4_2 avx f16c avx2 bmi2 fma"
ALDER_LAKE = f"{AVX2} avx_vnni"
CASCADE_LAKE = f"{AVX2} avx512f avx512dq avx512bw avx512vl avx512_vnni"
ZEN_4 = f"{CASCADE_LAKE} avx512_bf16"
SAPPHIRE_RAPIDS = f"{ZEN_4} amx_bf16 amx_tile amx_int8"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No choice of an earlier test, and no limit from outside."""
    monkeypatch.setattr(precision, "_process_choice", None)
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def on(processor: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    monkeypatch.setattr(precision, "cpu_instructions", lambda: frozenset(processor.split()))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [("", "float32"), (AVX2, "float32"), (ALDER_LAKE, "float32"), (CASCADE_LAKE, "float32"), (ZEN_4, "bfloat16"),
     (SAPPHIRE_RAPIDS, "bfloat16"), (f"{AVX2} amx_bf16", "bfloat16")],
)  # fmt: skip
def test_bfloat16_is_for_processors_that_multiply_in_it(
    processor: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(processor, monkeypatch)
    assert number_format("cpu") == expected
    assert str(torch_dtype("cpu")) == f"torch.{expected}"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ATEN_CPU_CAPABILITY", "avx2", "float32"),
        ("ATEN_CPU_CAPABILITY", "default", "float32"),
        ("ATEN_CPU_CAPABILITY", "avx512", "bfloat16"),
        ("ATEN_CPU_CAPABILITY", "", "bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "SSE41", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "avx2_vnni_2", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI", "float32"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", "bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", "bfloat16"),
        ("ONEDNN_MAX_CPU_ISA", "DEFAULT", "bfloat16"),
        ("DNNL_MAX_CPU_ISA", "AVX2", "float32"),
    ],
)
def test_limits_of_torch_and_onednn_are_respected(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(SAPPHIRE_RAPIDS, monkeypatch, **{name: value})
    assert number_format("cpu") == expected


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("able", [True, False])
def test_a_gpu_is_judged_by_itself(device: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    on(AVX2 if able else ZEN_4, monkeypatch, ATEN_CPU_CAPABILITY="avx2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    assert number_format(device) == ("bfloat16" if able else "float32")


def test_an_accelerator_that_was_not_measured_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    on(ZEN_4, monkeypatch)
    assert number_format("mps") == "float32"


# --- choices ---


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_the_environment_forces_a_format(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on(AVX2 if chosen == "bfloat16" else ZEN_4, monkeypatch, MARQUEE_PRECISION=chosen)
    assert number_format("cpu") == number_format("mps") == chosen


def test_a_call_s_choice_precedes_the_process_s_and_that_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    on(ZEN_4, monkeypatch, MARQUEE_PRECISION="float32")
    assert (number_format(), number_format(wanted="bf16")) == ("float32", "bfloat16")
    precision.choose("auto")
    assert (number_format(), number_format(wanted="fp32")) == ("bfloat16", "float32")


@pytest.mark.parametrize(
    ("value", "hint"), [("bfloat", "did you mean 'bfloat16'"), ("half", "auto, bfloat16, float32")]
)
def test_a_wrong_value_is_an_error_with_the_choices(value: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_PRECISION", value)
    with pytest.raises(InvalidPrecision, match=f"^MARQUEE_PRECISION is '{value}'.*{hint}"):
        number_format()
    with pytest.raises(InvalidSetting, match=r"MARQUEE_PRECISION.*bfloat16"):
        read_settings()


def test_settings_choose_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    on(ZEN_4, monkeypatch)
    read_settings(precision="float32")
    assert (choice(), number_format()) == ("float32", "float32")
    read_settings()
    assert (choice(), number_format()) == ("auto", "bfloat16")


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_autocast_multiplies_in_the_format(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("MARQUEE_PRECISION", chosen)
    with autocast("cpu"):
        assert str((torch.ones(2, 2) @ torch.ones(2, 2)).dtype) == f"torch.{chosen}"


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_an_encoder_of_sentence_transformers_is_loaded_in_the_format(
    chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_PRECISION", chosen)
    loaded = Torch(weights_folder(), {})
    assert {str(one.dtype) for one in loaded._model.parameters()} == {f"torch.{chosen}"}


# --- where the instructions are read ---


@pytest.mark.parametrize(
    ("machine", "content", "expected"),
    [
        (
            "x86_64",
            f"processor\t: 0\nmodel name\t: X\nflags\t\t: {ZEN_4}\nbugs\t\t: spectre_v1\n\nflags\t: other",
            ZEN_4,
        ),
        ("x86_64", "processor\t: 0\n", ""),
        ("x86_64", None, ""),
        ("aarch64", "Features\t: fp asimd bf16\nflags\t: avx512_bf16\n", ""),
    ],
)
def test_instructions_of_linux(
    machine: str, content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sys.platform", "linux")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert cpu_instructions(tmp_path / "cpuinfo") == frozenset(expected.split())


@pytest.mark.parametrize(("machine", "known"), [("AMD64", {"avx512_bf16", "avx512_vnni"}), ("arm64", set())])
@pytest.mark.parametrize("system", ["win32", "darwin", "freebsd14"])
def test_other_systems_ask_openvino(
    system: str, machine: str, known: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("similarity.encoders.precision.capabilities", lambda: ["BF16", "FP32"])
    assert cpu_instructions(tmp_path) == known


def test_without_openvino_other_systems_ask_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(precision, "find_spec", lambda name: None)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, "cpu_name": "X"})
    assert cpu_instructions(tmp_path) == {"avx2"}


_UNDER_LIMITS = """
from similarity.encoders.minilm import MiniLM
plain, eight = (MiniLM(eight_bits=one).encode(["A detective hunts a thief."]) for one in (False, True))
assert plain.shape == eight.shape == (1, 384), eight.shape
assert (plain * eight).sum() > .99
import torch
from similarity.encoders.tokens import weights_folder
from similarity.encoders.precision import autocast, number_format
assert number_format() == "float32"
with autocast("cpu"):
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
"""


def test_a_process_limited_to_avx2_computes_in_float32() -> None:
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_LIMITS], cwd=ROOT, env=os.environ | limits, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# --- one place decides ---

_DECIDES = {
    "similarity/encoders/precision.py": "the place",
    "benchmarks/gpu_model.py": "measures a GPU's bfloat16, by its name",
    "benchmarks/gpu_served.py": "tells vLLM and the backend the format that is measured",
}
_NAMES = {"bfloat16", "autocast", "get_capabilities", "is_bf16_supported"}


def _sources() -> Iterator[Path]:
    for path in ROOT.glob("*/**/*.py"):
        if path.relative_to(ROOT).parts[0] not in {"tests", "var", ".venv"}:
            yield path


def test_no_other_file_decides_on_a_number_format() -> None:
    for path in _sources():
        if str(path.relative_to(ROOT)) in _DECIDES:
            continue
        attributes = {
            one.attr for one in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(one, ast.Attribute)
        }
        assert not attributes & _NAMES, f"{path} decides on a number format; call similarity.encoders.precision"
