"""The number format in which networks are computed: bfloat16 where the processor multiplies in it, else float32.

Every path through torch or OpenVINO calls this module; no other file decides. Where a processor lacks the instructions,
bfloat16 is emulated: 0.9 GFLOP/s against 57 in float32 were measured on two cores with AVX2.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from similarity.errors import InvalidPrecision

if TYPE_CHECKING:
    import torch

NumberFormat = Literal["bfloat16", "float32"]

SETTING = "MARQUEE_PRECISION"
CHOICES = ("auto", "bfloat16", "float32")
_TRAINER_NAMES = {"bf16": "bfloat16", "fp32": "float32"}  # of transformers' Trainer and of `train --precision`
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})  # as Linux names them in /proc/cpuinfo, and torch in its own list
# Values of ONEDNN_MAX_CPU_ISA in rising order, and what each adds; values beyond them forbid nothing that matters here.
_ONEDNN_ADDS = {
    "SSE41": "sse4_1", "AVX": "avx", "AVX2": "avx2", "AVX2_VNNI": "avx_vnni", "AVX2_VNNI_2": "avx_ne_convert",
    "AVX512_CORE": "avx512f", "AVX512_CORE_VNNI": "avx512_vnni", "AVX512_CORE_BF16": "avx512_bf16",
    "AVX10_1_512": "avx512_fp16", "AVX512_CORE_FP16": "avx512_fp16",
}  # fmt: skip
_FAST = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_ATEN_LOW = frozenset({"default", "avx2"})  # values of ATEN_CPU_CAPABILITY below AVX-512
_X86 = frozenset({"x86_64", "amd64", "i386", "i686", "x86"})
_process_choice: str | None = None


def choose(value: str) -> None:
    """Set the choice of this process, one of ``CHOICES``; it replaces ``MARQUEE_PRECISION``.

    Raises:
        InvalidPrecision: it is none of them.
    """
    global _process_choice
    _process_choice = _checked(value, "precision")


def choice() -> str:
    """Return the choice of this process: what ``choose`` set, else ``MARQUEE_PRECISION``, else ``auto``.

    Raises:
        InvalidPrecision: the environment variable has another value.
    """
    if _process_choice is not None:
        return _process_choice
    return _checked(os.environ.get(SETTING) or "auto", SETTING)


def number_format(device: str = "cpu", wanted: str = "auto") -> NumberFormat:
    """Return the format to compute in on a device, which torch names ``cpu``, ``cuda``, ``cuda:1``.

    Args:
        device: the device.
        wanted: the choice for this call; ``auto`` takes the process's. The names of transformers' Trainer, ``bf16``
            and ``fp32``, are read too.

    Raises:
        InvalidPrecision: a choice is none of ``CHOICES``.
    """
    found = _checked(_TRAINER_NAMES.get(wanted, wanted), "precision")
    found = choice() if found == "auto" else found
    if found != "auto":
        return cast(NumberFormat, found)
    return "bfloat16" if _multiplies_in_bfloat16(device) else "float32"


def torch_dtype(device: str = "cpu", wanted: str = "auto") -> torch.dtype:
    """Return ``number_format`` as torch's dtype."""
    import torch

    return cast("torch.dtype", getattr(torch, number_format(device, wanted)))


def autocast(device: str = "cpu") -> AbstractContextManager[object]:
    """Return torch's autocast to bfloat16, without effect where ``number_format`` is float32."""
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=number_format(device) == "bfloat16")


def default_device() -> str:
    """Return torch's name of the device to compute on: ``cuda`` where there is a GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def cpu_computes_with(instruction: str) -> bool:
    """Return whether the CPU has an instruction set, such as ``avx512_vnni``, that no environment variable forbids.

    ``ATEN_CPU_CAPABILITY`` (PyTorch, ``ATen/native/DispatchStub.cpp``) and ``ONEDNN_MAX_CPU_ISA``, of old
    ``DNNL_MAX_CPU_ISA`` (oneDNN, "CPU Dispatcher Control"), limit this program as a whole: torch computes with both
    libraries, and OpenVINO with oneDNN.
    """
    return instruction in cpu_instructions() and not _forbidden(instruction)


def described() -> str:
    """Return the number format of the CPU and the instruction sets that decide on speed, for reports."""
    found = [one for one in _FAST if cpu_computes_with(one)]
    return f"{number_format()} on a CPU with {', '.join(found) or 'no AVX2'}"


def _checked(value: str, name: str) -> str:
    if value not in CHOICES:
        raise InvalidPrecision(name, value, CHOICES)
    return value


def _forbidden(instruction: str) -> bool:
    most = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    levels = list(_ONEDNN_ADDS)
    if most in levels and instruction not in [_ONEDNN_ADDS[level] for level in levels[: levels.index(most) + 1]]:
        return True
    limit = os.environ.get("ATEN_CPU_CAPABILITY", "").lower()
    return instruction.startswith(("avx512", "amx")) and limit in _ATEN_LOW


def _multiplies_in_bfloat16(device: str) -> bool:
    if device.partition(":")[0] == "cuda":
        import torch

        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":  # other accelerators were not measured
        return False
    return any(map(cpu_computes_with, _BFLOAT16))


@cache
def cpu_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets of an x86 processor, named as in Linux's ``/proc/cpuinfo``; of others, none.

    Linux's file is read in a millisecond and needs no library. torch takes seconds to import, and the capabilities that
    OpenVINO reports ignore ``ONEDNN_MAX_CPU_ISA``. Other systems have no such file: OpenVINO is called there, or torch.
    """
    if platform.machine().lower() not in _X86:  # bfloat16 was not measured on others
        return frozenset()
    return _flags(cpuinfo) if sys.platform.startswith("linux") else _reported()


def _flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    return next((frozenset(flags.split()) for name, _, flags in fields if name.strip() == "flags"), frozenset())


def _reported() -> frozenset[str]:
    if find_spec("openvino"):
        return frozenset({"avx512_bf16", "avx512_vnni"} if "BF16" in capabilities() else ())
    import torch

    return frozenset(name for name, value in torch.cpu.get_capabilities().items() if value is True)


def openvino() -> Any:
    """Return the library. Its telemetry would report every import to a server; it works without."""
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino as library

    return library


def capabilities() -> list[str]:
    """Return the number formats that OpenVINO computes in on this processor, whatever the environment forbids."""
    found: list[str] = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def gains_from_eight_bits() -> bool:
    """Return whether eight bits are faster here, and the number format is not set to another one.

    With ``avx512_vnni``, eight bits gave 2.2 times the texts a second of float32 and 1.4 times those of bfloat16 (one
    core, texts of 104 tokens). With AVX2 alone OpenVINO multiplies in float32 anyway and gave 0.94 times the texts
    (38.9 against 41.4 a second; the CPUID bits of AVX-512 were hidden from it). AVX-VNNI was not measured. Under
    ``ONEDNN_MAX_CPU_ISA=AVX2`` oneDNN has no kernel for what OpenVINO plans, and the vectors are wrong.
    """
    return choice() == "auto" and cpu_computes_with("avx512_vnni")


def openvino_format() -> dict[str, str]:
    """Return OpenVINO's property for the number format; without one, on processors other than x86, OpenVINO chooses."""
    if choice() == "auto" and not cpu_instructions():
        return {}
    multiplies = any(map(cpu_computes_with, _BFLOAT16)) and "BF16" in capabilities()
    return {"INFERENCE_PRECISION_HINT": "bf16" if multiplies and number_format() == "bfloat16" else "f32"}
