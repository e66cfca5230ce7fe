"""An ONNX file with int8 weights and activations: quantise and dequantise pairs (QDQ) around its operations."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from torch import Tensor

from benchmark.backends.capture import conversion_error, quiet
from benchmark.running.quantizing.graph import HEAVY, Layers, round_weights
from benchmark.running.quantizing.method import Method
from zoo.errors import UserError

# Activations that ONNX Runtime joins to the layer before: its output then has the range of what they leave.
_JOINED = ("Relu", "Clip")


class _Reader(CalibrationDataReader):
    def __init__(self, name: str, planes: Iterable[Tensor]) -> None:
        self._next = ({name: one.numpy()} for one in planes)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._next, None)


def write_int8(
    source: Path, target: Path, planes: Iterable[Tensor], method: Method, layers: Layers, asked: Sequence[str] = ()
) -> None:
    """Write ``source`` (an ONNX file in float32 with the input "planes") in int8, with ranges from ``planes``.

    Weights are symmetric, one scale for each output channel; activations have one scale and one zero point for each
    tensor. The nodes ``asked`` stay in float32, and so do the last layers, what follows these and what predicts
    filters, whose weights alone are int8. Raises EngineError if ONNX Runtime cannot quantise the network.
    """
    extra: dict[str, Any] = {}
    how = CalibrationMethod.MinMax
    if method.percentile is not None:
        how, extra = CalibrationMethod.Percentile, {"CalibPercentile": method.percentile}
    kept = {*asked, *layers.predicting, *layers.last, *layers.after}
    # Its progress is printed, and its advice on preparing the file does not fit here.
    with contextlib.redirect_stdout(io.StringIO()), quiet():
        try:
            quantize_static(
                str(source),
                str(target),
                _Reader("planes", planes),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*HEAVY, *_JOINED],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=how,
                nodes_to_exclude=sorted(kept),
                extra_options=extra,
            )
        except (UserError, MemoryError):
            raise
        except Exception as error:
            raise conversion_error(error, "ONNX Runtime in int8") from error
    model = onnx.load(str(target))
    round_weights(model, layers.predicting - set(asked))
    onnx.save(model, str(target))


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


def save(written: Path, target: Path, texts: Mapping[str, str]) -> None:
    """Copy the file with ``texts`` in its metadata."""
    model = onnx.load(str(written))
    for key, value in texts.items():
        model.metadata_props.add(key=f"zoo_bench.{key}", value=value)
    onnx.save(model, str(target))


def named() -> str:
    """Return what writes the files, with its version."""
    return f"onnxruntime {onnxruntime.__version__}"
