"""An ONNX file with int8 weights and activations: quantise and dequantise pairs (QDQ) around its operations."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from benchmark.backends.onnxruntime import session_of
from benchmark.running.quantizing.method import Method
from zoo.errors import EngineError, UserError, in_one_line

# Operations whose time int8 is for; where they stay in float, the user should know it.
HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, planes: Iterable[Tensor]) -> None:
        self._next = ({name: one.numpy()} for one in planes)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._next, None)


def write_int8(
    source: Path, target: Path, planes: Iterable[Tensor], method: Method, in_float: Sequence[str] = ()
) -> None:
    """Write ``source`` (an ONNX file in float32 with the input "planes") in int8, with ranges from ``planes``.

    Weights are symmetric, one scale for each output channel; activations have one scale and one zero point for each
    tensor. The operations named ``in_float`` (ONNX's names, such as Gemm) stay in float32, and so do convolutions whose
    filters the network computes: one scale for all of these filters would lose more than all other convolutions.
    Raises EngineError if ONNX Runtime cannot quantise the network.
    """
    extra: dict[str, Any] = {}
    how = CalibrationMethod.MinMax
    if method.percentile is not None:
        how, extra = CalibrationMethod.Percentile, {"CalibPercentile": method.percentile}
    # Its progress is printed, and its advice on preparing the file does not fit here.
    with contextlib.redirect_stdout(io.StringIO()), _quiet():
        try:
            quantize_static(
                str(source),
                str(target),
                _Reader("planes", planes),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=how,
                nodes_to_exclude=_kept(source, in_float),
                extra_options=extra,
            )
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot quantise the network: {in_one_line(error, 300)}") from error


@contextlib.contextmanager
def _quiet() -> Any:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _kept(file: Path, in_float: Sequence[str]) -> list[str]:
    """Return the nodes that stay in float32."""
    graph = onnx.load(str(file), load_external_data=False).graph
    stored = {one.name for one in graph.initializer}
    computed = [node for node in graph.node if node.op_type in HEAVY[:2] and node.input[1] not in stored]
    return [node.name for node in (*computed, *graph.node) if node in computed or node.op_type in in_float]


def operations_of(file: Path) -> list[str]:
    """Return the names of the operations that an int8 file quantises, the heavy ones first."""
    graph = onnx.load(str(file), load_external_data=False).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    reads = {node.op_type for node in graph.node for name in node.input if made.get(name) == "DequantizeLinear"}
    reads -= {"QuantizeLinear"}
    return [*(name for name in HEAVY if name in reads), *sorted(reads - set(HEAVY))]


def left_in_float(file: Path) -> dict[str, int]:
    """Return how many of each heavy operation compute in float32: one of their first two inputs is not quantised."""
    graph = onnx.load(str(file), load_external_data=False).graph
    quantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    counts = Counter(
        node.op_type for node in graph.node if node.op_type in HEAVY and not quantised.issuperset(node.input[:2])
    )
    return dict(counts)


def ranges_of(file: Path) -> dict[str, tuple[float, float]]:
    """Return the range of values that each quantised activation can hold, by the name of its tensor."""
    graph = onnx.load(str(file)).graph
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found: dict[str, tuple[float, float]] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and constants.keys() >= set(node.input[1:3]):
            scale, zero = (constants[name] for name in node.input[1:3])
            if scale.ndim == 0 and zero.dtype == np.uint8:
                found[node.input[0]] = tuple(float(scale) * (level - int(zero)) for level in (0, 255))  # type: ignore[assignment]
    return found


def clipped_shares(source: Path, file: Path, planes: Iterable[Tensor], threads: int) -> dict[str, float]:
    """Return for each activation the share of its float32 values for ``planes`` that lies outside its int8 range."""
    ranges = ranges_of(file)
    model = onnx.load(str(source))
    made = {name for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in ranges if name in made]
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in there)
    outside, total = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        every = Path(folder, "every.onnx")
        onnx.save(model, str(every))
        session = session_of(every, threads)
        for one in planes:
            values = dict(zip(inner, session.run(inner, {"planes": one.numpy()})))
            values |= {name: one.numpy() for name in inputs & ranges.keys()}
            for name, array in values.items():
                low, high = ranges[name]
                half = (high - low) / 510
                outside[name] += int(np.count_nonzero((array < low - half) | (array > high + half)))
                total[name] += array.size
    return {name: outside[name] / total[name] for name in total}
