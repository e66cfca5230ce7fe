"""Check whether this machine can keep conditions, and make a network run under them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.backends import check_backend, named
from benchmark.conditions import ESTIMATE, Calibration, Conditions, Limits
from benchmark.host import machine
from benchmark.units import MAX_THREADS
from zoo.errors import UserError, shown

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
INT8 = "int8"
DEVICES = ("cpu", "cuda")


def check(conditions: Conditions, limits: Limits | None = None) -> None:
    """Raise UserError for a backend, device or precision that is not available, and for limits without meaning."""
    if conditions.precision not in (*PRECISIONS, INT8):
        raise UserError(f"--precision {conditions.precision}: expected one of {', '.join((*PRECISIONS, INT8))}.")
    if conditions.device not in DEVICES:
        raise UserError(f"--device {conditions.device}: expected {' or '.join(DEVICES)}.")
    if conditions.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; leave the option out.")
    if conditions.precision == INT8:
        _check_int8(conditions)
    elif conditions.calibrate is not None:
        raise UserError(f"--calibrate {conditions.calibrate}: only --precision int8 is calibrated; leave it out.")
    _check_kernels(conditions)
    check_backend(conditions.backend, conditions.precision)
    if not conditions.by_torch and (conditions.device != "cpu" or conditions.channels_last):
        unfit = "--channels-last" if conditions.channels_last else f"--device {conditions.device}"
        raise UserError(f"{unfit}: --backend {conditions.backend} runs on the CPU and chooses its own memory format.")
    if conditions.threads is not None and not 1 <= conditions.threads <= MAX_THREADS:
        raise UserError(f"--threads {shown(conditions.threads)}: expected 1 to {MAX_THREADS}.")
    if conditions.sigma == ESTIMATE and find_spec("pywt") is None:
        raise UserError("--sigma estimate: scikit-image needs PyWavelets for it; pip install PyWavelets.")
    _check_tile(conditions)
    _check_limits(limits or Limits())


def _check_int8(conditions: Conditions) -> None:
    if conditions.by_torch:
        raise UserError(
            "--precision int8: torch does not run it here; pass --backend onnxruntime, openvino or executorch."
        )
    if conditions.is_tiled:
        raise UserError("--tile: networks in int8 run whole images here; leave it out.")
    if conditions.calibrate is None:
        raise UserError("--precision int8: nothing gives the ranges; pass --calibrate DATASET or FOLDER.")
    Calibration.of(conditions.calibrate)


def _check_kernels(conditions: Conditions) -> None:
    if not conditions.exact_kernels or (conditions.tile == "auto" and conditions.by_torch):
        return
    own = f"--backend {conditions.backend} has kernels of its own"
    why = "only --tile auto joins kernels" if conditions.by_torch else own
    raise UserError(f"--exact-kernels: {why}; leave it out.")


def _check_tile(conditions: Conditions) -> None:
    if conditions.approximate and isinstance(conditions.tile, str):
        raise UserError("--approximate: the size of such tiles changes the output; name it with --tile HxW.")
    if not conditions.is_tiled:
        return
    if conditions.device != "cpu":
        raise UserError(f"--device {conditions.device}: tiles run on the CPU; leave --tile out.")
    if conditions.channels_last:
        raise UserError("--channels-last: tiles have the memory format that suits them; leave the option out.")
    if conditions.by_torch and conditions.precision != "fp32":
        raise UserError(
            f"--precision {conditions.precision}: torch runs tiles only in fp32; choose an engine with --backend, or"
            " leave --tile out."
        )


def _check_limits(limits: Limits) -> None:
    if limits.seconds is not None and not (math.isfinite(limits.seconds) and limits.seconds > 0):
        raise UserError(f"--time-limit {limits.seconds:g}: expected a number of seconds above 0.")
    if limits.memory_bytes is not None and limits.memory_bytes <= 0:
        raise UserError(f"--memory-limit {limits.memory_bytes}: expected a number of bytes above 0.")
    if limits.memory_bytes is not None and not machine.has_process_memory():
        raise UserError("--memory-limit needs /proc, which this system does not have; leave the limit out.")


def resolved(conditions: Conditions) -> Conditions:
    """Return the conditions; if they name no number of threads, they get the number that torch uses here."""
    return conditions.model_copy(update={"threads": conditions.threads or torch.get_num_threads()})


def described(conditions: Conditions) -> str:
    """Return the text for definitions: device, precision, memory format, an engine with its version, tiles."""
    engine = None if conditions.by_torch else named(conditions.backend)
    joined = ["within 1e-5 of the network's own pass"] if conditions.joins_kernels else []
    return ", ".join(conditions.words(usual=True, engine=engine) + joined)


def layout(planes: Tensor, conditions: Conditions) -> Tensor:
    """Return planes (N, C, H, W) with the device, precision and memory format that the network expects.

    An engine always gets float32, in any precision.
    """
    if not conditions.by_torch:
        return planes.to("cpu", torch.float32).contiguous()
    planes = planes.to(conditions.device, PRECISIONS[conditions.precision])
    return planes.contiguous(memory_format=torch.channels_last) if conditions.channels_last else planes


def place(model: nn.Module, conditions: Conditions, quantized: Path | None = None) -> nn.Module:
    """Return ``model``, moved and converted in place, or wrapped for its engine.

    ``quantized`` is the file that holds it in int8, if the conditions ask for that.
    """
    if conditions.is_plain:
        return model
    if conditions.precision == INT8 and quantized is not None:
        from benchmark.backends.compiled import Quantized

        return Quantized(model, conditions.backend, quantized)
    if not conditions.by_torch:
        # This imports torch's graph tools, which takes a second, so it is done only for engines.
        from benchmark.backends.compiled import Compiled

        return Compiled(model, conditions.backend, precision=conditions.precision)
    model = model.to(conditions.device, PRECISIONS[conditions.precision])
    return model.to(memory_format=torch.channels_last) if conditions.channels_last else model


class Placed(nn.Module):
    """A network under its conditions that takes and returns float32 planes on the CPU."""

    def __init__(self, model: nn.Module, conditions: Conditions, quantized: Path | None = None) -> None:
        super().__init__()
        self.model, self.conditions = place(model, conditions, quantized), conditions

    @property
    def compile_seconds(self) -> float:
        """Return the seconds that an engine has taken so far to compile the network; 0 if torch runs it."""
        return float(getattr(self.model, "compile_seconds", 0.0))

    def forward(self, planes: Tensor) -> Any:
        """Run the network on planes (N, C, H, W)."""
        output = self.model(layout(planes, self.conditions))
        return output.to("cpu", torch.float32).contiguous() if isinstance(output, Tensor) else output
