"""A network that an engine runs: it is called like the network and compiled once for each shape of its inputs."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.backends import ENGINES, Pass
from benchmark.backends.capture import capture
from benchmark.host import machine
from zoo.errors import EngineError, UserError, in_one_line

# The compiled forms of this many shapes are kept: the tiles of an image have at most nine sizes.
KEPT_SHAPES = 12
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Cost:
    """The cost to compile for one shape: seconds, and the bytes left resident (None: the system does not report it)."""

    seconds: float
    resident_bytes: int | None


class Compiled(nn.Module):
    """A network that an engine runs: it takes float32 tensors on the CPU and returns the network's output for them.

    Compiles when it is first called with inputs of new shapes; the latest ``KEPT_SHAPES`` are kept. Calls from several
    threads must not overlap. Raises EngineError if the engine cannot run the network.
    """

    def __init__(self, network: nn.Module, engine: str, *, precision: str = "fp32", threads: int | None = None) -> None:
        """``threads`` None: as many as torch uses when a shape is compiled."""
        super().__init__()
        self.network = network.eval()
        self.engine, self.precision, self.threads = ENGINES[engine], precision, threads
        self.compile_seconds = 0.0
        self._passes: OrderedDict[Shapes, tuple[Pass, Callable[[list[Tensor]], Any]]] = OrderedDict()

    def forward(self, *inputs: Tensor) -> Any:
        """Run one pass; the output has its own memory."""
        tensors = [tensor.detach().to("cpu", torch.float32).contiguous() for tensor in inputs]
        self.prepare(*tensors)
        run, shaped = self._passes[_shapes(tensors)]
        try:
            return shaped(run(tensors))
        except (MemoryError, UserError):
            raise
        except Exception as error:
            raise EngineError(f"{self.engine.name} failed: {in_one_line(error, 300)}") from error

    def prepare(self, *inputs: Tensor) -> Cost | None:
        """Compile for the shapes of ``inputs``; return the cost, or None if they were already compiled."""
        key = _shapes(inputs)
        if key in self._passes:
            self._passes.move_to_end(key)
            return None
        while len(self._passes) >= KEPT_SHAPES:
            self._passes.popitem(last=False)
        before, begin = machine.settled_resident_bytes(), time.perf_counter()
        self._passes[key] = self._compile(inputs)
        seconds = time.perf_counter() - begin
        self.compile_seconds += seconds
        return Cost(seconds, machine.growth(before, machine.settled_resident_bytes()))

    def _compile(self, inputs: Sequence[Tensor]) -> tuple[Pass, Callable[[list[Tensor]], Any]]:
        program = capture(self.network, inputs)
        threads = self.threads or torch.get_num_threads()
        run = self.engine.compile_program(program, inputs, threads, self.precision)
        return run, itemgetter(0) if program.call_spec.out_spec.is_leaf() else tuple


class Quantized(Compiled):
    """A network in int8, which an engine reads from a file of ONNX or ExecuTorch: see ``Compiled``."""

    def __init__(self, network: nn.Module, engine: str, file: Path, *, threads: int | None = None) -> None:
        super().__init__(network, engine, precision="int8", threads=threads)
        self.file = file

    def _compile(self, inputs: Sequence[Tensor]) -> tuple[Pass, Callable[[list[Tensor]], Any]]:
        threads = self.threads or torch.get_num_threads()
        if self.engine.name == "executorch":
            from benchmark.backends.pt2e import open_int8

            return open_int8(self.network, self.file, inputs[0], threads), itemgetter(0)
        return self.engine.open_file(self.file, [list(tensor.shape) for tensor in inputs], threads), itemgetter(0)


def _shapes(tensors: Sequence[Tensor]) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors)
