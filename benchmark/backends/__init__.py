"""Inference engines besides torch: a list of them, whether they are installed, and networks compiled by them.

Torch builds, loads and captures a network; an engine compiles the captured graph for one shape of inputs at a time.
Each engine is one file here with two functions, ``compile_program`` and, for exported files, ``open_file``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from benchmark.conditions import TORCH
from benchmark.host import machine
from zoo.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.export import ExportedProgram

# A pass takes the input tensors of the network and returns its outputs. All are float32, contiguous, on the CPU.
Pass = Callable[["Sequence[Tensor]"], "list[Tensor]"]
# Takes (program, its inputs, threads, precision) and returns a pass.
Compile = Callable[["ExportedProgram", "Sequence[Tensor]", int, str], Pass]
# Takes (an ONNX file, or one of ExecuTorch, the shapes of its inputs, threads) and returns a pass.
Open = Callable[["Path", "Sequence[Sequence[int]]", int], Pass]
# A processor needs one of these instruction sets; without them bf16 is only slower.
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Engine:
    """An inference engine. It imports ``packages``; the extra of zoo-bench called ``extra`` installs them."""

    name: str
    packages: tuple[str, ...]
    extra: str
    precisions: tuple[str, ...]
    # The end of the name of a file in int8, and the packages and the extra that write it besides ``packages``.
    int8_file: str = ""
    int8_packages: tuple[str, ...] = ()
    int8_extra: str = ""

    @property
    def compile_program(self) -> Compile:
        """Return the engine's function; its packages must be installed."""
        compile_program: Compile = self._module.compile_program
        return compile_program

    @property
    def open_file(self) -> Open:
        """Return the engine's function that opens an exported file; its packages must be installed."""
        open_file: Open = self._module.open_file
        return open_file

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(f"benchmark.backends.{self.name}")

    @property
    def version(self) -> str:
        """Return the version of the engine's package."""
        return metadata.version(self.name)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("onnxruntime", ("onnxruntime", "onnx", "onnxscript"), "onnx", ("fp32", "int8"), ".onnx"),
        Engine(
            "openvino",
            ("openvino",),
            "openvino",
            ("fp32", "bf16", "int8"),
            ".xml",
            ("nncf", "onnxruntime", "onnx", "onnxscript"),
            "openvino-int8",
        ),
        Engine("executorch", ("executorch", "torchao"), "executorch", ("fp32", "int8"), ".pte"),
    )
}
BACKENDS = (TORCH, *ENGINES)


def check_backend(name: str, precision: str = "fp32") -> None:
    """Raise UserError for a backend that is unknown or not installed, and for a precision that it does not have."""
    if name not in BACKENDS:
        raise UserError(f"--backend {name}: expected one of {', '.join(BACKENDS)}.")
    if name == TORCH:
        return
    engine = ENGINES[name]
    require(engine.packages, engine.extra, f"--backend {name}")
    if precision == "int8":
        require(engine.int8_packages, engine.int8_extra, f"--precision int8 with --backend {name}")
    if precision not in engine.precisions:
        raise UserError(f"--precision {precision}: {name} supports only {' and '.join(engine.precisions)} here.")
    if precision == "bf16" and not has_bf16():
        raise UserError(f"--precision bf16: this processor has no bf16 instructions for {name}; leave the option out.")


def is_installed(name: str) -> bool:
    """Return whether an engine's packages are installed."""
    return all(importlib.util.find_spec(package) is not None for package in ENGINES[name].packages)


def has_bf16() -> bool:
    """Return whether this processor computes in bfloat16; others must convert, which is slower than float32."""
    return bool(_BF16 & set(machine.instruction_sets()))


def require(packages: Sequence[str], extra: str, what: str) -> None:
    """Raise UserError with the command that installs the missing ``packages``, if any are missing."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(
            f"{what} needs {', '.join(missing)}, which is not installed; run: pip install 'zoo-bench[{extra}]'"
        )


def named(name: str) -> str:
    """Return an engine's name with its version, as written in definitions."""
    return f"{name} {ENGINES[name].version}"
