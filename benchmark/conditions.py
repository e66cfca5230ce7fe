"""How a network runs: backend, device, precision, memory format, threads, limits. Part of a record's key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.backends import TORCH, check_backend, named
from benchmark.host import machine
from benchmark.units import MAX_THREADS, size_of
from zoo.errors import UserError, shortened, shown

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
DEVICES = ("cpu", "cuda")
WHOLE = "off"
# "auto" decides by the image, "off" runs it whole; else (height, width) of the tiles in pixels of the planes.
TileSize = Literal["auto", "off"] | tuple[int, int]


def tile_of(text: str) -> TileSize:
    """Return what ``--tile`` says; raises UserError for anything but auto, off and HxW."""
    if text in ("auto", "off"):
        return "auto" if text == "auto" else "off"
    size = size_of(text)
    if size is None:
        raise UserError(f"--tile {shortened(text)}: expected auto, off or HxW, for example 256x256.")
    return size


@dataclass(frozen=True)
class Conditions:
    """How a model runs: these decide the numbers. ``threads`` None: as many as torch uses here.

    ``tile`` is "off", "auto" or HxW; ``approximate`` allows tiles of that size where they are not exact. The limits
    (seconds, bytes) do not decide a number but whether there is one, and what "auto" takes.
    """

    threads: int | None = None
    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    backend: str = TORCH
    tile: str = WHOLE
    approximate: bool = False
    time_limit: float | None = None
    memory_limit: int | None = None

    def check(self) -> None:
        """Raise UserError for a backend, device or precision that is not there, and for limits that mean nothing."""
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}.")
        if self.device not in DEVICES:
            raise UserError(f"--device {self.device}: expected {' or '.join(DEVICES)}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: torch sees no CUDA device here; leave the option out.")
        check_backend(self.backend, self.precision)
        if not self.by_torch and (self.device != "cpu" or self.channels_last):
            unfit = "--channels-last" if self.channels_last else f"--device {self.device}"
            raise UserError(f"{unfit}: --backend {self.backend} runs on the CPU and chooses its own memory format.")
        self._check_tile()
        if self.time_limit is not None and not (math.isfinite(self.time_limit) and self.time_limit > 0):
            raise UserError(f"--time-limit {self.time_limit:g}: expected a number of seconds above 0.")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise UserError(f"--threads {shown(self.threads)}: expected 1 to {MAX_THREADS}.")
        if self.memory_limit is not None and self.memory_limit <= 0:
            raise UserError(f"--memory-limit {self.memory_limit}: expected a number of bytes above 0.")
        if self.memory_limit is not None and not machine.has_process_memory():
            raise UserError("--memory-limit needs /proc, which this system does not have; leave the option out.")

    def _check_tile(self) -> None:
        size = tile_of(self.tile)
        if self.approximate and isinstance(size, str):
            raise UserError("--approximate: tiles that are not exact decide the output; name their size by --tile HxW.")
        if not self.is_tiled:
            return
        if self.device != "cpu":
            raise UserError(f"--device {self.device}: tiles run on the CPU; leave --tile out.")
        if self.channels_last:
            raise UserError("--channels-last: tiles have the memory format that suits them; leave the option out.")
        if self.by_torch and self.precision != "fp32":
            raise UserError(
                f"--precision {self.precision}: tiles by torch run in fp32; name an engine by --backend, or leave"
                " --tile out."
            )

    @property
    def is_tiled(self) -> bool:
        """Whether images may go through in pieces."""
        return self.tile != WHOLE

    @property
    def by_torch(self) -> bool:
        """Whether torch itself runs the network, and not an engine."""
        return self.backend == TORCH

    @property
    def text(self) -> str:
        """What stands in definitions: device, precision, memory format, an engine with its version, tiles."""
        unusual = ["channels last"] if self.channels_last else []
        unusual += [] if self.by_torch else [named(self.backend)]
        unusual += [f"{'approximate ' if self.approximate else ''}tiles {self.tile}"] if self.is_tiled else []
        return ", ".join([self.device, self.precision, *unusual])

    @property
    def is_plain(self) -> bool:
        """Whether a network runs as it is built: by torch, on the CPU, in float32, in the plain memory format."""
        return self.by_torch and (self.device, self.precision, self.channels_last) == ("cpu", "fp32", False)

    def layout(self, tensor: Tensor) -> Tensor:
        """Return planes (N, C, H, W) as the network gets them: device, precision, memory format.

        An engine gets float32, whatever it computes in.
        """
        if not self.by_torch:
            return tensor.to("cpu", torch.float32).contiguous()
        tensor = tensor.to(self.device, PRECISIONS[self.precision])
        return tensor.contiguous(memory_format=torch.channels_last) if self.channels_last else tensor

    def place(self, model: nn.Module) -> nn.Module:
        """Return ``model``, moved and converted in place, or as its engine runs it."""
        if self.is_plain:
            return model
        if not self.by_torch:
            # Its tools for graphs take a second to import: engines only.
            from benchmark.backends.compiled import Compiled

            return Compiled(model, self.backend, precision=self.precision)
        model = model.to(self.device, PRECISIONS[self.precision])
        return model.to(memory_format=torch.channels_last) if self.channels_last else model


class Placed(nn.Module):
    """A network under its conditions that takes and returns float32 planes on the CPU."""

    def __init__(self, model: nn.Module, conditions: Conditions) -> None:
        super().__init__()
        self.model = conditions.place(model)
        self._layout: Callable[[Tensor], Tensor] = conditions.layout

    @property
    def compile_seconds(self) -> float:
        """Return what an engine took so far to compile the network; 0 where torch runs it."""
        return float(getattr(self.model, "compile_seconds", 0.0))

    def forward(self, planes: Tensor) -> Any:
        """Run the network on planes (N, C, H, W)."""
        output = self.model(self._layout(planes))
        return output.to("cpu", torch.float32).contiguous() if isinstance(output, Tensor) else output


class Conditioned:
    """What a process is asked to do: some of its fields have the names of those of ``Conditions``."""

    @property
    def conditions(self) -> Conditions:
        """Return the conditions; what is not among the fields has its default."""
        given = {one.name: getattr(self, one.name) for one in fields(Conditions) if hasattr(self, one.name)}
        return Conditions(**given)
